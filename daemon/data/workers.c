#include "data/workers.h"

#include "base/clock.h"
#include "data/worker_loop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

static void wake(struct worker *w)
{
	eventfd_write(w->wake_fd, 1);
}

struct workers *workers_new(const struct service *svc, unsigned n, int progress_fd,
			    struct errors *e)
{
	size_t size = sizeof(struct workers) + n * sizeof(struct worker);
	struct workers *ws = aligned_alloc(CACHE_LINE, size);
	if (!ws) {
		errors_add_no_memory(e, NULL, 0);
		return NULL;
	}
	memset(ws, 0, size);
	ws->service = svc;
	ws->progress_fd = progress_fd;
	while (svc->metrics && svc->metrics[ws->n_rows].name)
		ws->n_rows++;
	sem_init(&ws->started, 0, 0);
	for (unsigned i = 0; i < n; i++) {
		ws->worker[i].wake_fd = ws->worker[i].posts.fd = -1;
		ws->n_workers = i + 1;
		int error = worker_loop_init(&ws->worker[i], ws, i);
		if (!error)
			continue;
		errors_add(e, NULL, 0, "cannot create worker %u of %u: %s", i, n, strerror(error));
		workers_free(ws);
		return NULL;
	}
	return ws;
}

void workers_release_snapshots(struct workers *ws)
{
	for (unsigned i = 0; ws && i < ws->n_workers; i++) {
		struct worker *w = &ws->worker[i];
		snapshot_unref(atomic_exchange(&w->next_snapshot, NULL));
		snapshot_unref(w->snapshot);
		w->snapshot = NULL;
	}
}

void workers_free(struct workers *ws)
{
	for (unsigned i = 0; ws && i < ws->n_workers; i++)
		worker_loop_free(&ws->worker[i]);
	if (ws)
		sem_destroy(&ws->started);
	free(ws);
}

int workers_start(struct workers *ws, struct snapshot *s, struct errors *e)
{
	for (unsigned i = 0; i < ws->n_workers; i++) {
		struct worker *w = &ws->worker[i];
		atomic_store(&w->next_snapshot, snapshot_ref(s));
		int error = worker_loop_start(w);
		if (error) {
			errors_add(e, NULL, 0, "cannot start worker %u of %u: %s", i, ws->n_workers,
				   strerror(error));
			return -1;
		}
		ws->n_started++;
	}
	for (unsigned i = 0; i < ws->n_workers; i++)
		while (sem_wait(&ws->started) < 0 && errno == EINTR)
			;
	for (unsigned i = 0; i < ws->n_workers; i++)
		if (atomic_load(&ws->worker[i].ended)) {
			errors_add(e, NULL, 0, "service %s failed to start in worker %u",
				   ws->service->name, i);
			return -1;
		}
	return 0;
}

void workers_publish(struct workers *ws, struct snapshot *s)
{
	s->published_ns = now_ns();
	for (unsigned i = 0; i < ws->n_workers; i++) {
		snapshot_set_untaken(s, i, atomic_exchange(&ws->worker[i].next_snapshot, NULL));
		atomic_store(&ws->worker[i].next_snapshot, snapshot_ref(s));
		wake(&ws->worker[i]);
	}
}

unsigned workers_behind(const struct workers *ws, uint64_t generation, unsigned *first)
{
	unsigned n = 0;
	for (unsigned i = 0; i < ws->n_workers; i++)
		if (atomic_load(&ws->worker[i].generation) < generation && n++ == 0 && first)
			*first = i;
	return n;
}

static void send_order(struct workers *ws, unsigned order)
{
	for (unsigned i = 0; i < ws->n_workers; i++) {
		atomic_fetch_or(&ws->worker[i].orders, order);
		wake(&ws->worker[i]);
	}
}

void workers_drain(struct workers *ws)
{
	send_order(ws, ORDER_DRAIN);
}

void workers_close_connections(struct workers *ws)
{
	send_order(ws, ORDER_DRAIN | ORDER_CLOSE);
}

bool workers_failed(const struct workers *ws)
{
	for (unsigned i = 0; i < ws->n_workers; i++)
		if (atomic_load(&ws->worker[i].ended))
			return true;
	return false;
}

bool workers_drained(const struct workers *ws)
{
	for (unsigned i = 0; i < ws->n_workers; i++)
		if (!atomic_load(&ws->worker[i].drained))
			return false;
	return true;
}

size_t workers_open_connections(const struct workers *ws)
{
	return atomic_load(&ws->n_connections);
}

uint64_t workers_cut_off(const struct workers *ws)
{
	return atomic_load(&ws->n_cut_off);
}

