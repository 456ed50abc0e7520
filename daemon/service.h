/*
 * The seam: all that the author of a service reads.
 *
 * A service is one constant structure, `service`, defined in daemon/service/. The daemon calls its
 * functions; they call the functions declared below. Everything else is done for it: accepting,
 * limits, idle timeouts, back-pressure, half-close, TLS-free plain bytes in and out, accounting,
 * reload, drain and stop.
 *
 * THREADS. There are `workers` worker threads, each with an event loop of its own. Every function
 * of a service runs on the thread of the worker that it is given (or that owns the connection it
 * is given), and may call the functions below for that worker and its connections only. Functions
 * must return soon: what takes long belongs in a thread or process of the service's own, which
 * reports back through a descriptor watched in worker_base().
 *
 * ERRORS. int functions return 0, or -1 for failure.
 */
#ifndef SKELD_SERVICE_H
#define SKELD_SERVICE_H

#include "base/metric.h"
#include "base/option.h"

#include <stddef.h>
#include <stdint.h>
#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG */

struct worker;	   /* one thread of the data plane */
struct connection; /* one accepted connection */
struct event_base; /* libevent's */

struct service {
	/* Its section in the configuration; also how it is called in the log. */
	const char *name;

	/*
	 * Its options, ended by a row without a name, and the size of the structure they fill (see
	 * base/option.h for the columns). Values are checked before they arrive, and do not change:
	 * a reload brings a new structure, see worker_config().
	 */
	const struct option *options;
	size_t config_size;

	/* Its counters, ended by a row without a name; worker_count() takes the row's number. */
	const struct metric *metrics;

	/* A worker starts, before it accepts anything. -1: the daemon does not start. May be NULL.
	 */
	int (*start)(struct worker *w);

	/* It stops; all connections are closed. Free here what start made. May be NULL. */
	void (*stop)(struct worker *w);

	/* worker_config() has changed. May be NULL. */
	void (*reloaded)(struct worker *w);

	/* The daemon drains: finish what is begun, worker_release() what was held. May be NULL. */
	void (*drain)(struct worker *w);

	/* A connection was accepted. -1 closes it. May be NULL. */
	int (*opened)(struct connection *c);

	/*
	 * N bytes, N > 0: all that was received and not yet consumed. Returns how many of them are
	 * consumed; the rest is kept, and offered again together with what comes next (also while
	 * the connection is held: return 0 to wait). The bytes are valid during the call. A request
	 * longer than limits.buffer cannot be kept: its connection is closed; so is one that takes
	 * longer than limits.idle_timeout, for nothing is consumed. NULL for a service without
	 * connections.
	 */
	size_t (*data)(struct connection *c, const char *bytes, size_t n);

	/*
	 * The daemon drains: this connection is closed as soon as what was received is answered. If
	 * it was not idle before, one more request may come within 200 ms; connection_close() here
	 * is for who wants none.
	 */
	void (*draining)(struct connection *c); /* may be NULL */

	/* The connection is over, nothing can be written any more; also after `opened` returned -1.
	 * Free its data. May be NULL. */
	void (*closed)(struct connection *c);

	/* What --self-test sends to the service, and the answer that it expects. NULL: nothing. */
	const char *probe, *answer;
};

extern const struct service service;

/* Workers. */

/* To watch timers and descriptors of one's own. Never touch it from another thread. */
struct event_base *worker_base(struct worker *w);

unsigned worker_index(const struct worker *w); /* 0 ... workers - 1 */

/* The structure filled from the service's section. Valid until `reloaded` is called. */
const void *worker_config(const struct worker *w);

/* A pointer of the service's own. */
void *worker_data(const struct worker *w);
void worker_set_data(struct worker *w, void *data);

/* Add N to the counter in row ROW of service.metrics. */
void worker_count(struct worker *w, unsigned row, uint64_t n);

/* A log line. LEVEL as in syslog(3). */
void worker_log(const struct worker *w, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The worker is not drained while it is held: work that no connection stands for. */
void worker_hold(struct worker *w);
void worker_release(struct worker *w);

/* Connections. */

/*
 * Send N bytes: at once when nothing waits before them, what does not fit is queued. The bytes
 * are copied. Returns 0; 1 when limits.buffer or more is queued now (the bytes were taken; from
 * within `data`, return: what is not consumed is offered again when the queue has shrunk); -1 when
 * the connection is broken or closing (the bytes were dropped).
 */
int connection_write(struct connection *c, const void *bytes, size_t n);

/* Close it when what is queued has been sent. `data` is not called any more. */
void connection_close(struct connection *c);

/*
 * Keep C valid while an answer is prepared: it is neither idle nor drained, and not freed after
 * `closed` was called (its peer may break it at any time), until it is released as often as it was
 * held. What was not consumed meanwhile is offered again then.
 */
void connection_hold(struct connection *c);
void connection_release(struct connection *c);

struct worker *connection_worker(const struct connection *c);

/* A pointer of the service's own. */
void *connection_data(const struct connection *c);
void connection_set_data(struct connection *c, void *data);

/* A log line that begins with the peer's address. LEVEL as in syslog(3). */
void connection_log(const struct connection *c, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
