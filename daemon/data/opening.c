/*
 * How a connection begins: accepted, with a PROXY header where one is expected; then the service
 * is told.
 */
#include "base/log.h"
#include "data/connection.h"
#include "data/proxy.h"

#include <stdlib.h>
#include <string.h>

void connection_open(struct connection *c)
{
	const struct service *s = c->worker->plane->service;
	bool entered = c->entered;
	c->over = false;
	c->entered = true;
	if (!s->data || (s->opened && s->opened(c) < 0)) {
		c->why = CLOSED_BY_SERVICE;
		c->closing = true;
	}
	c->entered = entered;
}

void connection_reject(struct connection *c, const char *what)
{
	if (worker_may_warn(c->worker, &c->worker->warned_proxy))
		connection_log(c, LOG_WARNING,
			       "closed: a PROXY protocol version 2 header was expected, but %s",
			       what);
	connection_fail(c, CLOSED_PROXY);
}

/* From now on it is the client that the peer is. */
static void become(struct connection *c, const struct address *client)
{
	char text[ADDRESS_TEXT_MAX];
	if (client->sa.ss_family == AF_UNSPEC)
		return;
	address_show(client, text);
	connection_log(c, LOG_DEBUG, "connects for %s", text);
	memcpy(&c->peer, &client->sa, sizeof(c->peer));
}

size_t connection_introduce(struct connection *c, const char *bytes, size_t n)
{
	struct worker *w = c->worker;
	struct proxy p = {0};
	switch (proxy_parse(bytes, n, &p)) {
	case PROXY_COMPLETE:
		break;
	case PROXY_NEEDS_MORE:
		return 0;
	case PROXY_VERSION_1:
		connection_reject(c, "one of version 1 came");
		return n;
	case PROXY_TOO_LONG:
		connection_reject(c, "a longer one than is taken came");
		return n;
	case PROXY_MALFORMED:
		connection_reject(c, "something else came");
		return n;
	}
	become(c, &p.client);
	TAILQ_REMOVE(&w->strangers, c, entry);
	TAILQ_INSERT_TAIL(&w->busy, c, entry);
	c->stranger = false;
	c->seen = w->now;
	connection_open(c);
	if (c->draining && !c->closing && w->plane->service->draining)
		w->plane->service->draining(c);
	return p.length;
}

/* The listener is where it came from, for whoever follows it in the log. */
static void tell_accepted(const struct connection *c, const struct listener *listener)
{
	char address[ADDRESS_TEXT_MAX];
	if (log_level() < LOG_DEBUG)
		return;
	address_show(&listener->actual, address);
	connection_log(c, LOG_DEBUG, "accepted on %s by worker %u", address, c->worker->index);
}

void connection_accept(const struct acceptor *a, int fd, const struct sockaddr_storage *peer)
{
	struct worker *w = a->worker;
	struct connection *c = calloc(1, sizeof(*c));
	if (!c) {
		worker_tell_short(w);
		evutil_closesocket(fd);
		atomic_fetch_sub(&w->plane->open, 1);
		worker_add(w, COUNT_CLOSED + CLOSED_ERROR, 1);
		return;
	}
	c->worker = w;
	c->fd = fd;
	c->seen = c->opened = w->now;
	c->fresh = true;
	c->local = peer->ss_family == AF_UNIX;
	c->stranger = c->over = a->proxy;
	memcpy(&c->peer, peer, sizeof(c->peer));
	w->n_connections++;
	TAILQ_INSERT_TAIL(connection_queue(c), c, entry);
	event_assign(&c->event, w->base, fd, EV_READ | EV_PERSIST, connection_event, c);
	tell_accepted(c, a->listener);
	if (!a->proxy)
		connection_open(c);
	if (w->done & ORDER_DRAIN)
		connection_drain(c);
	else
		connection_advance(c, false);
}
