#include "data/plane.h"

#include "base/clock.h"
#include "data/worker.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

static void wake(struct worker *w)
{
	eventfd_write(w->wake_fd, 1);
}

struct plane *plane_new(const struct service *its, unsigned n, int notify_fd, struct errors *e)
{
	struct plane *p = calloc(1, sizeof(*p) + n * sizeof(struct worker));
	if (!p) {
		errors_add(e, NULL, 0, "out of memory");
		return NULL;
	}
	p->service = its;
	p->notify_fd = notify_fd;
	p->n_counters = N_COUNTERS;
	for (const struct metric *m = its->metrics; m && m->name; m++)
		p->n_counters++;
	sem_init(&p->started, 0, 0);
	for (unsigned i = 0; i < n; i++) {
		p->worker[i].wake_fd = -1;
		p->n_workers = i + 1;
		int error = worker_init(&p->worker[i], p, i);
		if (!error)
			continue;
		errors_add(e, NULL, 0, "cannot make worker %u of %u: %s", i, n, strerror(error));
		plane_free(p);
		return NULL;
	}
	return p;
}

void plane_free(struct plane *p)
{
	for (unsigned i = 0; p && i < p->n_workers; i++)
		worker_free(&p->worker[i]);
	if (p)
		sem_destroy(&p->started);
	free(p);
}

int plane_start(struct plane *p, struct snapshot *s, struct errors *e)
{
	for (unsigned i = 0; i < p->n_workers; i++) {
		struct worker *w = &p->worker[i];
		atomic_store(&w->next, snapshot_ref(s));
		int error = worker_start(w);
		if (error) {
			errors_add(e, NULL, 0, "cannot start worker %u of %u: %s", i, p->n_workers,
				   strerror(error));
			return -1;
		}
		p->n_started++;
	}
	for (unsigned i = 0; i < p->n_workers; i++)
		while (sem_wait(&p->started) < 0 && errno == EINTR)
			;
	for (unsigned i = 0; i < p->n_workers; i++)
		if (atomic_load(&p->worker[i].ended)) {
			errors_add(e, NULL, 0, "the service %s did not start in worker %u",
				   p->service->name, i);
			return -1;
		}
	return 0;
}

void plane_publish(struct plane *p, struct snapshot *s)
{
	s->published = clock_seconds(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < p->n_workers; i++) {
		snapshot_skip(s, i, atomic_exchange(&p->worker[i].next, NULL));
		atomic_store(&p->worker[i].next, snapshot_ref(s));
		wake(&p->worker[i]);
	}
}

unsigned plane_behind(const struct plane *p, uint64_t generation, unsigned *first)
{
	unsigned n = 0;
	for (unsigned i = 0; i < p->n_workers; i++)
		if (atomic_load(&p->worker[i].generation) < generation && n++ == 0 && first)
			*first = i;
	return n;
}

static void give_order(struct plane *p, unsigned order)
{
	for (unsigned i = 0; i < p->n_workers; i++) {
		atomic_fetch_or(&p->worker[i].orders, order);
		wake(&p->worker[i]);
	}
}

void plane_drain(struct plane *p)
{
	give_order(p, ORDER_DRAIN);
}

void plane_close(struct plane *p)
{
	give_order(p, ORDER_DRAIN | ORDER_CLOSE);
}

bool plane_failed(const struct plane *p)
{
	for (unsigned i = 0; i < p->n_workers; i++)
		if (atomic_load(&p->worker[i].ended))
			return true;
	return false;
}

bool plane_drained(const struct plane *p)
{
	for (unsigned i = 0; i < p->n_workers; i++)
		if (!atomic_load(&p->worker[i].drained))
			return false;
	return true;
}

size_t plane_open(const struct plane *p)
{
	return atomic_load(&p->open);
}

uint64_t plane_cut_off(const struct plane *p)
{
	return atomic_load(&p->cut_off);
}

static bool have_ended(const struct plane *p)
{
	for (unsigned i = 0; i < p->n_started; i++)
		if (!atomic_load(&p->worker[i].ended))
			return false;
	return true;
}

