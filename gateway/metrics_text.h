/* SPDX-License-Identifier: MIT */
/*
 * The gateway's numbers as Prometheus reads them: its text format, version 0.0.4.
 *
 * Only reads what routes say of themselves; does not know who asks.
 */
#ifndef BTGATE_METRICS_TEXT_H
#define BTGATE_METRICS_TEXT_H

#include <stdio.h>

struct route_set;

/*
 * All of them. @started_s is when the gateway started, since the epoch. What cannot
 * be written shows in @file.
 */
void metrics_text_print(struct route_set *routes, double started_s, FILE *file);

#endif
