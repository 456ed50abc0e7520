#include "data/connection_list.h"

#include "data/connection.h"

void connection_list_tick(struct worker *w)
{
	struct connection *c;
	int64_t timeout = w->snapshot->config->limits.idle_timeout;
	while ((c = TAILQ_FIRST(&w->awaiting_header)) &&
	       w->now - c->active_at > PROXY_HEADER_SECONDS) {
		connection_reject_header(c, "nothing in time");
		connection_destroy(c);
	}
	while (timeout && (c = TAILQ_FIRST(&w->active)) && w->now - c->active_at > timeout) {
		if (c->holds) {
			connection_mark_active(c);
			continue;
		}
		connection_fail(c, CLOSED_IDLE);
		connection_destroy(c);
	}
}

/* Freeze the order of the list while it is iterated and callbacks run: connection_mark_active()
 * does not move a connection that has been active in the current second. */
static void freeze_order(struct worker *w)
{
	struct connection *c;
	TAILQ_FOREACH (c, &w->active, entry)
		c->active_at = w->now;
}

static void end_grace_period(struct connection_list *list)
{
	struct connection *c, *next;
	for (c = TAILQ_FIRST(list); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (!c->in_grace_period)
			continue;
		c->in_grace_period = false;
		connection_read_pending(c);
	}
}

void connection_list_check(struct worker *w)
{
	struct connection *c, *next;
	if (w->orders_done & ORDER_DRAIN) {
		end_grace_period(&w->awaiting_header);
		freeze_order(w);
		end_grace_period(&w->active);
	}
	for (c = TAILQ_FIRST(&w->lingering); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (w->now - c->active_at > LINGER_SECONDS || !connection_has_undelivered(c))
			connection_destroy(c);
	}
	if (!TAILQ_EMPTY(&w->lingering))
		worker_schedule_check(w, LINGER_CHECK_MS);
}

/* May a request be on its way? Only if the connection was active lately and is idle now. */
static bool gets_grace_period(const struct connection *c)
{
	return c->worker->now - c->active_at <= 1 && !c->holds && !buffered(c->out) &&
	       (!buffered(c->in) || c->awaits_proxy_header) &&
	       c->worker->snapshot->config->drain_timeout;
}

static void drain(struct connection_list *list)
{
	struct connection *c, *next;
	for (c = TAILQ_FIRST(list); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		connection_drain(c);
	}
}

void connection_list_drain(struct worker *w)
{
	struct connection *c;
	TAILQ_FOREACH (c, &w->awaiting_header, entry)
		c->in_grace_period = gets_grace_period(c);
	TAILQ_FOREACH (c, &w->active, entry)
		c->in_grace_period = gets_grace_period(c);
	freeze_order(w);
	event_del(w->check); /* it may be due earlier; lingering connections can wait */
	worker_schedule_check(w, GRACE_MS);
	drain(&w->active);
	/* After the active ones, because a complete header moves a connection to their end. */
	drain(&w->awaiting_header);
}

void connection_list_close(struct worker *w)
{
	struct connection *c;
	while ((c = TAILQ_FIRST(&w->awaiting_header)) || (c = TAILQ_FIRST(&w->active))) {
		atomic_fetch_add(&w->workers->n_cut_off, 1);
		c->reason = CLOSED_DEADLINE;
		connection_destroy(c);
	}
	while ((c = TAILQ_FIRST(&w->lingering))) /* not cut off: all was answered and sent */
		connection_destroy(c);
}