unsigned plane_join(struct plane *p, double seconds, unsigned *first)
{
	struct pollfd news = {.fd = p->notify_fd, .events = POLLIN};
	double until = clock_seconds(CLOCK_MONOTONIC) + seconds;
	unsigned stuck = 0;
	eventfd_t n;
	give_order(p, ORDER_QUIT);
	for (double left; !have_ended(p) && (left = until - clock_seconds(CLOCK_MONOTONIC)) > 0;)
		if (poll(&news, 1, (int)(left * 1000) + 1) > 0)
			eventfd_read(p->notify_fd, &n);
	for (unsigned i = 0; i < p->n_started; i++)
		if (atomic_load(&p->worker[i].ended))
			pthread_join(p->worker[i].thread, NULL);
		else if (stuck++ == 0)
			*first = i;
	return stuck;
}

void plane_ask(struct plane *p, double now)
{
	for (unsigned i = 0; i < p->n_workers; i++) {
		struct worker *w = &p->worker[i];
		uint64_t asked = atomic_load(&w->asked);
		if (asked != atomic_load(&w->answered))
			continue;
		w->asked_at = now;
		atomic_store(&w->asked, asked + 1);
		wake(w);
	}
}

double plane_lag(const struct plane *p, unsigned i, double now)
{
	const struct worker *w = &p->worker[i];
	return atomic_load(&w->asked) == atomic_load(&w->answered) ? 0 : now - w->asked_at;
}

unsigned plane_workers(const struct plane *p)
{
	return p->n_workers;
}

/* Metrics. */

static double sum(const struct family *f, unsigned i)
{
	const struct plane *p = f->context;
	uint64_t n = 0;
	for (unsigned k = 0; k < p->n_workers; k++)
		n += atomic_load_explicit(&p->worker[k].counters[f->tag + i], memory_order_relaxed);
	return (double)n;
}

static double open_now(const struct family *f, unsigned i)
{
	(void)i;
	return (double)plane_open(f->context);
}

static double lag(const struct family *f, unsigned i)
{
	return plane_lag(f->context, i, clock_seconds(CLOCK_MONOTONIC));
}

void plane_register(struct plane *p, struct stats *s)
{
	static const struct metric rows[] = {
		{"skeld_connections_open", METRIC_GAUGE, "Open connections", "connections", "open"},
		{"skeld_connections_accepted_total", METRIC_COUNTER, "Connections accepted",
		 "connections", "accepted"},
		{"skeld_connections_closed_total", METRIC_COUNTER, "Connections closed, by reason",
		 "connections", "closed by"},
		{"skeld_received_bytes_total", METRIC_COUNTER, "Bytes received from clients",
		 "bytes", "received"},
		{"skeld_sent_bytes_total", METRIC_COUNTER, "Bytes sent to clients", "bytes",
		 "sent"},
		{"skeld_worker_lag_seconds", METRIC_GAUGE,
		 "For how long a worker has not answered, 0 when it does", "workers", "lag"}};
	stats_add(s, &(struct family){&rows[0], .n = 1, .value = open_now, .context = p});
	stats_add(s, &(struct family){&rows[1], .n = 1, .value = sum, .context = p,
				      .tag = COUNT_ACCEPTED});
	stats_add(s, &(struct family){&rows[2], "reason", close_reasons, N_CLOSE_REASONS,
				      .value = sum, .context = p, .tag = COUNT_CLOSED});
	stats_add(s, &(struct family){&rows[3], .n = 1, .value = sum, .context = p,
				      .tag = COUNT_RECEIVED});
	stats_add(s, &(struct family){&rows[4], .n = 1, .value = sum, .context = p,
				      .tag = COUNT_SENT});
	stats_add(s, &(struct family){&rows[5], "worker", NULL, p->n_workers, .value = lag,
				      .context = p});
	for (size_t i = 0; i < p->n_counters - N_COUNTERS; i++)
		stats_add(s, &(struct family){&p->service->metrics[i], .n = 1, .value = sum,
					      .context = p, .tag = N_COUNTERS + i});
}
