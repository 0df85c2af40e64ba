/* SPDX-License-Identifier: MIT */
/*
 * What stands between the routes of a configuration and the things of this
 * machine at both their ends: channels, ports, paths, programs, capabilities; and
 * between the gateway and the places where it is asked itself.
 */
#ifndef BTGATE_DIAGNOSIS_ROUTE_H
#define BTGATE_DIAGNOSIS_ROUTE_H

#include <stdbool.h>
#include <sys/types.h>

#include <jansson.h>

struct config_gateway;
struct config_route;
struct diagnosis;
struct loop;

enum diagnosis_gateway {
	GATEWAY_NONE, /* none runs: what is taken is in its way */
	GATEWAY_MUTE, /* one runs, and does not say what it holds */
	GATEWAY_ANSWERS,
};

/* What was found out before. */
struct diagnosis_surroundings {
	const char *root; /* as in diagnosis_machine.h */
	bool has_bluetooth; /* the kernel has its sockets */
	enum diagnosis_gateway gateway;
	/* Of one that answers: */
	const json_t *status; /* what it says (operation.h) */
	pid_t gateway_pid; /* as this process sees it; not always as itself */
};

/*
 * Sockets are bound and closed again at once, because nothing else tells
 * whether they could be; nothing else is opened, made or removed.
 */
void diagnosis_route(struct diagnosis *diagnosis, struct loop *loop,
		     const struct config_route *route,
		     const struct diagnosis_surroundings *surroundings);
/* The same for the control socket and the port for metrics. */
void diagnosis_gateway(struct diagnosis *diagnosis, struct loop *loop,
		       const struct config_gateway *gateway,
		       const struct diagnosis_surroundings *surroundings);

#endif
