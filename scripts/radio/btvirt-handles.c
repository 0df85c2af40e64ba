/*
 * A preload library for BlueZ's btvirt: gives forwarded ACL packets the
 * receiver's connection handle, lets it know a command that it does not, and has
 * it make up numbers.
 *
 * btvirt (seen in 5.66) hands an ACL packet from one virtual controller to the
 * other with the sender's handle still in it.  Each controller numbers its own
 * links, so the two ends agree by luck only while both have a single link; with
 * a second one the receiving kernel drops the data ("unknown connection
 * handle").
 *
 * btvirt is single-threaded: it read()s a packet from the /dev/vhci descriptor
 * of one controller and, before it reads the next, writev()s the consequences to
 * the same or another descriptor.  So the last descriptor read names the sender.
 * The events written to a controller tell its address and its links; an ACL
 * packet written to another controller is then given the handle of that
 * controller's link back to the sender.
 *
 * Write Automatic Flush Timeout is unknown to btvirt, as it may be to a real
 * controller. While the file that BTVIRT_FLUSH_SWITCH names is there, the command
 * succeeds instead, and changes nothing.
 *
 * The number that both ends of a pairing show is always 0 in btvirt: it becomes one
 * of this pairing's own.
 *
 * While the file that BTVIRT_LOSS_SWITCH names is there, every twentieth packet
 * that begins a frame of an L2CAP channel other than the signalling one is lost on
 * the way, as on a bad link that gives up on a packet after a time; standard error
 * is told.
 *
 * While the file that BTVIRT_AIR_SWITCH names is there, packets take the time that
 * they take in the air: all links share what one radio carries with EDR.
 *
 * It knows no other process's packets and no other fault of btvirt's.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FD_MAX 256
#define LINKS_MAX 64
#define ADDRESS_BYTES 6

/* H4 packet types: Bluetooth Core, volume 4, part A, section 2. */
#define H4_COMMAND 0x01
#define H4_ACL_DATA 0x02
#define H4_EVENT 0x04

/* Events and commands: Bluetooth Core, volume 4, part E, section 7. */
#define EVENT_CONNECTION_COMPLETE 0x03
#define EVENT_DISCONNECTION_COMPLETE 0x05
#define EVENT_COMMAND_COMPLETE 0x0e
#define EVENT_COMMAND_STATUS 0x0f
#define EVENT_USER_CONFIRM_REQUEST 0x33
#define EVENT_LE_META 0x3e
#define LE_CONNECTION_COMPLETE 0x01
#define LE_ENHANCED_CONNECTION_COMPLETE 0x0a
#define COMMAND_READ_BD_ADDR 0x1009
#define COMMAND_WRITE_FLUSH_TIMEOUT 0x0c28

#define EVENT_HEADER_BYTES 2
#define NUMBER_MAX 999999
#define PACKET_MAX_BYTES (EVENT_HEADER_BYTES + 255)

/* An ACL handle field carries two flags of two bits above the handle. */
#define HANDLE_MASK 0x0fff
#define HANDLE_FLAGS_MASK 0xf000
#define BOUNDARY_MASK 0x3000
#define BOUNDARY_START 0x2000

/* L2CAP channels that connections have: volume 3, part A, section 2.1. */
#define CHANNEL_DYNAMIC_MIN 0x0040
#define LOST_ONE_IN 20

/*
 * A slot is 625 us. The longest packet, 3-DH5, has 1021 bytes and takes five, and
 * one more for its acknowledgement; the shortest takes one, and one: volume 2, part
 * B, sections 2.2.2 and 6.5.
 */
#define AIR_PACKET_BYTES 1021
#define AIR_PACKET_NS (6 * 625000L)
#define AIR_PACKET_MIN_NS (2 * 625000L)
/* What was slept too long is caught up with, if it was not longer. */
#define AIR_LATE_NS (4 * AIR_PACKET_NS)

