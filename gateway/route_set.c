/* SPDX-License-Identifier: MIT */
#include "route_set.h"

#include <errno.h>
#include <search.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "address_ports.h"
#include "config.h"
#include "entrance.h"
#include "log.h"
#include "loop.h"
#include "route.h"
#include "trace.h"

/* What drain-timeout is given on top before a route that left is cut short. */
#define DRAIN_GRACE_MS 500

struct member {
	TAILQ_ENTRY(member) link;
	struct route_set *set;
	struct config_route config; /* its own */
	struct entrance *entrance; /* NULL once it has left */
	struct route *route;
	struct trace *trace; /* of all that have its name; the set's */
	struct event *deadline;
};

TAILQ_HEAD(member_list, member);
TAILQ_HEAD(trace_list, trace);

struct route_set {
	struct loop *loop;
	struct member_list members; /* in the order of the configuration */
	struct member_list leaving; /* they drain */
	struct trace_list traces;
	void *traces_by_name; /* for tsearch(3) */
	struct loop_task traces_task; /* those without a route go */
	bool is_stopping;
	route_set_stopped_cb stopped;
	void *arg;
};

/* One route of the new configuration. */
struct successor {
	struct member *old; /* of that name; NULL: none */
	bool is_same;
	struct entrance *entrance; /* of the group's first one only */
	bool is_new_entrance;
	struct member *member; /* the old one, or a new one */
	bool is_disabled; /* as the old one is */
	size_t next; /* of the group, in file order; 0: none */
};

/* One of the set as it is. */
struct predecessor {
	struct member *member;
	bool has_successor;
};

struct route_change {
	struct route_set *set;
	struct config *config;
	struct successor *successors; /* as many as the config has routes */
	struct predecessor *predecessors; /* by their names */
	size_t predecessor_count;
	void *taken; /* old entrances that have a successor, for tsearch(3) */
};

/* ---- traces ----------------------------------------------------------------- */

static int compare_traces(const void *a, const void *b)
{
	return strcmp(((const struct trace *)a)->route,
		      ((const struct trace *)b)->route);
}

static struct trace *find_trace(const struct route_set *set, const char *name)
{
	const struct trace key = {.route = (char *)name};
	struct trace **node = tfind(&key, &set->traces_by_name, compare_traces);

	return node ? *node : NULL;
}

/* Of old and new routes of that name. NULL with errno set. */
static struct trace *provide_trace(struct route_set *set, const char *name)
{
	struct trace *trace = find_trace(set, name);

	if (trace)
		return trace;
	trace = trace_new(name);
	if (!trace)
		return NULL;
	if (!tsearch(trace, &set->traces_by_name, compare_traces)) {
		trace_free(trace);
		errno = ENOMEM;
		return NULL;
	}
	TAILQ_INSERT_TAIL(&set->traces, trace, link);
	return trace;
}

/* In a turn of its own: within one, a route of the same name may come. */
static void free_idle_traces(void *arg)
{
	struct route_set *set = arg;
	struct trace *trace, *next;

	for (trace = TAILQ_FIRST(&set->traces); trace; trace = next) {
		next = TAILQ_NEXT(trace, link);
		if (trace->users)
			continue;
		TAILQ_REMOVE(&set->traces, trace, link);
		tdelete(trace, &set->traces_by_name, compare_traces);
		trace_free(trace);
	}
}

/* ---- members ---------------------------------------------------------------- */

static bool is_all_stopped(const struct route_set *set)
{
	const struct member *member;

	for (member = TAILQ_FIRST(&set->members); member;
	     member = TAILQ_NEXT(member, link))
		if (route_state(member->route) != ROUTE_STATE_STOPPED)
			return false;
	return TAILQ_EMPTY(&set->leaving);
}

static void member_free(struct member *member)
{
	if (!member)
		return;
	route_free(member->route);
	member->trace->users--;
	loop_defer(member->set->loop, &member->set->traces_task);
	if (member->entrance && entrance_is_empty(member->entrance))
		entrance_free(member->entrance);
	if (member->deadline)
		event_free(member->deadline);
	config_route_clear(&member->config);
	free(member);
}

/* It has drained: what it held is free for others. */
static void member_is_gone(struct member *member)
{
	struct route_set *set = member->set;

	TAILQ_REMOVE(&set->leaving, member, link);
	member_free(member);
}

