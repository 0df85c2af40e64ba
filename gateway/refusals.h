/* SPDX-License-Identifier: MIT */
/*
 * Who was refused what: so that it is logged once for each device or address,
 * and not each time that it tries.
 *
 * A table of a bounded size: the latest ones. Keeps hashes only.
 */
#ifndef BTGATE_REFUSALS_H
#define BTGATE_REFUSALS_H

#include <stdbool.h>
#include <stdint.h>

struct address_bluetooth;
struct address_ip;
struct stream;

#define REFUSALS_MAX 64

/* Zeroed at first. */
struct refusals {
	struct {
		uint64_t who; /* 0: none */
		uint64_t why;
	} ring[REFUSALS_MAX];
	unsigned int count; /* all that there were */
};

/*
 * Who @client is, whichever port it comes from; 0 if that is not known, and then
 * each refusal is news.
 */
uint64_t refusals_key(const struct stream *client);
/* The same for the device at @address. */
uint64_t refusals_device_key(const struct address_bluetooth *address);
/* The same for the machine at @ip. */
uint64_t refusals_ip_key(const struct address_ip *ip);

/* Remember it. Whether it is news: not what was said of it last. */
bool refusals_remember(struct refusals *refusals, uint64_t who,
		       const char *reason);
/* It was taken: should it ever be refused again, that is news. */
void refusals_forget(struct refusals *refusals, uint64_t who);

#endif
