/* SPDX-License-Identifier: MIT */
#include "refusals.h"

#include <string.h>

#include "endpoint.h"
#include "hash.h"

/* Never 0. */
static uint64_t key_of(const void *data, size_t bytes)
{
	uint64_t value = hash_add(HASH_START, data, bytes);

	return value ? value : 1;
}

uint64_t refusals_device_key(const struct address_bluetooth *address)
{
	return key_of(address, sizeof(*address));
}

uint64_t refusals_ip_key(const struct address_ip *ip)
{
	return key_of(ip, sizeof(*ip));
}

uint64_t refusals_key(const struct stream *client)
{
	if (client->has_peer_address)
		return refusals_device_key(&client->peer_address);
	if (client->has_peer_ip)
		return refusals_ip_key(&client->peer_ip);
	return 0;
}

static int find(const struct refusals *refusals, uint64_t who)
{
	for (int i = 0; who && i < REFUSALS_MAX; i++)
		if (refusals->ring[i].who == who)
			return i;
	return -1;
}

bool refusals_remember(struct refusals *refusals, uint64_t who,
		       const char *reason)
{
	uint64_t why = key_of(reason, strlen(reason));
	int i = find(refusals, who);
	bool is_news = i < 0 || refusals->ring[i].why != why;

	if (!who)
		return true;
	if (i < 0)
		i = (int)(refusals->count++ % REFUSALS_MAX);
	refusals->ring[i].who = who;
	refusals->ring[i].why = why;
	return is_news;
}

void refusals_forget(struct refusals *refusals, uint64_t who)
{
	int i = find(refusals, who);

	if (i >= 0)
		refusals->ring[i].who = 0;
}
