/* SPDX-License-Identifier: MIT */
#include "device_table.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "device.h"
#include "json.h"
#include "text.h"

#define ROWS_MAX 1000

struct row {
	struct address_bluetooth address;
	char *name;
	char *alias;
	uint32_t class;
	int16_t rssi; /* last seen; 0: never */
	bool is_paired;
	bool is_trusted;
	bool is_connected;
	bool is_le_only;
};

struct device_table {
	struct row *rows;
	size_t count;
};

/* ---- classes ------------------------------------------------------------------ */

enum major_class {
	MAJOR_CLASS_COMPUTER = 1,
	MAJOR_CLASS_PHONE = 2,
	MAJOR_CLASS_NETWORK = 3,
	MAJOR_CLASS_AUDIO = 4,
	MAJOR_CLASS_PERIPHERAL = 5,
	MAJOR_CLASS_IMAGING = 6,
	MAJOR_CLASS_WEARABLE = 7,
	MAJOR_CLASS_TOY = 8,
	MAJOR_CLASS_HEALTH = 9,
};

#define MINOR_MAX 18

/* Where the minor class is one number; its 0 and what is unknown: the first. */
static const char *const minor_names[][MINOR_MAX + 1] = {
	[MAJOR_CLASS_COMPUTER] = {"computer", "desktop", "server", "laptop",
				  "handheld", "handheld", "wearable", "tablet"},
	[MAJOR_CLASS_PHONE] = {"phone", "phone", "cordless phone", "smartphone",
			       "modem", "ISDN adapter"},
	[MAJOR_CLASS_NETWORK] = {"access point"},
	[MAJOR_CLASS_AUDIO] = {"audio", "headset", "hands-free", NULL,
			       "microphone", "loudspeaker", "headphones",
			       "portable audio", "car audio", "set-top box",
			       "hi-fi", "video recorder", "video camera",
			       "camcorder", "monitor", "TV", "conferencing",
			       NULL, "game"},
	[MAJOR_CLASS_PERIPHERAL] = {"peripheral", "joystick", "gamepad",
				    "remote control", "sensor",
				    "drawing tablet", "card reader", "pen",
				    "scanner", "gesture sensor"},
	[MAJOR_CLASS_IMAGING] = {"imaging"},
	[MAJOR_CLASS_WEARABLE] = {"wearable", "watch", "pager", "jacket",
				  "helmet", "glasses"},
	[MAJOR_CLASS_TOY] = {"toy", "robot", "toy vehicle", "doll",
			     "game controller", "game"},
	[MAJOR_CLASS_HEALTH] = {"health", "blood pressure", "thermometer",
				"scale", "glucose meter", "pulse oximeter",
				"heart rate", "health display", "step counter",
				"body composition", "peak flow",
				"medication monitor", "knee prosthesis",
				"ankle prosthesis", "health manager",
				"mobility aid"},
};

/* Imaging has a bit for each thing that it can do: the most telling one. */
static const char *imaging_name(unsigned int minor)
{
	if (minor & 0x20)
		return "printer";
	if (minor & 0x10)
		return "scanner";
	if (minor & 0x08)
		return "camera";
	if (minor & 0x04)
		return "display";
	return minor_names[MAJOR_CLASS_IMAGING][0];
}

const char *device_class_name(uint32_t class)
{
	unsigned int major = class >> 8 & 0x1f;
	unsigned int minor = class >> 2 & 0x3f;

	if (major == MAJOR_CLASS_IMAGING)
		return imaging_name(minor);
	if (major == MAJOR_CLASS_PERIPHERAL) {
		/* Two bits say what can be typed and pointed with. */
		if (minor & 0x10)
			return "keyboard";
		if (minor & 0x20)
			return "mouse";
	}
	/* Of an access point it says how busy it is. */
	if (major == MAJOR_CLASS_NETWORK)
		minor = 0;
	if (major >= sizeof(minor_names) / sizeof(minor_names[0]) ||
	    !minor_names[major][0])
		return "";
	if (minor > MINOR_MAX || !minor_names[major][minor])
		minor = 0;
	return minor_names[major][minor];
}

/* ---- collecting ----------------------------------------------------------------- */

static struct row *find(const struct device_table *table,
			const struct address_bluetooth *address)
{
	for (size_t i = 0; i < table->count; i++)
		if (!memcmp(&table->rows[i].address, address, sizeof(*address)))
			return &table->rows[i];
	return NULL;
}

static int add(struct device_table *table, struct row **out)
{
	if (table->count == ROWS_MAX)
		return -ENOSPC;
	*out = &table->rows[table->count++];
	return 0;
}

static int set_text(char **out, const char *text)
{
	char *copy;

	if (!text || (*out && strcmp(*out, text) == 0))
		return 0;
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	free(*out);
	*out = copy;
	return 0;
}

int device_table_take(struct device_table *table, const struct device *device)
{
	struct row *row = find(table, &device->address);
	int code = row ? 0 : add(table, &row);

	if (code < 0)
		return code;
	row->address = device->address;
	/* What one adapter has paired with, another only sees. */
	row->is_paired |= device->is_paired;
	row->is_trusted |= device->is_trusted;
	row->is_connected |= device->is_connected;
	if (device->class)
		row->class = device->class;
	if (device->rssi)
		row->rssi = device->rssi;
	/* A class is told by an inquiry only. */
	row->is_le_only = device->is_le_only && !row->class;
	code = set_text(&row->name, device->name);
	return code ? code : set_text(&row->alias, device->alias);
}

