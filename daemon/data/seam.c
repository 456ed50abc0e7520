/* What a service calls: the functions of service.h. */
#include "base/log.h"
#include "data/connection.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

struct event_base *worker_base(struct worker *w)
{
	return w->base;
}

unsigned worker_index(const struct worker *w)
{
	return w->index;
}

const void *worker_config(const struct worker *w)
{
	return w->snapshot->config->service;
}

void *worker_data(const struct worker *w)
{
	return w->data;
}

void worker_set_data(struct worker *w, void *data)
{
	w->data = data;
}

void worker_count(struct worker *w, unsigned row, uint64_t n)
{
	worker_add(w, N_COUNTERS + row, n);
}

void worker_log(const struct worker *w, int level, const char *format, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	log_line(level, "%s %u: %s", w->plane->service->name, w->index, text);
}

void worker_hold(struct worker *w)
{
	w->holds++;
}

void worker_release(struct worker *w)
{
	w->holds -= w->holds > 0; /* a stop has let go of all */
	worker_check_drained(w);
}

int connection_write(struct connection *c, const void *bytes, size_t n)
{
	if (c->broken || c->closing)
		return -1;
	size_t sent = 0;
	if (!queued(c->out)) {
		ssize_t r = send(c->fd, bytes, n, MSG_NOSIGNAL);
		if (r < 0 && errno != EAGAIN && errno != EINTR) {
			connection_fail_io(c, "send");
			connection_settle_soon(c);
			return -1;
		}
		if (r > 0) {
			sent = (size_t)r;
			worker_add(c->worker, COUNT_SENT, sent);
			c->sent += sent;
			connection_touch(c);
		}
		if (sent == n)
			return 0;
	}
	if (!c->out)
		c->out = evbuffer_new();
	if (!c->out || evbuffer_add(c->out, (const char *)bytes + sent, n - sent) < 0) {
		connection_fail_short(c);
		connection_settle_soon(c);
		return -1;
	}
	connection_settle_soon(c);
	if (queued(c->out) < limit_of(c))
		return 0;
	c->offer_again = true;
	return 1;
}

void connection_close(struct connection *c)
{
	if (c->closing || c->broken)
		return;
	c->why = CLOSED_BY_SERVICE;
	c->closing = true;
	connection_settle_soon(c);
}

void connection_hold(struct connection *c)
{
	c->holds++;
}

void connection_release(struct connection *c)
{
	c->holds--;
	if (c->fd >= 0) /* from now on it may be idle */
		connection_touch(c);
	c->offer_again = true; /* requests that were waiting behind the answer */
	connection_settle_soon(c);
}

struct worker *connection_worker(const struct connection *c)
{
	return c->worker;
}

void *connection_data(const struct connection *c)
{
	return c->data;
}

void connection_set_data(struct connection *c, void *data)
{
	c->data = data;
}

void connection_log(const struct connection *c, int level, const char *format, ...)
{
	if (level > log_level())
		return;
	char peer[ADDRESS_TEXT_MAX] = "a unix peer", text[512];
	struct address a = {.length = sizeof(a.sa)};
	if (c->peer.family == AF_INET)
		*(struct sockaddr_in *)&a.sa = c->peer.v4;
	else if (c->peer.family == AF_INET6)
		*(struct sockaddr_in6 *)&a.sa = c->peer.v6;
	if (c->peer.family != AF_UNIX)
		address_show(&a, peer);
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	log_line(level, "%s: %s", peer, text);
}
