/* SPDX-License-Identifier: MIT */
/*
 * The running whole: builds the routes of a config, tells the service manager,
 * stops in order on a signal.
 */
#ifndef BTGATE_GATEWAY_H
#define BTGATE_GATEWAY_H

struct config;

/*
 * Run until SIGTERM, SIGINT or SIGHUP; a second one cuts short what still drains.
 * Returns 0 after an orderly stop, or -errno (already logged) when no route
 * could be started for a reason that does not mend itself.
 */
int gateway_run(const struct config *config);

#endif