/* The smallest buffer btvirt reads a controller's packets into. */
#define VHCI_READ_MIN_BYTES 1024

enum link_kind {
	LINK_KIND_NONE, /* slot free */
	LINK_KIND_BREDR,
	LINK_KIND_LE,
};

struct link {
	enum link_kind kind;
	uint16_t handle;
	uint8_t peer[ADDRESS_BYTES];
};

struct controller {
	bool has_address;
	uint8_t address[ADDRESS_BYTES];
	struct link links[LINKS_MAX];
};

static struct controller controllers[FD_MAX]; /* indexed by descriptor */
static int sender_fd = -1;
static uint16_t flush_handle; /* of the last such command */

static uint16_t get_le16(const uint8_t *bytes)
{
	return bytes[0] | bytes[1] << 8;
}

static void put_le16(uint8_t *bytes, uint16_t value)
{
	bytes[0] = value & 0xff;
	bytes[1] = value >> 8;
}

static struct link *find_link(struct controller *controller, uint16_t handle)
{
	for (size_t i = 0; i < LINKS_MAX; i++) {
		struct link *link = &controller->links[i];

		if (link->kind != LINK_KIND_NONE && link->handle == handle)
			return link;
	}
	return NULL;
}

static struct link *find_link_to(struct controller *controller,
				 const uint8_t *peer, enum link_kind kind)
{
	for (size_t i = 0; i < LINKS_MAX; i++) {
		struct link *link = &controller->links[i];

		if (link->kind == kind &&
		    memcmp(link->peer, peer, ADDRESS_BYTES) == 0)
			return link;
	}
	return NULL;
}

static void add_link(struct controller *controller, enum link_kind kind,
		     uint16_t handle, const uint8_t *peer)
{
	struct link *link = find_link(controller, handle);

	for (size_t i = 0; !link && i < LINKS_MAX; i++)
		if (controller->links[i].kind == LINK_KIND_NONE)
			link = &controller->links[i];
	if (!link)
		return; /* more links than btvirt has controllers */
	link->kind = kind;
	link->handle = handle;
	memcpy(link->peer, peer, ADDRESS_BYTES);
}

static void remove_link(struct controller *controller, uint16_t handle)
{
	struct link *link = find_link(controller, handle);

	if (link)
		link->kind = LINK_KIND_NONE;
}

/* Command Complete: packets allowed, opcode (2), then the command's return. */
static void learn_from_command_complete(struct controller *controller,
					const uint8_t *p, size_t len)
{
	/* Read BD_ADDR returns a status and the address. */
	if (len < 4 + ADDRESS_BYTES ||
	    get_le16(p + 1) != COMMAND_READ_BD_ADDR || p[3] != 0)
		return;
	memcpy(controller->address, p + 4, ADDRESS_BYTES);
	controller->has_address = true;
}

/* Both LE events begin: subevent, status, handle (2), role, type, peer (6). */
static void learn_from_le_meta(struct controller *controller, const uint8_t *p,
			       size_t len)
{
	if (len < 6 + ADDRESS_BYTES || p[1] != 0)
		return;
	if (p[0] == LE_CONNECTION_COMPLETE ||
	    p[0] == LE_ENHANCED_CONNECTION_COMPLETE)
		add_link(controller, LINK_KIND_LE,
			 get_le16(p + 2) & HANDLE_MASK, p + 6);
}

static void learn_from_event(struct controller *controller,
			     const uint8_t *event, size_t len)
{
	const uint8_t *p = event + EVENT_HEADER_BYTES;

	if (len < EVENT_HEADER_BYTES)
		return;
	len -= EVENT_HEADER_BYTES;

	switch (event[0]) {
	case EVENT_CONNECTION_COMPLETE:
		/* status, handle (2), peer (6), link type (1 is ACL), ... */
		if (len >= 10 && p[0] == 0 && p[9] == 1)
			add_link(controller, LINK_KIND_BREDR,
				 get_le16(p + 1) & HANDLE_MASK, p + 3);
		break;
	case EVENT_DISCONNECTION_COMPLETE:
		if (len >= 3 && p[0] == 0)
			remove_link(controller, get_le16(p + 1) & HANDLE_MASK);
		break;
	case EVENT_COMMAND_COMPLETE:
		learn_from_command_complete(controller, p, len);
		break;
	case EVENT_LE_META:
		learn_from_le_meta(controller, p, len);
		break;
	}
}

