/* All connections of a worker: what happens to them together. */
#include "data/connection.h"

void connections_tick(struct worker *w)
{
	struct connection *c;
	int64_t timeout = w->snapshot->config->limits.idle_timeout;
	while (timeout && (c = TAILQ_FIRST(&w->busy)) && w->now - c->seen > timeout) {
		if (c->holds) {
			connection_touch(c);
			continue;
		}
		connection_fail(c, CLOSED_IDLE);
		connection_destroy(c);
	}
}

void connections_look(struct worker *w)
{
	struct connection *c, *next;
	for (c = TAILQ_FIRST(&w->busy); c && (w->done & ORDER_DRAIN); c = next) {
		next = TAILQ_NEXT(c, entry);
		if (!c->fresh)
			continue;
		c->fresh = false; /* it has had its time */
		connection_advance(c, false);
	}
	for (c = TAILQ_FIRST(&w->lingering); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (w->now - c->seen > LINGER_SECONDS || !connection_is_busy(c))
			connection_destroy(c);
	}
	if (!TAILQ_EMPTY(&w->lingering))
		worker_look_in(w, LINGER_LOOK_MS);
}

void connections_drain(struct worker *w)
{
	struct connection *c, *next;
	/* Nothing that a callback moves may change the order in which this goes. */
	TAILQ_FOREACH (c, &w->busy, entry) {
		c->fresh = c->fresh && w->now - c->seen <= 1;
		c->seen = w->now;
	}
	for (c = TAILQ_FIRST(&w->busy); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		connection_drain(c);
	}
}

void connections_close(struct worker *w)
{
	struct connection *c;
	while ((c = TAILQ_FIRST(&w->busy))) {
		atomic_fetch_add(&w->plane->cut_off, 1);
		c->why = CLOSED_DEADLINE;
		connection_destroy(c);
	}
	while ((c = TAILQ_FIRST(&w->lingering))) /* these were finished */
		connection_destroy(c);
}