static size_t count_rows(const struct device_table *table, bool is_le_only)
{
	size_t count = 0;

	for (size_t i = 0; i < table->count; i++)
		count += table->rows[i].is_le_only == is_le_only;
	return count;
}

size_t device_table_count(const struct device_table *table)
{
	return count_rows(table, false);
}

size_t device_table_count_le(const struct device_table *table)
{
	return count_rows(table, true);
}

size_t device_table_count_nameless(const struct device_table *table)
{
	size_t count = 0;

	for (size_t i = 0; i < table->count; i++)
		count += !table->rows[i].is_le_only && !table->rows[i].name;
	return count;
}

struct device_table *device_table_new(void)
{
	struct device_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->rows = calloc(ROWS_MAX, sizeof(*table->rows));
	if (!table->rows) {
		free(table);
		return NULL;
	}
	return table;
}

void device_table_free(struct device_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->count; i++) {
		free(table->rows[i].name);
		free(table->rows[i].alias);
	}
	free(table->rows);
	free(table);
}

/* ---- printing ------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const struct row *first = *(const struct row *const *)a;
	const struct row *second = *(const struct row *const *)b;

	if (first->is_paired != second->is_paired)
		return first->is_paired ? -1 : 1;
	if (!first->rssi != !second->rssi)
		return first->rssi ? -1 : 1;
	if (first->rssi != second->rssi)
		return first->rssi > second->rssi ? -1 : 1;
	return memcmp(&first->address, &second->address,
		      sizeof(first->address));
}

/* Those of either kind in the order of printing; NULL when memory is short. */
static const struct row **sort(const struct device_table *table)
{
	const struct row **rows = calloc(table->count + 1,
					 sizeof(struct row *));

	if (!rows)
		return NULL;
	for (size_t i = 0; i < table->count; i++)
		rows[i] = &table->rows[i];
	qsort(rows, table->count, sizeof(struct row *), compare);
	return rows;
}

static const char *state_name(const struct row *row)
{
	if (row->is_connected)
		return row->is_paired ? "paired, connected" : "connected";
	return row->is_paired ? "paired" : "";
}

/* As wide as what is in them. */
struct widths {
	int state;
	int class;
};

static void widen(int *width, const char *text)
{
	if ((int)strlen(text) > *width)
		*width = (int)strlen(text);
}

static struct widths measure(const struct device_table *table)
{
	struct widths widths = {0};

	widen(&widths.state, "STATE");
	widen(&widths.class, "CLASS");
	for (size_t i = 0; i < table->count; i++) {
		const struct row *row = &table->rows[i];

		if (row->is_le_only)
			continue;
		widen(&widths.state, state_name(row));
		widen(&widths.class, device_class_name(row->class));
	}
	return widths;
}

/* The name last: how wide it is on a terminal is hard to tell. */
static void print_row(const struct row *row, const struct widths *widths,
		      FILE *stream)
{
	const char *name = row->alias ? row->alias : row->name;
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];
	char quoted[TEXT_QUOTED_BYTES], rssi[16] = "";

	address_bluetooth_format(&row->address, address);
	if (row->rssi)
		snprintf(rssi, sizeof(rssi), "%d", row->rssi);
	fprintf(stream, "%s  %-*s  %4s  %-*s  %s\n", address, widths->state,
		state_name(row), rssi, widths->class,
		device_class_name(row->class),
		name ? text_printable(name, quoted) : "(no name)");
}

void device_table_print(const struct device_table *table, FILE *stream)
{
	const struct widths widths = measure(table);
	const struct row **rows = sort(table);

	if (rows && device_table_count(table))
		fprintf(stream, "%-17s  %-*s  %4s  %-*s  %s\n", "ADDRESS",
			widths.state, "STATE", "RSSI", widths.class, "CLASS",
			"NAME");
	for (size_t i = 0; rows && i < table->count; i++)
		if (!rows[i]->is_le_only)
			print_row(rows[i], &widths, stream);
	free(rows);
}

static const char *json_bool(bool value)
{
	return value ? "true" : "false";
}

static void print_row_json(const struct row *row, FILE *stream)
{
	const char *kind = device_class_name(row->class);
	char address[ADDRESS_BLUETOOTH_TEXT_BYTES];

	address_bluetooth_format(&row->address, address);
	fprintf(stream, "{\"address\": \"%s\", \"name\": ", address);
	json_print_string(stream, row->name);
	fprintf(stream, ", \"alias\": ");
	json_print_string(stream, row->alias);
	fprintf(stream, ", \"class\": %u, \"kind\": ", row->class);
	json_print_string(stream, *kind ? kind : NULL);
	fprintf(stream,
		", \"paired\": %s, \"trusted\": %s, \"connected\": %s, "
		"\"le_only\": %s, \"rssi\": ",
		json_bool(row->is_paired), json_bool(row->is_trusted),
		json_bool(row->is_connected), json_bool(row->is_le_only));
	if (row->rssi)
		fprintf(stream, "%d}", row->rssi);
	else
		fprintf(stream, "null}");
}

void device_table_print_json(const struct device_table *table, FILE *stream)
{
	const struct row **rows = sort(table);

	putc('[', stream);
	for (size_t i = 0; rows && i < table->count; i++) {
		fputs(i ? ",\n" : "\n", stream);
		print_row_json(rows[i], stream);
	}
	fputs(table->count ? "\n]\n" : "]\n", stream);
	free(rows);
}