static void put_number(uint8_t *bytes, uint32_t number)
{
	put_le16(bytes, number & 0xffff);
	put_le16(bytes + 2, number >> 16);
}

/*
 * The peer (6), the number (4). The other end is told next, of the same struct
 * (cmd_io_cap_reply, 5.66), where there is one already then.
 */
static void make_number(uint8_t *parameters, size_t len)
{
	static const uint8_t none[4];

	if (len == 10 && memcmp(parameters + 6, none, sizeof(none)) == 0)
		put_number(parameters + 6, 1 + random() % NUMBER_MAX);
}

/* Rewrites the handle in place; leaves it alone when the links are unknown. */
static void translate_handle(struct controller *receiver,
			     struct controller *sender, uint8_t *acl_header)
{
	uint16_t field = get_le16(acl_header);
	struct link *out, *in;

	if (!sender->has_address)
		return;
	out = find_link(sender, field & HANDLE_MASK);
	if (!out)
		return;
	in = find_link_to(receiver, sender->address, out->kind);
	if (in)
		put_le16(acl_header, (field & HANDLE_FLAGS_MASK) | in->handle);
}

static bool is_switched_on(const char *name)
{
	const char *path = getenv(name);

	return path && access(path, F_OK) == 0;
}

/* Handle with its flags (2), length (2), and L2CAP's: length (2), channel (2). */
static bool is_lost(const uint8_t *packet, size_t len)
{
	static unsigned int begun;

	if (len < 8 || (get_le16(packet) & BOUNDARY_MASK) != BOUNDARY_START ||
	    get_le16(packet + 6) < CHANNEL_DYNAMIC_MIN ||
	    !is_switched_on("BTVIRT_LOSS_SWITCH"))
		return false;
	return ++begun % LOST_ONE_IN == 0;
}

/*
 * A frame comes in pieces of what a controller's buffer takes, which are sent
 * together: what is a whole frame takes a packet of its own.
 */
static int64_t air_time_ns(const uint8_t *packet, size_t len, size_t whole_len)
{
	int64_t ns = (int64_t)whole_len * AIR_PACKET_NS / AIR_PACKET_BYTES;
	bool is_whole = len >= 8 &&
			(get_le16(packet) & BOUNDARY_MASK) == BOUNDARY_START &&
			get_le16(packet + 2) == get_le16(packet + 4) + 4u;

	return is_whole && ns < AIR_PACKET_MIN_NS ? AIR_PACKET_MIN_NS : ns;
}

