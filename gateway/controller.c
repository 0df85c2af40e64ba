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
#include <bluetooth/hci_lib.h>

#include "bdaddr.h"
#include "error.h"

static int open_hci(void)
{
	return socket(AF_BLUETOOTH, SOCK_RAW | SOCK_CLOEXEC, BTPROTO_HCI);
}

/* Also of one that is down, which hci_devba(3) refuses. */
static bool read_controller(int fd, uint16_t index, struct controller *out)
{
	struct hci_dev_info info = {.dev_id = index};

	if (ioctl(fd, HCIGETDEVINFO, &info) < 0)
		return false;
	out->index = index;
	out->is_up = hci_test_bit(HCI_UP, &info.flags);
	bdaddr_to_address(&info.bdaddr, &out->address);
	return true;
}

/* One that was never up has none yet. */
static bool has_address(const struct controller *controller)
{
	const struct address_bluetooth none = {{0}};

	return memcmp(&controller->address, &none, sizeof(none)) != 0;
}

size_t controllers_read(struct controller controllers[CONTROLLERS_MAX])
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
			if (read_controller(fd, list->dev_req[i].dev_id,
					    &controllers[count]))
				count++;
	}
	free(list);
	close(fd);
	return count;
}

size_t controller_list(struct address_bluetooth addresses[CONTROLLERS_MAX])
{
	struct controller controllers[CONTROLLERS_MAX];
	size_t all = controllers_read(controllers), count = 0;

	for (size_t i = 0; i < all; i++)
		if (has_address(&controllers[i]))
			addresses[count++] = controllers[i].address;
	return count;
}

static int choose_index(uint16_t index, struct address_bluetooth *out,
			struct error *error)
{
	struct controller controller;
	int fd = open_hci();
	bool is_there;

	/* Other than that there are no such sockets, that tells nothing. */
	if (fd < 0 && errno != EAFNOSUPPORT && errno != EPROTONOSUPPORT)
		return error_set(error, -errno,
				 "the kernel cannot be asked for adapter "
				 "hci%u: %s",
				 index, strerror(errno));
	is_there = fd >= 0 && read_controller(fd, index, &controller) &&
		   has_address(&controller);
	if (fd >= 0)
		close(fd);
	if (is_there) {
		*out = controller.address;
		return 0;
	}
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

int controller_check(const struct address_adapter *adapter,
		     const struct address_bluetooth *chosen,
		     struct error *error)
{
	char name[ADDRESS_ADAPTER_TEXT_BYTES];
	char text[ADDRESS_BLUETOOTH_TEXT_BYTES];
	struct address_bluetooth now;
	int code = controller_choose(adapter, &now, error);

	if (code || memcmp(&now, chosen, sizeof(now)) == 0)
		return code;
	address_adapter_format(adapter, name);
	address_bluetooth_format(&now, text);
	return error_set(error, -ENODEV, "adapter %s is another one now, %s",
			 name, text);
}

int controller_unreachable(const struct address_bluetooth *chosen,
			   struct error *error)
{
	const struct address_bluetooth any = {{0}};
	struct address_bluetooth adapters[CONTROLLERS_MAX];
	size_t count = controller_list(adapters);
	char text[ADDRESS_BLUETOOTH_TEXT_BYTES];
	bool is_any = !memcmp(chosen, &any, sizeof(any));
	bool is_there = is_any && count;

	for (size_t i = 0; i < count; i++)
		if (!memcmp(&adapters[i], chosen, sizeof(*chosen)))
			is_there = true;
	address_bluetooth_format(chosen, text);
	if (is_there)
		return error_set(error, -ENETDOWN,
				 "the Bluetooth adapter is powered off: "
				 "'bluetoothctl power on', or 'rfkill unblock "
				 "bluetooth'");
	if (is_any)
		return error_set(error, -EADDRNOTAVAIL,
				 "this machine has no Bluetooth adapter now");
	return error_set(error, -EADDRNOTAVAIL,
			 "the adapter %s is not there; 'bluetoothctl list' "
			 "shows the adapters of this machine",
			 text);
}
