/* SPDX-License-Identifier: MIT */
/*
 * The running whole: runs the routes of a config and exchanges them for those of
 * the next one, tells the service manager, stops in order on a signal.
 */
#ifndef BTGATE_GATEWAY_H
#define BTGATE_GATEWAY_H

struct config;

/*
 * Run until SIGTERM or SIGINT; a second one cuts short what still drains.
 * SIGHUP reads @path again: the routes are exchanged for those in it, or stay
 * as they are if there is an error in it. Only if it comes with the end of the
 * terminal that a person started it on does it end the gateway, too. Takes the
 * contents out of @config. Returns 0 after an orderly stop, or -errno (already
 * logged) when no route could be started for a reason that does not mend itself.
 */
int gateway_run(const char *path, struct config *config);

#endif
