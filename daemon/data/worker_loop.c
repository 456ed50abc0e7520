#include "data/worker_loop.h"

#include "base/clock.h"
#include "base/event_loop.h"
#include "base/log.h"
#include "base/thread.h"
#include "data/acceptor.h"
#include "data/connection_list.h"
#include "data/datagram.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void log_snapshot_taken(const struct worker *w, const struct snapshot *s)
{
	if (log_level() < LOG_DEBUG)
		return;
	log_debug("snapshot taken: worker=%u generation=%llu delay_ms=%.3f", w->index,
		  (unsigned long long)s->generation, (double)(now_ns() - s->published_ns) / 1e6);
}

/* Runs between two callbacks of the loop, when no code uses the old snapshot. */
static void take_snapshot(struct worker *w)
{
	struct snapshot *next = atomic_exchange(&w->next_snapshot, NULL);
	if (!next)
		return;
	struct snapshot *old = w->snapshot;
	w->snapshot = next;
	if (!worker_drains(w)) {
		acceptors_catch_up(w, next);
		acceptors_update(w, next);
	}
	if (old->config != next->config && w->workers->service->reloaded)
		w->workers->service->reloaded(w);
	if (old->generation != next->generation)
		log_snapshot_taken(w, next);
	snapshot_unref(old);
	atomic_store(&w->generation, next->generation);
	worker_report_progress(w);
}

static void carry_out_orders(struct worker *w)
{
	unsigned orders = atomic_load(&w->orders) & ~w->orders_done;
	if (orders & ORDER_DRAIN) {
		acceptors_update(w, NULL);
		if (w->workers->service->drain)
			w->workers->service->drain(w);
		w->orders_done |= ORDER_DRAIN;
		connection_list_drain(w);
	}
	if (orders & ORDER_CLOSE) {
		w->orders_done |= ORDER_CLOSE; /* worker_connect() fails, also in `closed` */
		acceptors_abandon(w);
		connection_list_close(w);
		w->holds = 0; /* do not wait for the service */
	}
	if (orders & ORDER_QUIT)
		event_base_loopbreak(w->base);
	w->orders_done |= orders;
	worker_report_if_drained(w);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	eventfd_t n;
	(void)what;
	eventfd_read(fd, &n);
	uint64_t pings = atomic_load(&w->pings);
	if (atomic_exchange(&w->pings_answered, pings) != pings)
		worker_report_progress(w);
	take_snapshot(w);
	carry_out_orders(w);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	(void)fd;
	(void)what;
	w->now++;
	connection_list_tick(w);
	datagrams_tick(w);
}

static void on_resume_accepting(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	acceptors_resume(arg);
}

static void on_check(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	connection_list_check(arg);
}

/* All events that were active when this turn's first handshake began are served. */
static void on_turn_over(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	(void)fd;
	(void)what;
	w->n_handshakes = 0;
}

/*
 * Only this thread uses the base, so it needs no lock. A wake-up has priority 0, all other events
 * have priority 1. Without the dispatch interval, a wake-up would wait for all connections that are
 * ready in one turn of the loop. With it, libevent polls again when the interval is over. It
 * measures that with CLOCK_MONOTONIC_COARSE, which advances once per kernel tick (1 to 10 ms).
 */
static bool create_base(struct worker *w)
{
	struct event_config *config = event_config_new();
	if (config && event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0 &&
	    event_config_set_max_dispatch_interval(config, &(struct timeval){.tv_usec = 1000},
						   INT_MAX, 1) == 0)
		w->base = event_loop_new(config);
	if (config)
		event_config_free(config);
	return w->base && event_base_priority_init(w->base, 2) == 0;
}

static bool create_events(struct worker *w)
{
	w->wake = event_new(w->base, w->wake_fd, EV_READ | EV_PERSIST, on_wake, w);
	w->tick = event_new(w->base, -1, EV_PERSIST, on_tick, w);
	w->resume_accepting = evtimer_new(w->base, on_resume_accepting, w);
	w->check = evtimer_new(w->base, on_check, w);
	w->turn_over = evtimer_new(w->base, on_turn_over, w);
	return w->wake && w->tick && w->resume_accepting && w->check && w->turn_over &&
	       event_priority_set(w->wake, 0) == 0 && event_add(w->wake, NULL) == 0 &&
	       event_add(w->tick, &(struct timeval){.tv_sec = 1}) == 0;
}

/* Counters of two workers never share a cache line. */
static _Atomic uint64_t *alloc_counters(size_t n)
{
	size_t size = n * sizeof(_Atomic uint64_t);
	_Atomic uint64_t *counters =
		aligned_alloc(CACHE_LINE, (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
	if (counters)
		memset((void *)counters, 0, size);
	return counters;
}

int worker_loop_init(struct worker *w, struct workers *workers, unsigned index)
{
	w->workers = workers;
	w->index = index;
	TAILQ_INIT(&w->acceptors);
	for (size_t i = 0; i < N_LISTS; i++)
		TAILQ_INIT(&w->lists[i]);
	errno = ENOMEM; /* libevent does not set errno in every case */
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->wake_fd < 0)
		return errno;
	w->scratch = malloc(SCRATCH_SIZE);
	w->gathered = malloc(GATHER_SIZE);
	w->counters = alloc_counters(first_bucket(workers, workers->n_rows));
	if (!w->scratch || !w->gathered || !w->counters || !create_base(w) || !create_events(w))
		return errno;
	return post_queue_init(&w->posts, w->base, w);
}

void worker_loop_free(struct worker *w)
{
	struct event *const events[] = {w->wake, w->tick, w->resume_accepting, w->check,
					w->turn_over};
	datagrams_free(w);
	for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++)
		if (events[i])
			event_free(events[i]);
	post_queue_free(&w->posts);
	if (w->base)
		event_base_free(w->base);
	if (w->wake_fd >= 0)
		close(w->wake_fd);
	snapshot_unref(atomic_exchange(&w->next_snapshot, NULL));
	snapshot_unref(w->snapshot);
	for (struct kept_title *t = w->titles, *next; t; t = next) {
		next = t->next;
		free(t);
	}
	tls_io_free(&w->tls);
	free((void *)w->counters);
	free(w->gathered);
	free(w->scratch);
}

static void *run_worker(void *arg)
{
	struct worker *w = arg;
	const struct service *svc = w->workers->service;
	w->snapshot = atomic_exchange(&w->next_snapshot, NULL);
	atomic_store(&w->generation, w->snapshot->generation);
	/* Start the service first: its `opened` may use all that `start` creates. */
	bool started = !svc->start || svc->start(w) == 0;
	if (started) {
		acceptors_update(w, w->snapshot);
	} else {
		atomic_store(&w->ended, true);
		worker_report_progress(w);
	}
	sem_post(&w->workers->started);
	if (!started)
		return NULL;
	event_base_dispatch(w->base);
	post_queue_close(&w->posts);
	if (svc->stop)
		svc->stop(w);
	/* Free the closed connections that `stop` has released, see connection_release(). */
	event_base_loop(w->base, EVLOOP_NONBLOCK);
	atomic_store(&w->ended, true);
	worker_report_progress(w);
	return NULL;
}

int worker_loop_start(struct worker *w)
{
	char name[16]; /* limit of pthread_setname_np(3); a daemon may have a longer name */
	snprintf(name, sizeof(name), "%.9s/w%u", "skeld", w->index);
	return thread_start(&w->thread, name, run_worker, w);
}
