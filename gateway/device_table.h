/* SPDX-License-Identifier: MIT */
/*
 * Devices for people and programs: what several adapters and a search tell of
 * them, one row each.
 *
 * Knows what is worth telling of a device; does not know how it was found.
 */
#ifndef BTGATE_DEVICE_TABLE_H
#define BTGATE_DEVICE_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct device;
struct device_table;

/* NULL with errno set. Holds at most 1,000 devices. */
struct device_table *device_table_new(void);
void device_table_free(struct device_table *table);

/* Add what @device tells. 0, -ENOMEM, or -ENOSPC where it is full. */
int device_table_take(struct device_table *table, const struct device *device);

/* Those with BR/EDR: what device_table_print shows. */
size_t device_table_count(const struct device_table *table);
/* Those without. */
size_t device_table_count_le(const struct device_table *table);
/* Those of device_table_count that have not said their name. */
size_t device_table_count_nameless(const struct device_table *table);

/*
 * A header and a line for each, paired ones first, then near before far;
 * nothing where there are none. Names are the devices' own and printed safely.
 */
void device_table_print(const struct device_table *table, FILE *stream);
/*
 * The same as an array of objects, one a line, with those that have no BR/EDR;
 * btgate(8) says what is in them.
 */
void device_table_print_json(const struct device_table *table, FILE *stream);

/*
 * What a class of device stands for, in a word or two ("smartphone"); "" for
 * one that says nothing. Assigned numbers, 2.8 (Class of Device).
 */
const char *device_class_name(uint32_t class);

#endif
