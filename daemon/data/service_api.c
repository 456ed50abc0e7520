/* Implements service.h: the functions that a service calls. Worker's thread. */
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
	return w->service_data;
}

void worker_set_data(struct worker *w, void *data)
{
	w->service_data = data;
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
	log_line(level, "%s %u: %s", w->workers->service->name, w->index, text);
}

void worker_hold(struct worker *w)
{
	w->holds++;
}

void worker_release(struct worker *w)
{
	w->holds -= w->holds > 0; /* ORDER_CLOSE sets w->holds to 0 */
	worker_report_if_drained(w);
}

int connection_write(struct connection *c, const void *bytes, size_t n)
{
	if (c->broken || c->closing)
		return -1;
	size_t sent = 0;
	if (!buffered(c->out)) {
		ssize_t r = send(c->fd, bytes, n, MSG_NOSIGNAL);
		if (r < 0 && errno != EAGAIN && errno != EINTR) {
			connection_fail_errno(c, "send");
			connection_schedule(c);
			return -1;
		}
		if (r > 0) {
			sent = (size_t)r;
			worker_add(c->worker, COUNT_SENT, sent);
			c->sent += sent;
			connection_mark_active(c);
		}
		if (sent == n)
			return 0;
	}
	if (!c->out)
		c->out = evbuffer_new();
	if (!c->out || evbuffer_add(c->out, (const char *)bytes + sent, n - sent) < 0) {
		connection_fail_no_memory(c);
		connection_schedule(c);
		return -1;
	}
	connection_schedule(c);
	if (buffered(c->out) < connection_buffer_limit(c))
		return 0;
	c->offer_again = true;
	return 1;
}

void connection_close(struct connection *c)
{
	if (c->closing || c->broken)
		return;
	c->reason = CLOSED_BY_SERVICE;
	c->closing = true;
	connection_schedule(c);
}

void connection_hold(struct connection *c)
{
	c->holds++;
}

void connection_release(struct connection *c)
{
	c->holds--;
	if (c->fd >= 0) /* idle_timeout counts from now */
		connection_mark_active(c);
	c->offer_again = true; /* `data` may have left requests unconsumed during the hold */
	connection_schedule(c);
}

struct worker *connection_worker(const struct connection *c)
{
	return c->worker;
}

void *connection_data(const struct connection *c)
{
	return c->service_data;
}

void connection_set_data(struct connection *c, void *data)
{
	c->service_data = data;
}

void connection_log(const struct connection *c, int level, const char *format, ...)
{
	va_list ap;
	if (level > log_level())
		return;
	va_start(ap, format);
	connection_vlog(c, level, format, ap);
	va_end(ap);
}
