#include "data/connection_list.h"

#include "data/connection.h"

/* Freeze the order of the list while it is iterated and callbacks run: connection_mark_active()
 * does not move a connection that has been active in the current second. */
static void freeze_order(struct worker *w)
{
	struct connection *c;
	TAILQ_FOREACH (c, &w->lists[LIST_ACTIVE], entry)
		c->active_at = w->now;
}

static void end_grace_period(struct connection_list *list)
{
	struct connection *c, *next;
	for (c = TAILQ_FIRST(list); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (c->in_grace_period)
			connection_handle(c, GRACE_OVER);
	}
}

/* Check all connections that end, or those that began to linger within the last second. */
static void check_ending(struct worker *w, bool all)
{
	struct connection *c, *next;
	for (c = TAILQ_FIRST(&w->lists[LIST_ENDING]); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		bool is_new = c->state == LINGERING && w->now - c->lingering_since <= 1;
		if (is_new)
			worker_schedule_check(w, LINGER_CHECK_MS);
		if (is_new || all)
			connection_handle(c, CHECK);
	}
}

void connection_list_tick(struct worker *w)
{
	struct connection *c;
	int64_t timeout = w->snapshot->config->limits.idle_timeout;
	while ((c = TAILQ_FIRST(&w->lists[LIST_OPENING])) &&
	       w->now - c->active_at > OPENING_SECONDS)
		connection_handle(c, TIMED_OUT);
	while (timeout && (c = TAILQ_FIRST(&w->lists[LIST_ACTIVE])) &&
	       w->now - c->active_at > timeout)
		if (c->holds)
			connection_mark_active(c);
		else
			connection_handle(c, TIMED_OUT);
	check_ending(w, true);
}

void connection_list_check(struct worker *w)
{
	if (worker_drains(w)) {
		end_grace_period(&w->lists[LIST_OPENING]);
		freeze_order(w);
		end_grace_period(&w->lists[LIST_ACTIVE]);
	}
	check_ending(w, false);
}

/* May a request be on its way? Only if the connection was active lately and is idle now. */
static bool gets_grace_period(const struct connection *c)
{
	return !c->outgoing && c->worker->now - c->active_at <= 1 && !c->holds &&
	       !buffered(c->out) && (!buffered(c->in) || c->state < OPEN) &&
	       c->worker->snapshot->config->drain_timeout;
}

static void drain(struct connection_list *list)
{
	struct connection *c, *next;
	for (c = TAILQ_FIRST(list); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		connection_handle(c, DRAIN);
	}
}

void connection_list_drain(struct worker *w)
{
	struct connection *c;
	TAILQ_FOREACH (c, &w->lists[LIST_OPENING], entry)
		c->in_grace_period = gets_grace_period(c);
	TAILQ_FOREACH (c, &w->lists[LIST_ACTIVE], entry)
		c->in_grace_period = gets_grace_period(c);
	freeze_order(w);
	event_del(w->check); /* it may be due earlier; lingering connections can wait */
	worker_schedule_check(w, GRACE_MS);
	drain(&w->lists[LIST_ACTIVE]);
	/* After the active ones, because a complete header moves a connection to their end. */
	drain(&w->lists[LIST_OPENING]);
}

void connection_list_close(struct worker *w)
{
	struct connection *c;
	for (size_t i = 0; i < N_LISTS; i++)
		while ((c = TAILQ_FIRST(&w->lists[i])))
			connection_handle(c, CUT);
}