uint64_t workers_unsent_bytes(const struct workers *ws)
{
	return atomic_load(&ws->unsent_bytes);
}

static bool all_ended(const struct workers *ws)
{
	for (unsigned i = 0; i < ws->n_started; i++)
		if (!atomic_load(&ws->worker[i].ended))
			return false;
	return true;
}

bool workers_quit(struct workers *ws, double seconds)
{
	struct pollfd progress = {.fd = ws->progress_fd, .events = POLLIN};
	double deadline = clock_seconds(CLOCK_MONOTONIC) + seconds, left;
	eventfd_t n;
	send_order(ws, ORDER_QUIT);
	while (!all_ended(ws) && (left = deadline - clock_seconds(CLOCK_MONOTONIC)) > 0)
		if (poll(&progress, 1, (int)(left * 1000) + 1) > 0)
			eventfd_read(ws->progress_fd, &n);
	return all_ended(ws);
}

unsigned workers_join(struct workers *ws, double seconds, unsigned *first)
{
	unsigned stuck = 0;
	workers_quit(ws, seconds);
	for (unsigned i = 0; i < ws->n_started; i++)
		if (atomic_load(&ws->worker[i].ended))
			pthread_join(ws->worker[i].thread, NULL);
		else if (stuck++ == 0)
			*first = i;
	return stuck;
}

void workers_ping(struct workers *ws, double now)
{
	for (unsigned i = 0; i < ws->n_workers; i++) {
		struct worker *w = &ws->worker[i];
		uint64_t pings = atomic_load(&w->pings);
		if (pings != atomic_load(&w->pings_answered))
			continue;
		w->pinged_at = now;
		atomic_store(&w->pings, pings + 1);
		wake(w);
	}
}

void workers_restart_lag(struct workers *ws, double now)
{
	for (unsigned i = 0; i < ws->n_workers; i++)
		ws->worker[i].pinged_at = now;
}

double workers_lag(const struct workers *ws, unsigned worker, double now)
{
	const struct worker *w = &ws->worker[worker];
	return atomic_load(&w->pings) == atomic_load(&w->pings_answered) ? 0 : now - w->pinged_at;
}

unsigned workers_count(const struct workers *ws)
{
	return ws->n_workers;
}

/* Metrics: these functions are the `value` of a struct metric_family. */

/* Sum a counter over all workers: the I-th after f->tag. */
static double sum_counter(const struct metric_family *f, unsigned i)
{
	const struct workers *ws = f->context;
	uint64_t n = 0;
	for (unsigned k = 0; k < ws->n_workers; k++)
		n += atomic_load_explicit(&ws->worker[k].counters[f->tag + i],
					  memory_order_relaxed);
	return (double)n;
}

/* The tag is the row: the sum of a gauge of the service over all workers. */
static double sum_gauge(const struct metric_family *f, unsigned i)
{
	const struct workers *ws = f->context;
	double sum = 0;
	(void)i;
	for (unsigned k = 0; k < ws->n_workers; k++)
		sum += worker_number(&ws->worker[k], N_COUNTERS + f->tag);
	return sum;
}

static void sum_histogram(const struct metric_family *f, struct histogram *h)
{
	const struct workers *ws = f->context;
	struct metric_family bucket = {.context = f->context, .tag = first_bucket(ws, f->tag)};
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		h->bucket[i] = (uint64_t)sum_counter(&bucket, i);
	h->sum = sum_gauge(f, 0);
}

static double open_connections(const struct metric_family *f, unsigned i)
{
	(void)i;
	return (double)workers_open_connections(f->context);
}

static double open_outgoing(const struct metric_family *f, unsigned i)
{
	const struct workers *ws = f->context;
	(void)i;
	return (double)atomic_load(&ws->n_outgoing);
}

static double lag(const struct metric_family *f, unsigned i)
{
	return workers_lag(f->context, i, clock_seconds(CLOCK_MONOTONIC));
}

static const char *const connect_results[] = {"connected", "failed"};
#if SKELD_TLS
static const char *const tls_versions[] = {"1.2", "1.3"};
#endif

/* The metrics of the daemon, without `family.metric` and `family.context`. N is 0 if there is a
 * value for each worker. The optional ones are logged only if the service uses them. */
