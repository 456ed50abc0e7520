/* How the daemon ends: first a lame duck if it is asked to; then drained, at its deadline, or at
 * once. */
#include "base/log.h"
#include "control/daemon.h"

#include <stdlib.h>

static void drain(struct daemon *d)
{
	long long seconds = d->current->config->drain_timeout;
	size_t open = plane_open(d->plane);
	log_notice("draining: %zu connection%s open, waiting %lld s at most; a second signal stops "
		   "now",
		   open, open == 1 ? "" : "s", seconds);
	daemon_set_state(d, DRAINING);
	/* As if a reload removed every listener; the last worker that has emptied one closes it. */
	for (size_t i = 0; i < d->current->n_listeners; i++)
		if (d->current->listener[i] != d->current->admin)
			listener_retire(d->current->listener[i]);
	struct snapshot *last = snapshot_without_listeners(d->current);
	if (last) {
		plane_publish(d->plane, last);
		snapshot_unref(d->current);
		d->current = last;
	}
	plane_drain(d->plane);
	daemon_set_timer(d, d->deadline, seconds);
}

void stop_begin(struct daemon *d)
{
	const struct config *c = d->current->config;
	long long duck = c->lame_duck, budget = duck + c->drain_timeout + MARGIN_SECONDS;
	reload_abandon(d);
	notify_send(&d->notify, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld", budget * 1000000);
	if (!duck) {
		drain(d);
		return;
	}
	log_notice("lame duck: no longer ready, but serving for %lld s, then draining; a second "
		   "signal stops now",
		   duck);
	daemon_set_state(d, LAME_DUCK);
	daemon_set_timer(d, d->deadline, duck);
}

void stop_news(struct daemon *d)
{
	if (d->state != STOPPED && plane_failed(d->plane)) {
		stop_failed(d, "the event loop of a worker");
		return;
	}
	if (d->state != DRAINING || !plane_drained(d->plane))
		return;
	unsigned long long n = plane_cut_off(d->plane);
	if (n)
		log_warning("drained: %llu connection%s cut off at the deadline", n,
			    n == 1 ? " was" : "s were");
	else
		log_notice("drained: every connection was finished");
	daemon_leave(d, 0);
}

/* Once for the end of the lame duck, once for the drain's deadline, and once more if even closing
 * does not get through. */
void stop_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	(void)fd;
	(void)what;
	if (d->state == LAME_DUCK) {
		drain(d);
		return;
	}
	if (d->late) {
		log_error("the connections could not be closed within %d s: stopping without "
			  "waiting longer",
			  CLOSE_SECONDS);
		daemon_leave(d, 1);
		return;
	}
	d->late = true;
	size_t open = plane_open(d->plane);
	if (open) /* else the workers have closed all, and not said so yet */
		log_warning("drain_timeout is over: closing %zu connection%s that are not finished",
			    open, open == 1 ? "" : "s");
	plane_close(d->plane);
	daemon_set_timer(d, d->deadline, CLOSE_SECONDS);
}

void stop_now(struct daemon *d)
{
	size_t open = plane_open(d->plane);
	if (d->state != DRAINING && d->state != LAME_DUCK)
		notify_send(&d->notify, "STOPPING=1");
	reload_abandon(d);
	log_warning("stopping now: %zu connection%s cut off", open, open == 1 ? " is" : "s are");
	daemon_leave(d, 1);
}

void stop_failed(struct daemon *d, const char *what)
{
	log_error("%s has failed: the daemon cannot go on", what);
	stop_now(d);
}