static void member_stopped(struct route *route, void *arg)
{
	struct member *member = arg;
	struct route_set *set = member->set;

	if (!member->entrance) {
		member_is_gone(member);
		if (!set->is_stopping)
			route_set_retry(set);
	}
	if (set->is_stopping && is_all_stopped(set))
		set->stopped(set->arg);
}

static void member_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct member *member = arg;

	log_warning("route %s: some of its sessions did not drain in time; "
		    "they are cut off",
		    member->config.name);
	route_abort(member->route);
}

/* Its contents are taken when the change is done; until then they are lent. */
static struct member *member_new(struct route_set *set,
				 const struct config_route *config,
				 struct entrance *entrance, struct bluez *bluez)
{
	struct member *member = calloc(1, sizeof(*member));

	if (!member)
		return NULL;
	member->set = set;
	member->config = *config;
	member->entrance = entrance;
	member->deadline = evtimer_new(set->loop->base, member_deadline,
				       member);
	member->trace = provide_trace(set, config->name);
	if (member->trace)
		member->route = route_new(set->loop, &member->config, entrance,
					  bluez, member->trace, member_stopped,
					  member);
	if (member->deadline && member->route) {
		member->trace->users++;
		return member;
	}
	loop_defer(set->loop, &set->traces_task);
	route_free(member->route);
	if (member->deadline)
		event_free(member->deadline);
	free(member);
	errno = ENOMEM;
	return NULL;
}

/* For good. What is idle is gone at once, and its port or path with it. */
static void member_leave(struct member *member)
{
	struct route_set *set = member->set;
	struct entrance *entrance = member->entrance;

	TAILQ_REMOVE(&set->members, member, link);
	TAILQ_INSERT_TAIL(&set->leaving, member, link);
	member->entrance = NULL;
	route_leave(member->route);
	if (entrance_is_empty(entrance))
		entrance_free(entrance);
	if (route_state(member->route) == ROUTE_STATE_STOPPED)
		member_is_gone(member);
	else if (loop_start_timer(member->deadline,
				  member->config.drain_timeout_ms +
					  DRAIN_GRACE_MS))
		/* Without memory for a timer there is no grace. */
		event_active(member->deadline, EV_TIMEOUT, 0);
}

static struct member *find_member(const struct route_set *set, const char *name)
{
	struct member *member;

	for (member = TAILQ_FIRST(&set->members); member;
	     member = TAILQ_NEXT(member, link))
		if (strcmp(member->config.name, name) == 0)
			return member;
	return NULL;
}

/* ---- what becomes of which --------------------------------------------------- */

static int compare_predecessors(const void *a, const void *b)
{
	const struct predecessor *x = a, *y = b;

	return strcmp(x->member->config.name, y->member->config.name);
}

static int compare_name(const void *name, const void *predecessor)
{
	const struct predecessor *x = predecessor;

	return strcmp(name, x->member->config.name);
}

static struct predecessor *find_predecessor(const struct route_change *change,
					    const char *name)
{
	return bsearch(name, change->predecessors, change->predecessor_count,
		       sizeof(*change->predecessors), compare_name);
}

static int list_predecessors(struct route_change *change)
{
	const struct member_list *members = &change->set->members;
	struct member *member;
	size_t count = 0;

	for (member = TAILQ_FIRST(members); member;
	     member = TAILQ_NEXT(member, link))
		count++;
	/* One more, because there may be none. */
	change->predecessors = calloc(count + 1, sizeof(*change->predecessors));
	if (!change->predecessors)
		return -ENOMEM;
	for (member = TAILQ_FIRST(members); member;
	     member = TAILQ_NEXT(member, link))
		change->predecessors[change->predecessor_count++].member =
			member;
	qsort(change->predecessors, count, sizeof(*change->predecessors),
	      compare_predecessors);
	return 0;
}

/* The routes of each entrance, from the first one on. */
static void link_groups(struct route_change *change)
{
	for (size_t i = change->config->route_count; i-- > 0;) {
		size_t first = change->config->routes[i].entrance;

		if (first == i)
			continue;
		change->successors[i].next = change->successors[first].next;
		change->successors[first].next = i;
	}
}

/* An automatic port that another route names now has to be given up. */
static bool is_port_claimed(const struct member *old,
			    const struct config_route *route)
{
	return address_ports_has(&route->reserved_ports,
				 entrance_port(old->entrance));
}