/* One at a time: btvirt waits, and so does everybody. */
static void pass_air(const uint8_t *packet, size_t len, size_t whole_len)
{
	static int64_t free_ns; /* when the air is */
	struct timespec time;
	int64_t now_ns;

	if (!is_switched_on("BTVIRT_AIR_SWITCH"))
		return;
	clock_gettime(CLOCK_MONOTONIC, &time);
	now_ns = time.tv_sec * 1000000000LL + time.tv_nsec;
	if (free_ns < now_ns - AIR_LATE_NS)
		free_ns = now_ns;
	free_ns += air_time_ns(packet, len, whole_len);
	time.tv_sec = free_ns / 1000000000LL;
	time.tv_nsec = free_ns % 1000000000LL;
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* Copies what follows the packet type; the parts may be cut anywhere. */
static size_t gather(uint8_t *to, size_t size, const struct iovec *parts,
		     int count)
{
	size_t used = 0;

	for (int i = 0; i < count; i++) {
		size_t len = parts[i].iov_len;

		if (len > size - used)
			len = size - used;
		memcpy(to + used, parts[i].iov_base, len);
		used += len;
	}
	return used;
}

static size_t total_bytes(const struct iovec *parts, int count)
{
	size_t total = 0;

	for (int i = 0; i < count; i++)
		total += parts[i].iov_len;
	return total;
}

/* H4 type, opcode (2), length, handle (2), timeout (2). */
static void learn_from_command(const uint8_t *packet, size_t len)
{
	if (len >= 8 && packet[0] == H4_COMMAND &&
	    get_le16(packet + 1) == COMMAND_WRITE_FLUSH_TIMEOUT)
		flush_handle = get_le16(packet + 4);
}

/* Command Status is: event, length, status, packets allowed, opcode (2). */
static bool is_flush_refusal(const uint8_t *event, size_t len)
{
	return len == 6 && event[0] == EVENT_COMMAND_STATUS && event[2] != 0 &&
	       get_le16(event + 4) == COMMAND_WRITE_FLUSH_TIMEOUT &&
	       is_switched_on("BTVIRT_FLUSH_SWITCH");
}

/* Command Complete: packets allowed, opcode (2), status, handle (2). */
static size_t put_flush_success(uint8_t *packet)
{
	packet[0] = H4_EVENT;
	packet[1] = EVENT_COMMAND_COMPLETE;
	packet[2] = 6;
	packet[3] = 1;
	put_le16(packet + 4, COMMAND_WRITE_FLUSH_TIMEOUT);
	packet[6] = 0;
	put_le16(packet + 7, flush_handle);
	return 9;
}

ssize_t read(int fd, void *buffer, size_t size)
{
	static ssize_t (*next)(int, void *, size_t);
	ssize_t len;

	if (!next)
		next = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT,
							      "read");
	len = next(fd, buffer, size);
	/* Timers and signals are descriptors too, read in small pieces. */
	if (len > 0 && fd < FD_MAX && size >= VHCI_READ_MIN_BYTES) {
		sender_fd = fd;
		learn_from_command(buffer, (size_t)len);
	}
	return len;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	static ssize_t (*next)(int, const struct iovec *, int);

	if (!next)
		next = (ssize_t(*)(int, const struct iovec *,
				   int))dlsym(RTLD_NEXT, "writev");

	/* btvirt writes the H4 type as a part of its own. */
	if (fd >= 0 && fd < FD_MAX && count >= 2 && parts[0].iov_len == 1) {
		uint8_t type = *(const uint8_t *)parts[0].iov_base;
		uint8_t packet[PACKET_MAX_BYTES]; /* as far as it matters */
		size_t len = gather(packet, sizeof(packet), parts + 1,
				    count - 1);

		if (type == H4_EVENT && is_flush_refusal(packet, len)) {
			struct iovec answer = {.iov_base = packet};

			answer.iov_len = put_flush_success(packet);
			return next(fd, &answer, 1);
		}
		if (type == H4_ACL_DATA && is_lost(packet, len)) {
			fputs("a packet is lost on the way\n", stderr);
			return (ssize_t)len; /* btvirt does not look at it */
		}
		if (type == H4_ACL_DATA)
			pass_air(packet, len,
				 total_bytes(parts + 1, count - 1));
		if (type == H4_EVENT)
			learn_from_event(&controllers[fd], packet, len);
		if (type == H4_EVENT && count == 3 &&
		    packet[0] == EVENT_USER_CONFIRM_REQUEST)
			make_number(parts[2].iov_base, parts[2].iov_len);
		if (type == H4_ACL_DATA && parts[1].iov_len >= 2 &&
		    sender_fd >= 0 && sender_fd != fd)
			translate_handle(&controllers[fd],
					 &controllers[sender_fd],
					 parts[1].iov_base);
	}
	return next(fd, parts, count);
}
