#include "data/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

const char *const close_reasons[N_CLOSE_REASONS] = {
	[CLOSED_BY_PEER] = "peer", [CLOSED_BY_SERVICE] = "service", [CLOSED_ERROR] = "error",
	[CLOSED_IDLE] = "idle",	   [CLOSED_OVERFLOW] = "overflow",  [CLOSED_LIMIT] = "limit",
	[CLOSED_PROXY] = "proxy",  [CLOSED_DRAIN] = "drain",	    [CLOSED_DEADLINE] = "deadline"};

static void tell_control(const struct worker *w)
{
	eventfd_write(w->plane->notify_fd, 1); /* full means that it has not looked yet: fine */
}

bool worker_may_warn(const struct worker *w, uint32_t *said)
{
	if (*said == w->now + 1)
		return false;
	*said = w->now + 1;
	return true;
}

void worker_check_drained(struct worker *w)
{
	if ((w->done & ORDER_DRAIN) && !w->n_connections && !w->holds &&
	    TAILQ_EMPTY(&w->acceptors) && !atomic_exchange(&w->drained, true))
		tell_control(w);
}

void worker_tell_short(struct worker *w)
{
	if (worker_may_warn(w, &w->warned_short))
		log_warning("worker %u closes connections: the kernel or libevent lacks memory",
			    w->index);
}

static void tell_taken(const struct worker *w, const struct snapshot *s)
{
	if (log_level() < LOG_DEBUG)
		return;
	log_debug("worker %u serves generation %llu, %.3f ms after it was published", w->index,
		  (unsigned long long)s->generation,
		  (clock_seconds(CLOCK_MONOTONIC) - s->published) * 1e3);
}

/* Between two callbacks: nobody uses the old snapshot. */
static void take_snapshot(struct worker *w)
{
	struct snapshot *next = atomic_exchange(&w->next, NULL);
	if (!next)
		return;
	struct snapshot *old = w->snapshot;
	w->snapshot = next;
	if (!(w->done & ORDER_DRAIN)) {
		acceptors_catch_up(w, next);
		acceptors_update(w, next);
	}
	if (old->config != next->config && w->plane->service->reloaded)
		w->plane->service->reloaded(w);
	if (old->generation != next->generation)
		tell_taken(w, next);
	snapshot_unref(old);
	atomic_store(&w->generation, next->generation);
	tell_control(w);
}

static void follow_orders(struct worker *w)
{
	unsigned todo = atomic_load(&w->orders) & ~w->done;
	if (todo & ORDER_DRAIN) {
		acceptors_update(w, NULL);
		if (w->plane->service->drain)
			w->plane->service->drain(w);
		connections_drain(w);
	}
	if (todo & ORDER_CLOSE) {
		acceptors_abandon(w);
		connections_close(w);
		w->holds = 0;
	}
	if (todo & ORDER_QUIT)
		event_base_loopbreak(w->base);
	w->done |= todo;
	worker_check_drained(w);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	eventfd_t n;
	(void)what;
	eventfd_read(fd, &n);
	uint64_t asked = atomic_load(&w->asked);
	if (atomic_exchange(&w->answered, asked) != asked)
		tell_control(w);
	take_snapshot(w);
	follow_orders(w);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	(void)fd;
	(void)what;
	w->now++;
	connections_tick(w);
}

static void on_recover(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	acceptors_recover(arg);
}

void worker_look_in(struct worker *w, int ms)
{
	if (event_pending(w->look, EV_TIMEOUT, NULL))
		return;
	event_base_update_cache_time(w->base); /* this turn may have taken long */
	event_add(w->look, &(struct timeval){.tv_usec = ms * 1000L});
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	connections_look(arg);
}

int worker_init(struct worker *w, struct plane *plane, unsigned index)
{
	w->plane = plane;
	int why;
	w->index = index;
	TAILQ_INIT(&w->acceptors);
	TAILQ_INIT(&w->strangers);
	TAILQ_INIT(&w->busy);
	TAILQ_INIT(&w->lingering);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->wake_fd < 0)
		return errno;
	w->scratch = malloc(SCRATCH_SIZE);
	/* Counters of two workers never share a cache line. */
	size_t size = (plane->n_counters * sizeof(*w->counters) + 63) / 64 * 64;
	w->counters = aligned_alloc(64, size);
	if (w->counters)
		memset((void *)w->counters, 0, size);
	struct event_config *config = event_config_new();
	if (!w->scratch || !w->counters || !config)
		goto failed;
	/* No other thread touches the base: no lock. Wake-ups come before connections, also when a
	 * turn of the loop has many of them: they are looked for at each tick of the kernel's,
	 * since libevent reads CLOCK_MONOTONIC_COARSE. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	event_config_set_max_dispatch_interval(config, &(struct timeval){.tv_usec = 1000}, INT_MAX,
					       1);
	w->base = loop_new(config);
	if (!w->base || event_base_priority_init(w->base, 2) < 0)
		goto failed;
	w->wake = event_new(w->base, w->wake_fd, EV_READ | EV_PERSIST, on_wake, w);
	w->tick = event_new(w->base, -1, EV_PERSIST, on_tick, w);
	w->recover = evtimer_new(w->base, on_recover, w);
	w->look = evtimer_new(w->base, on_look, w);
	if (!w->wake || !w->tick || !w->recover || !w->look || event_priority_set(w->wake, 0) < 0 ||
	    event_add(w->wake, NULL) < 0 || event_add(w->tick, &(struct timeval){.tv_sec = 1}) < 0)
		goto failed;
	event_config_free(config);
	return 0;
failed:
	why = errno ? errno : ENOMEM;
	if (config)
		event_config_free(config);
	return why;
}

void worker_free(struct worker *w)
{
	if (w->wake)
		event_free(w->wake);
	if (w->tick)
		event_free(w->tick);
	if (w->recover)
		event_free(w->recover);
	if (w->look)
		event_free(w->look);
	if (w->base)
		event_base_free(w->base);
	if (w->wake_fd >= 0)
		close(w->wake_fd);
	snapshot_unref(atomic_exchange(&w->next, NULL));
	snapshot_unref(w->snapshot);
	free((void *)w->counters);
	free(w->scratch);
}

static void *run(void *arg)
{
	struct worker *w = arg;
	const struct service *its = w->plane->service;
	w->snapshot = atomic_exchange(&w->next, NULL);
	atomic_store(&w->generation, w->snapshot->generation);
	/* The service first: what it makes must exist before the first connection. */
	bool good = !its->start || its->start(w) == 0;
	if (good) {
		acceptors_update(w, w->snapshot);
	} else {
		atomic_store(&w->ended, true);
		tell_control(w);
	}
	sem_post(&w->plane->started);
	if (!good)
		return NULL;
	event_base_dispatch(w->base);
	if (its->stop)
		its->stop(w);
	event_base_loop(w->base, EVLOOP_NONBLOCK); /* connections that were released just now */
	atomic_store(&w->ended, true);
	tell_control(w);
	return NULL;
}

int worker_start(struct worker *w)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return error;
	char name[16]; /* the kernel's limit, which a longer name of the daemon would pass */
	snprintf(name, sizeof(name), "%.9s/w%u", "skeld", w->index);
	pthread_setname_np(w->thread, name);
	return 0;
}
