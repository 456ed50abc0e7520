#include "control/shutdown.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/reload.h"
#include "control/state.h"

static void drain(struct daemon *d)
{
	long long seconds = d->current->config->drain_timeout;
	log_notice("draining: connections=%zu timeout_s=%lld; a second signal stops at once",
		   workers_open_connections(d->workers), seconds);
	d->stop_deadline = clock_seconds(CLOCK_MONOTONIC) + (double)seconds;
	daemon_set_state(d, DRAINING);
	/* As if a reload removed every listener: each is closed once a worker has accepted what
	 * waits in its queue. */
	for (size_t i = 0; i < d->current->n_listeners; i++)
		if (d->current->listener[i] != d->current->admin)
			listener_retire(d->current->listener[i]);
	struct snapshot *last = snapshot_without_listeners(d->current);
	if (last) {
		workers_publish(d->workers, last);
		snapshot_unref(d->current);
		d->current = last;
	}
	workers_drain(d->workers);
	daemon_set_timer(d, d->stop_timer, seconds);
}

void shutdown_begin(struct daemon *d)
{
	const struct config *c = d->current->config;
	long long duck = c->lame_duck, budget = duck + c->drain_timeout + STOP_MARGIN_SECONDS;
	reload_abandon(d);
	notify_send(&d->notify, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld", budget * 1000000);
	if (!duck) {
		drain(d);
		return;
	}
	log_notice(
		"lame duck: not ready, serving for %lld s before draining; a second signal stops "
		"at once",
		duck);
	d->stop_deadline = clock_seconds(CLOCK_MONOTONIC) + (double)duck;
	daemon_set_state(d, LAME_DUCK);
	daemon_set_timer(d, d->stop_timer, duck);
}

void shutdown_check(struct daemon *d)
{
	if (d->state != STOPPED && workers_failed(d->workers)) {
		shutdown_after_failure(d, "the event loop of a worker");
		return;
	}
	if (d->state != DRAINING || !workers_drained(d->workers))
		return;
	unsigned long long n = workers_cut_off(d->workers);
	log_line(n ? LOG_WARNING : LOG_NOTICE, "drained: cut_off=%llu unsent_bytes=%llu", n,
		 (unsigned long long)workers_unsent_bytes(d->workers));
	daemon_leave(d, 0);
}

void shutdown_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	(void)fd;
	(void)what;
	if (d->state == LAME_DUCK) {
		drain(d);
		return;
	}
	if (d->past_deadline) {
		log_error("close timeout: connections not closed within %d s, stopping without "
			  "them",
			  CLOSE_SECONDS);
		daemon_leave(d, 1);
		return;
	}
	d->past_deadline = true;
	size_t open = workers_open_connections(d->workers);
	if (open) /* else the workers have closed all and only their report is missing */
		log_warning("drain_timeout reached: closing connections=%zu that are not finished",
			    open);
	workers_close_connections(d->workers);
	daemon_set_timer(d, d->stop_timer, CLOSE_SECONDS);
}

void shutdown_now(struct daemon *d)
{
	size_t open = workers_open_connections(d->workers);
	if (d->state != DRAINING && d->state != LAME_DUCK)
		notify_send(&d->notify, "STOPPING=1");
	reload_abandon(d);
	log_warning("stopping now: cut_off=%zu", open);
	daemon_leave(d, 1);
}

void shutdown_after_failure(struct daemon *d, const char *what)
{
	log_error("fatal: %s failed", what);
	shutdown_now(d);
}
