/* SPDX-License-Identifier: MIT */
/*
 * The process that speaks HTTP (metrics_server.h), as the gateway has it: started,
 * answered, started again when it has died, which costs nothing else anything.
 *
 * Knows processes; knows neither HTTP nor what is told.
 */
#ifndef BTGATE_METRICS_PROCESS_H
#define BTGATE_METRICS_PROCESS_H

#include <stdbool.h>
#include <stdio.h>

struct address_networks;
struct error;
struct loop;
struct metrics_process;

/* Print into @file what is told now. */
typedef void (*metrics_print_cb)(FILE *file, void *arg);

/* None is started yet. NULL with errno set. */
struct metrics_process *metrics_process_new(struct loop *loop,
					    metrics_print_cb print, void *arg);
/* Kills it, and waits, but only for the kernel to carry that out. NULL is legal. */
void metrics_process_free(struct metrics_process *process);
/*
 * Serve @clients at @listen_fd, which stays the caller's and open until it is to be
 * another one, or none. Where all of that is as it was, nothing happens; else there
 * is a new process soon, and clients wait in the kernel's queue. One that cannot be
 * started is logged once, and tried again with back-off.
 */
void metrics_process_serve(struct metrics_process *process, int listen_fd,
			   const struct address_networks *clients);
/* Why there is none that serves now; false: there is one, or is to be none. */
bool metrics_process_is_failing(const struct metrics_process *process,
				struct error *error);
/* Serve nobody. */
void metrics_process_stop(struct metrics_process *process);

#endif
