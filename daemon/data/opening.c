/* How a connection begins: with a PROXY header where one is expected; then the service is told. */
#include "data/connection.h"
#include "data/proxy.h"

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