static int find_old(struct route_change *change, size_t index)
{
	const struct config_route *route = &change->config->routes[index];
	struct successor *successor = &change->successors[index];
	struct predecessor *old = find_predecessor(change, route->name);
	int same;

	if (!old)
		return 0;
	old->has_successor = true;
	successor->old = old->member;
	successor->is_disabled = route_is_disabled(successor->old->route);
	same = config_route_is_same(&successor->old->config, route);
	if (same < 0)
		return same;
	successor->is_same = same && !is_port_claimed(successor->old, route);
	return 0;
}

static int compare_entrances(const void *a, const void *b)
{
	return ((uintptr_t)a > (uintptr_t)b) - ((uintptr_t)a < (uintptr_t)b);
}

static bool is_taken(const struct route_change *change,
		     const struct entrance *entrance)
{
	return tfind(entrance, &change->taken, compare_entrances);
}

/* The listener that the routes of group @first can go on with. */
static struct entrance *find_entrance(const struct route_change *change,
				      size_t first, bool is_same)
{
	size_t i = first;

	do {
		const struct successor *successor = &change->successors[i];
		const struct config_route *route = &change->config->routes[i];
		const struct member *old = successor->old;

		if (old && successor->is_same == is_same &&
		    config_listener_is_same(&old->config, route) &&
		    !is_port_claimed(old, route) &&
		    !is_taken(change, old->entrance))
			return old->entrance;
		i = successor->next;
	} while (i);
	return NULL;
}

/* Routes that stay come first: theirs is not to go to others. */
static int find_entrances(struct route_change *change, bool is_same)
{
	for (size_t i = 0; i < change->config->route_count; i++) {
		struct successor *successor = &change->successors[i];

		if (change->config->routes[i].entrance != i ||
		    successor->entrance)
			continue;
		successor->entrance = find_entrance(change, i, is_same);
		if (successor->entrance &&
		    !tsearch(successor->entrance, &change->taken,
			     compare_entrances))
			return -ENOMEM;
	}
	return 0;
}

static int make_successor(struct route_change *change, size_t index,
			  struct bluez *bluez, struct publisher *publisher)
{
	const struct config_route *route = &change->config->routes[index];
	struct successor *successor = &change->successors[index];
	struct successor *first = &change->successors[route->entrance];

	if (!first->entrance) {
		first->entrance = entrance_new(change->set->loop, route, bluez,
					       publisher);
		if (!first->entrance)
			return -errno;
		first->is_new_entrance = true;
	}
	successor->is_same = successor->is_same &&
			     successor->old->entrance == first->entrance;
	successor->member = successor->is_same
				    ? successor->old
				    : member_new(change->set, route,
						 first->entrance, bluez);
	return successor->member ? 0 : -errno;
}

struct route_change *route_change_new(struct route_set *set,
				      struct config *config,
				      struct bluez *bluez,
				      struct publisher *publisher)
{
	struct route_change *change = calloc(1, sizeof(*change));
	int code;

	if (!change)
		return NULL;
	change->set = set;
	change->config = config;
	change->successors = calloc(config->route_count,
				    sizeof(*change->successors));
	code = change->successors ? list_predecessors(change) : -ENOMEM;
	if (code == 0)
		link_groups(change);
	for (size_t i = 0; code == 0 && i < config->route_count; i++)
		code = find_old(change, i);
	if (code == 0)
		code = find_entrances(change, true);
	if (code == 0)
		code = find_entrances(change, false);
	for (size_t i = 0; code == 0 && i < config->route_count; i++)
		code = make_successor(change, i, bluez, publisher);
	if (code == 0)
		return change;
	route_change_free(change);
	errno = -code;
	return NULL;
}

static void leave_entrance(void *entrance)
{
}

/* All but what has become, or will become, of the routes. */
static void change_done(struct route_change *change)
{
	tdestroy(change->taken, leave_entrance);
	free(change->predecessors);
	free(change->successors);
	free(change);
}

