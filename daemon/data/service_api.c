/* Implements most functions that a service calls, of daemon/service*.h. Worker's thread, unless the
 * header permits any thread. */
#include "base/log.h"
#include "data/connection.h"
#include "data/datagram.h"
#include "data/load.h"
#include "service_thread.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

struct event_base *worker_base(struct worker *w)
{
	return w->base;
}

unsigned worker_index(const struct worker *w)
{
	return w->index;
}

unsigned worker_total(const struct worker *w)
{
	return w->workers->n_workers;
}

struct worker *worker_of(const struct worker *w, unsigned i)
{
	return i < w->workers->n_workers ? &w->workers->worker[i] : NULL;
}

int worker_post(struct worker *w, void (*run)(struct worker *w, void *arg), void *arg)
{
	int error = post_queue_add(&w->posts, run, arg);
	if (error)
		errno = error;
	return error ? -1 : 0;
}

const void *worker_config(const struct worker *w)
{
	return w->snapshot->config->service;
}

const void *worker_loaded(const struct worker *w)
{
	return loaded_object(w->snapshot->loaded);
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

void worker_gauge(struct worker *w, unsigned row, double value)
{
	worker_set_number(w, N_COUNTERS + row, value);
}

void worker_observe(struct worker *w, unsigned row, double seconds)
{
	double sum = worker_number(w, N_COUNTERS + row);
	if (!(seconds > 0)) /* or NAN, which would make the sum NAN forever */
		seconds = 0;
	worker_add(w, first_bucket(w->workers, row) + histogram_bucket(seconds), 1);
	worker_set_number(w, N_COUNTERS + row, sum + seconds);
}

void worker_log(const struct worker *w, int level, const char *format, ...)
{
	const char *name = w->workers->service->name;
	char prefix[128];
	va_list ap;
	snprintf(prefix, sizeof(prefix), "%s %u", name, w->index);
	const struct log_about about = {
		.prefix = prefix,
		.field = {LOG_TEXT("service", name), LOG_NUMBER("worker", w->index)}};
	va_start(ap, format);
	log_vabout(level, &about, format, ap);
	va_end(ap);
}

void worker_hold(struct worker *w)
{
	w->holds++;
}

static void report_release(struct worker *w, const char *call)
{
	unsigned suppressed;
	if (worker_may_warn(w, WARN_RELEASE, &suppressed))
		log_error("released more often than held: service=%s call=%s suppressed=%u; "
			  "ignored, the service has a defect",
			  w->workers->service->name, call, suppressed);
}

void worker_release(struct worker *w)
{
	if (w->holds)
		w->holds--;
	else if (!(w->orders_done & ORDER_CLOSE)) /* this order sets w->holds to 0 */
		report_release(w, "worker_release");
	if (!w->holds)
		datagrams_close_retired(w);
	worker_report_if_drained(w);
}

int connection_write(struct connection *c, const void *bytes, size_t n)
{
	if ((c->state != OPEN && c->state != CONNECTING) || c->shutting_down ||
	    !connection_send(c, bytes, n))
		return -1;
	if (buffered(c->out) < connection_buffer_limit(c))
		return 0;
	c->offer_again = true;
	c->wants_room = c->protocol->writable;
	return 1;
}

void connection_close(struct connection *c)
{
	connection_begin_close(c, CLOSED_BY_SERVICE);
	connection_schedule(c);
}

void connection_abort(struct connection *c)
{
	const struct linger reset = {.l_onoff = 1};
	if (c->state >= ENDED)
		return;
	c->aborted = true;
	if (c->worker->running == c)
		c->worker->n_gathered = 0;
	if (c->fd >= 0)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	connection_end(c, CLOSED_BY_SERVICE);
	connection_schedule(c);
}

void connection_shutdown(struct connection *c)
{
	c->shutting_down = true;
	connection_schedule(c);
}

void connection_read_pause(struct connection *c)
{
	c->paused = true;
	connection_schedule(c);
}

void connection_read_resume(struct connection *c)
{
	c->paused = false;
	c->offer_again = true;
	connection_schedule(c);
}

void connection_set_protocol(struct connection *c, const struct protocol *p)
{
	c->protocol = p;
	c->wants_room = c->wants_room && p->writable;
	c->offer_again = true;
	connection_schedule(c);
}

const struct sockaddr *connection_peer(const struct connection *c, socklen_t *length)
{
	if (!c->peer.family) /* CONNECTING */
		return NULL;
	*length = c->peer.family == AF_INET    ? sizeof(c->peer.v4)
		  : c->peer.family == AF_INET6 ? sizeof(c->peer.v6)
					       : sizeof(c->peer.family);
	return (const struct sockaddr *)&c->peer;
}

const char *connection_listener(const struct connection *c)
{
	return c->outgoing ? "" : c->listener;
}

const char *connection_tls_name(const struct connection *c)
{
	return c->tls ? tls_session_peer_name(c->tls) : "";
}

void connection_hold(struct connection *c)
{
	c->holds++;
}

void connection_release(struct connection *c)
{
	if (!c->holds) {
		report_release(c->worker, "connection_release");
		return;
	}
	c->holds--;
	if (c->state != CLOSED) /* idle_timeout counts from now */
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