static const struct {
	struct service_metric metric;
	struct metric_family family;
} rows[] = {
	{{"skeld_connections_open", METRIC_GAUGE, "Open connections", "connections", "open"},
	 {.n = 1, .value = open_connections}},
	{{"skeld_connections_accepted_total", METRIC_COUNTER, "Connections accepted", "connections",
	  "accepted"},
	 {.n = 1, .value = sum_counter, .tag = COUNT_ACCEPTED}},
	{{"skeld_connections_closed_total", METRIC_COUNTER, "Connections closed, by reason",
	  "connections", "closed"},
	 {NULL, "reason", close_reasons, N_CLOSE_REASONS, sum_counter, .tag = COUNT_CLOSED}},
	{{"skeld_received_bytes_total", METRIC_COUNTER, "Bytes received from clients", "bytes",
	  "received"},
	 {.n = 1, .value = sum_counter, .tag = COUNT_RECEIVED}},
	{{"skeld_sent_bytes_total", METRIC_COUNTER, "Bytes sent to clients", "bytes", "sent"},
	 {.n = 1, .value = sum_counter, .tag = COUNT_SENT}},
	{{"skeld_buffered_bytes", METRIC_GAUGE,
	  "Bytes of connections that are unsent or unconsumed, see limits.memory", "bytes",
	  "buffered"},
	 {.n = 1, .value = sum_counter, .tag = COUNT_BUFFERED}},
	{{"skeld_worker_lag_seconds", METRIC_GAUGE,
	  "Time for which a worker has not responded, 0 while it responds", "workers", "lag"},
	 {NULL, "worker", .value = lag}},
	{{"skeld_outgoing_connections_open", METRIC_GAUGE,
	  "Open connections that the service has made", "outgoing", "open"},
	 {.n = 1, .value = open_outgoing, .optional = true}},
	{{"skeld_outgoing_connections_total", METRIC_COUNTER,
	  "Attempts of the service to connect, by result", "outgoing", "attempts"},
	 {NULL, "result", connect_results, 2, sum_counter, .tag = COUNT_CONNECTED,
	  .optional = true}},
	{{"skeld_outgoing_received_bytes_total", METRIC_COUNTER,
	  "Bytes received on connections that the service has made", "outgoing", "received"},
	 {.n = 1, .value = sum_counter, .tag = COUNT_OUTGOING_RECEIVED, .optional = true}},
	{{"skeld_outgoing_sent_bytes_total", METRIC_COUNTER,
	  "Bytes sent on connections that the service has made", "outgoing", "sent"},
	 {.n = 1, .value = sum_counter, .tag = COUNT_OUTGOING_SENT, .optional = true}},
	{{"skeld_datagrams_received_total", METRIC_COUNTER, "Datagrams passed to the service",
	  "datagrams", "received"},
	 {.n = 1, .value = sum_counter, .tag = COUNT_DATAGRAMS_RECEIVED, .optional = true}},
	{{"skeld_datagrams_sent_total", METRIC_COUNTER, "Datagrams sent", "datagrams", "sent"},
	 {.n = 1, .value = sum_counter, .tag = COUNT_DATAGRAMS_SENT, .optional = true}},
	{{"skeld_datagrams_dropped_total", METRIC_COUNTER, "Datagrams dropped, by reason",
	  "datagrams", "dropped by"},
	 {NULL, "reason", drop_reasons, N_DROP_REASONS, sum_counter, .tag = COUNT_DATAGRAMS_DROPPED,
	  .optional = true}},
#if SKELD_TLS
	{{"skeld_tls_handshakes_total", METRIC_COUNTER, "TLS handshakes, by result", "tls",
	  "handshakes"},
	 {NULL, "result", tls_results, N_TLS_RESULTS, sum_counter, .tag = COUNT_TLS,
	  .optional = true}},
	{{"skeld_tls_connections_total", METRIC_COUNTER,
	  "Connections with a complete TLS handshake, by version", "tls", "version"},
	 {NULL, "version", tls_versions, 2, sum_counter, .tag = COUNT_TLS12, .optional = true}},
#endif
};

/* A row of service.metrics. */
static void register_row(struct workers *ws, struct registry *r, size_t row)
{
	struct metric_family f = {&ws->service->metrics[row], .n = 1, .context = ws, .tag = row};
	switch (f.metric->type) {
	case METRIC_COUNTER:
		f.value = sum_counter;
		f.tag = N_COUNTERS + row;
		break;
	case METRIC_GAUGE:
		f.value = sum_gauge;
		break;
	case METRIC_HISTOGRAM:
		f.histogram = sum_histogram;
		break;
	}
	registry_add(r, &f);
}

void workers_register_metrics(struct workers *ws, struct registry *r)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct metric_family f = rows[i].family;
		f.metric = &rows[i].metric;
		f.context = ws;
		if (!f.n)
			f.n = ws->n_workers;
		registry_add(r, &f);
	}
	for (size_t row = 0; row < ws->n_rows; row++)
		register_row(ws, r, row);
}
