/* SPDX-License-Identifier: MIT */
#include "controller.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bluetooth/bluetooth.h>
#include <bluetooth/hci.h>

#include "bdaddr.h"
#include "error.h"

static int open_hci(void)
{
	return socket(AF_BLUETOOTH, SOCK_RAW | SOCK_CLOEXEC, BTPROTO_HCI);
}

/*
 * Also of one that is down, which hci_devba(3) refuses. False for one that is
 * not there, or was never up: its address is not known yet.
 */
static bool get_address(int fd, uint16_t index, struct address_bluetooth *out)
{
	const struct address_bluetooth none = {{0}};
	struct hci_dev_info info = {.dev_id = index};

	if (ioctl(fd, HCIGETDEVINFO, &info) < 0)
		return false;
	bdaddr_to_address(&info.bdaddr, out);
	return memcmp(out, &none, sizeof(none)) != 0;
}

size_t controller_list(struct address_bluetooth addresses[CONTROLLERS_MAX])
{
	struct hci_dev_list_req *list;
	size_t count = 0;
	int fd = open_hci();

	if (fd < 0)
		return 0;
	list = calloc(1, sizeof(*list) +
				 CONTROLLERS_MAX * sizeof(list->dev_req[0]));
	if (list) {
		list->dev_num = CONTROLLERS_MAX;
		if (ioctl(fd, HCIGETDEVLIST, list) < 0)
			list->dev_num = 0;
		for (int i = 0; i < list->dev_num; i++)
			if (get_address(fd, list->dev_req[i].dev_id,
					&addresses[count]))
				count++;
	}
	free(list);
	close(fd);
	return count;
}

static int choose_index(uint16_t index, struct address_bluetooth *out,
			struct error *error)
{
	int fd = open_hci();
	bool is_there = fd >= 0 && get_address(fd, index, out);

	if (fd >= 0)
		close(fd);
	if (is_there)
		return 0;
	return error_set(error, -ENODEV,
			 "adapter hci%u is not there; 'bluetoothctl list' "
			 "shows the adapters of this machine",
			 index);
}

int controller_choose(const struct address_adapter *adapter,
		      struct address_bluetooth *out, struct error *error)
{
	memset(out, 0, sizeof(*out));
	switch (adapter->choice) {
	case ADAPTER_CHOICE_ANY:
		return 0;
	case ADAPTER_CHOICE_ADDRESS:
		*out = adapter->address;
		return 0;
	case ADAPTER_CHOICE_INDEX:
		return choose_index(adapter->index, out, error);
	}
	return -EINVAL;
}