void route_change_free(struct route_change *change)
{
	size_t count = change->successors ? change->config->route_count : 0;

	for (size_t i = 0; i < count; i++) {
		struct member *member = change->successors[i].member;

		if (!member || change->successors[i].is_same)
			continue;
		/* What it says was lent, and its entrance comes below. */
		member->entrance = NULL;
		memset(&member->config, 0, sizeof(member->config));
		member_free(member);
	}
	for (size_t i = 0; i < count; i++)
		if (change->successors[i].is_new_entrance)
			entrance_free(change->successors[i].entrance);
	change_done(change);
}

/* ---- doing it ------------------------------------------------------------------ */

/* All that are not among the successors. */
static void dismiss_old(struct route_change *change)
{
	struct route_set *set = change->set;
	struct member_list staying = TAILQ_HEAD_INITIALIZER(staying);
	struct member *member;

	for (size_t i = 0; i < change->config->route_count; i++) {
		if (!change->successors[i].is_same)
			continue;
		member = change->successors[i].member;
		TAILQ_REMOVE(&set->members, member, link);
		TAILQ_INSERT_TAIL(&staying, member, link);
	}
	while ((member = TAILQ_LAST(&set->members, member_list)))
		member_leave(member);
	TAILQ_CONCAT(&set->members, &staying, link);
}

/* To the first route that is behind it now, which may be none of the old. */
static void pass_entrance_on(const struct successor *first)
{
	if (!first->entrance)
		return;
	entrance_hold(first->entrance);
	entrance_set_first(first->entrance, &first->member->config);
}

/* It may stand elsewhere in the file, and among other routes. */
static void place_successor(struct route_change *change, size_t index)
{
	struct config_route *route = &change->config->routes[index];
	const struct successor *successor = &change->successors[index];
	struct member *member = successor->member;
	struct member_list *members = &change->set->members;

	if (successor->is_same)
		TAILQ_REMOVE(members, member, link);
	TAILQ_INSERT_TAIL(members, member, link);
	if (successor->is_same) {
		free(member->config.trace.path);
		member->config.trace = route->trace;
		route->trace.path = NULL;
		member->config.line = route->line;
		member->config.entrance = route->entrance;
		member->config.reserved_ports = route->reserved_ports;
	} else {
		/* The member has it all. */
		memset(route, 0, sizeof(*route));
	}
	trace_set_file(member->trace, &member->config.trace);
	route_move_last(member->route);
}

static void start_successor(const struct successor *successor)
{
	if (successor->is_same)
		return;
	if (successor->is_disabled)
		route_disable(successor->member->route);
	route_start(successor->member->route);
}

void route_change_commit(struct route_change *change)
{
	size_t count = change->config->route_count;

	for (size_t i = 0; i < count; i++)
		pass_entrance_on(&change->successors[i]);
	dismiss_old(change);
	for (size_t i = 0; i < count; i++)
		place_successor(change, i);
	for (size_t i = 0; i < count; i++)
		start_successor(&change->successors[i]);
	for (size_t i = 0; i < count; i++)
		if (change->successors[i].entrance)
			entrance_let_go(change->successors[i].entrance);
	change_done(change);
}

/* ---- the difference -------------------------------------------------------------- */

const char *route_difference_to_string(enum route_difference difference)
{
	switch (difference) {
	case ROUTE_IS_SAME:
		return "unchanged";
	case ROUTE_IS_ADDED:
		return "added";
	case ROUTE_IS_CHANGED:
		return "changed";
	case ROUTE_IS_REMOVED:
		return "removed";
	case ROUTE_IS_RETRACED:
		return "unchanged, with another trace";
	case ROUTE_DIFFERENCES:
		break;
	}
	return "?";
}

static enum route_difference difference_of(const struct successor *successor,
					   const struct config_route *route)
{
	if (!successor->old)
		return ROUTE_IS_ADDED;
	if (!successor->is_same)
		return ROUTE_IS_CHANGED;
	return config_trace_is_same(&successor->old->config.trace,
				    &route->trace)
		       ? ROUTE_IS_SAME
		       : ROUTE_IS_RETRACED;
}

void route_change_list(const struct route_change *change,
		       route_difference_cb cb, void *arg)
{
	const struct member *member;

	for (size_t i = 0; i < change->config->route_count; i++) {
		const struct successor *successor = &change->successors[i];

		cb(change->config->routes[i].name,
		   difference_of(successor, &change->config->routes[i]), arg);
	}
	for (member = TAILQ_FIRST(&change->set->members); member;
	     member = TAILQ_NEXT(member, link))
		if (!find_predecessor(change, member->config.name)
			     ->has_successor)
			cb(member->config.name, ROUTE_IS_REMOVED, arg);
}

