/* SPDX-License-Identifier: MIT */
#include "controller.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bluetooth/bluetooth.h>
#include <bluetooth/hci.h>
#include <bluetooth/hci_lib.h>

#include "error.h"

static void from_bdaddr(const bdaddr_t *from, struct address_bluetooth *to)
{
	for (size_t i = 0; i < sizeof(to->octets); i++)
		to->octets[i] = from->b[sizeof(to->octets) - 1 - i];
}

size_t controller_list(struct address_bluetooth addresses[CONTROLLERS_MAX])
{
	struct hci_dev_list_req *list;
	size_t count = 0;
	int fd = socket(AF_BLUETOOTH, SOCK_RAW | SOCK_CLOEXEC, BTPROTO_HCI);

	if (fd < 0)
		return 0;
	list = calloc(1, sizeof(*list) + CONTROLLERS_MAX * sizeof(list->dev_req[0]));
	if (list) {
		list->dev_num = CONTROLLERS_MAX;
		if (ioctl(fd, HCIGETDEVLIST, list) < 0)
			list->dev_num = 0;
		for (int i = 0; i < list->dev_num; i++) {
			struct hci_dev_info info = {
				.dev_id = list->dev_req[i].dev_id,
			};

			if (ioctl(fd, HCIGETDEVINFO, &info) == 0)
				from_bdaddr(&info.bdaddr, &addresses[count++]);
		}
	}
	free(list);
	close(fd);
	return count;
}

int controller_choose(const struct address_adapter *adapter,
		    struct address_bluetooth *out, struct error *error)
{
	bdaddr_t address;

	memset(out, 0, sizeof(*out));
	switch (adapter->choice) {
	case ADAPTER_CHOICE_ANY:
		return 0;
	case ADAPTER_CHOICE_ADDRESS:
		*out = adapter->address;
		return 0;
	case ADAPTER_CHOICE_INDEX:
		break;
	}
	if (hci_devba(adapter->index, &address) < 0)
		return error_set(error, -ENODEV,
				 "adapter hci%u is not there; 'bluetoothctl "
				 "list' shows the adapters of this machine",
				 adapter->index);
	from_bdaddr(&address, out);
	return 0;
}
