/* SPDX-License-Identifier: MIT */
/*
 * The gateway's numbers for Prometheus, by HTTP at a TCP port of its own.
 *
 * Knows where that is, and has a process of its own serve there; knows neither HTTP
 * nor what the numbers are.
 */
#ifndef BTGATE_METRICS_H
#define BTGATE_METRICS_H

#include <stdbool.h>

struct config_gateway;
struct error;
struct loop;
struct metrics;
struct route_set;

/* Tells nothing yet. @routes must outlive it. NULL with errno set. */
struct metrics *metrics_new(struct loop *loop, struct route_set *routes);
/* NULL is legal. */
void metrics_free(struct metrics *metrics);
/*
 * Listen where @config says, whose address is taken over, or nowhere. What stays as
 * it is goes on, and so does what was there before if the new port cannot be had:
 * that is logged once, and it is tried again with back-off. Everything else works
 * without.
 */
void metrics_configure(struct metrics *metrics, struct config_gateway *config);
/* Where it listens, as it is configured; NULL: nowhere. */
const char *metrics_listening_on(const struct metrics *metrics);
/* Why it does not tell what it is to where it is to; false: it does, or is off. */
bool metrics_is_failing(const struct metrics *metrics, struct error *error);

#endif