/* ---- all of them ------------------------------------------------------------------ */

struct route_set *route_set_new(struct loop *loop, route_set_stopped_cb stopped,
				void *arg)
{
	struct route_set *set = calloc(1, sizeof(*set));

	if (!set)
		return NULL;
	set->loop = loop;
	set->stopped = stopped;
	set->arg = arg;
	TAILQ_INIT(&set->members);
	TAILQ_INIT(&set->leaving);
	TAILQ_INIT(&set->traces);
	set->traces_task.run = free_idle_traces;
	set->traces_task.arg = set;
	return set;
}

void route_set_free(struct route_set *set)
{
	struct member *member;

	if (!set)
		return;
	/* What failed half-way may have sessions: they end before the routes. */
	set->is_stopping = true;
	route_set_abort(set);
	loop_flush(set->loop);
	while ((member = TAILQ_FIRST(&set->leaving)))
		member_is_gone(member);
	/* The last one first: what one made, the next may have used. */
	while ((member = TAILQ_LAST(&set->members, member_list))) {
		TAILQ_REMOVE(&set->members, member, link);
		member_free(member);
	}
	loop_cancel(set->loop, &set->traces_task);
	free_idle_traces(set);
	free(set);
}

size_t route_set_count(const struct route_set *set)
{
	const struct member *member;
	size_t count = 0;

	for (member = TAILQ_FIRST(&set->members); member;
	     member = TAILQ_NEXT(member, link))
		count++;
	return count;
}

size_t route_set_hopeless(const struct route_set *set)
{
	const struct member *member;
	size_t count = 0;

	for (member = TAILQ_FIRST(&set->members); member;
	     member = TAILQ_NEXT(member, link))
		count += route_is_hopeless(member->route);
	return count;
}

void route_set_each(struct route_set *set, route_set_cb cb, void *arg)
{
	struct member *member;

	for (member = TAILQ_FIRST(&set->members); member;
	     member = TAILQ_NEXT(member, link))
		cb(member->route, false, arg);
	for (member = TAILQ_FIRST(&set->leaving); member;
	     member = TAILQ_NEXT(member, link))
		cb(member->route, true, arg);
}

struct route *route_set_find(const struct route_set *set, const char *name)
{
	const struct member *member = find_member(set, name);

	return member ? member->route : NULL;
}

struct trace *route_set_trace(const struct route_set *set, const char *name)
{
	return find_trace(set, name);
}

bool route_set_offers(const struct route_set *set,
		      const struct address_uuid *uuid,
		      const struct address_bluetooth *address, const char *name)
{
	const struct member *member;

	for (member = TAILQ_FIRST(&set->members); member;
	     member = TAILQ_NEXT(member, link))
		if (config_route_offers(&member->config, uuid, address, name))
			return true;
	return false;
}

void route_set_retry(struct route_set *set)
{
	struct member *member;

	for (member = TAILQ_FIRST(&set->members); member;
	     member = TAILQ_NEXT(member, link))
		route_check(member->route);
	for (member = TAILQ_FIRST(&set->members); member;
	     member = TAILQ_NEXT(member, link))
		route_retry(member->route);
}

bool route_set_is_stopping(const struct route_set *set)
{
	return set->is_stopping;
}

void route_set_stop(struct route_set *set)
{
	struct member *member;

	set->is_stopping = true;
	for (member = TAILQ_FIRST(&set->members); member;
	     member = TAILQ_NEXT(member, link))
		route_stop(member->route);
}

void route_set_abort(struct route_set *set)
{
	struct member *member;

	for (member = TAILQ_FIRST(&set->members); member;
	     member = TAILQ_NEXT(member, link))
		route_abort(member->route);
	for (member = TAILQ_FIRST(&set->leaving); member;
	     member = TAILQ_NEXT(member, link))
		route_abort(member->route);
}

unsigned int route_set_drain_ms(const struct route_set *set)
{
	const struct member *member;
	unsigned int ms = 0;

	for (member = TAILQ_FIRST(&set->members); member;
	     member = TAILQ_NEXT(member, link))
		if (member->config.drain_timeout_ms > ms)
			ms = member->config.drain_timeout_ms;
	return ms;
}
