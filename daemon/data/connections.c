/* All connections of a worker: what happens to them together. */
#include "data/connection.h"

void connections_tick(struct worker *w)
{
	struct connection *c;
	int64_t timeout = w->snapshot->config->limits.idle_timeout;
	while ((c = TAILQ_FIRST(&w->strangers)) && w->now - c->seen > PROXY_SECONDS) {
		connection_reject(c, "it did not come in time");
		connection_destroy(c);
	}
	while (timeout && (c = TAILQ_FIRST(&w->busy)) && w->now - c->seen > timeout) {
		if (c->holds) {
			connection_touch(c);
			continue;
		}
		connection_fail(c, CLOSED_IDLE);
		connection_destroy(c);
	}
}

/* Nothing that a callback moves may change the order in which all are gone through. */
static void keep_order(struct worker *w)
{
	struct connection *c;
	TAILQ_FOREACH (c, &w->busy, entry)
		c->seen = w->now;
}

/* They have had their time. */
static void end_freshness(struct connections *all)
{
	struct connection *c, *next;
	for (c = TAILQ_FIRST(all); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (!c->fresh)
			continue;
		c->fresh = false;
		connection_take_owed(c);
	}
}

void connections_look(struct worker *w)
{
	struct connection *c, *next;
	if (w->done & ORDER_DRAIN) {
		end_freshness(&w->strangers);
		keep_order(w);
		end_freshness(&w->busy);
	}
	for (c = TAILQ_FIRST(&w->lingering); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (w->now - c->seen > LINGER_SECONDS || !connection_is_busy(c))
			connection_destroy(c);
	}
	if (!TAILQ_EMPTY(&w->lingering))
		worker_look_in(w, LINGER_LOOK_MS);
}

/* A request may be under way. */
static bool is_fresh(const struct connection *c)
{
	return c->worker->now - c->seen <= 1 && !c->holds && !queued(c->out) &&
	       (!queued(c->in) || c->stranger) && c->worker->snapshot->config->drain_timeout;
}

void connections_drain(struct worker *w)
{
	struct connection *c, *next;
	TAILQ_FOREACH (c, &w->strangers, entry)
		c->fresh = is_fresh(c);
	TAILQ_FOREACH (c, &w->busy, entry)
		c->fresh = is_fresh(c);
	keep_order(w);
	event_del(w->look); /* those that linger can wait as long */
	worker_look_in(w, FRESH_MS);
	for (c = TAILQ_FIRST(&w->busy); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		connection_drain(c);
	}
	/* After the others: those whose header is there go to the end of them. */
	for (c = TAILQ_FIRST(&w->strangers); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		connection_drain(c);
	}
}

void connections_close(struct worker *w)
{
	struct connection *c;
	while ((c = TAILQ_FIRST(&w->strangers)) || (c = TAILQ_FIRST(&w->busy))) {
		atomic_fetch_add(&w->plane->cut_off, 1);
		c->why = CLOSED_DEADLINE;
		connection_destroy(c);
	}
	while ((c = TAILQ_FIRST(&w->lingering))) /* these were finished */
		connection_destroy(c);
}
