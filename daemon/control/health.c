#include "control/health.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/report.h"
#include "control/state.h"

#include <stdio.h>

enum { STUCK_SECONDS = 2, LATE_MS = 1500 };

/* Sets LAG to the age of the unanswered ping of worker I, in seconds. */
static bool is_stuck(const struct daemon *d, unsigned i, double *lag)
{
	*lag = workers_lag(d->workers, i, clock_seconds(CLOCK_MONOTONIC));
	return *lag >= STUCK_SECONDS ||
	       (d->watchdog_seconds > 0 && *lag >= d->watchdog_seconds / 2);
}

/* The tick itself is late: this process was stopped (SIGSTOP) or starved, and the workers with it.
 * An unanswered ping says nothing about them. */
static void forgive_if_late(struct daemon *d)
{
	int64_t now = now_ns();
	if (now - d->health_checked_ns > LATE_MS * INT64_C(1000000))
		workers_restart_lag(d->workers, clock_seconds(CLOCK_MONOTONIC));
	d->health_checked_ns = now;
}

bool health_check(struct daemon *d)
{
	double lag;
	bool all_respond = true;
	forgive_if_late(d);
	for (unsigned i = 0; i < workers_count(d->workers); i++) {
		bool stuck = is_stuck(d, i, &lag);
		if (stuck && !d->reported_stuck[i])
			log_warning("worker not responding: worker=%u lag_s=%.1f; its connections "
				    "wait, a callback of the service may be stuck",
				    i, lag);
		else if (!stuck && d->reported_stuck[i])
			log_notice("worker responding again: worker=%u", i);
		d->reported_stuck[i] = stuck;
		all_respond = all_respond && !(stuck && lag >= d->watchdog_seconds / 2);
	}
	workers_ping(d->workers, clock_seconds(CLOCK_MONOTONIC));
	return all_respond;
}

void health_check_socket_files(struct daemon *d)
{
	for (size_t i = 0; i < d->current->n_listeners; i++) {
		struct listener *l = d->current->listener[i];
		if (l->reported_missing || !listener_file_missing(l))
			continue;
		l->reported_missing = true;
		log_warning("socket file missing: %s (%s); clients cannot connect, a reload "
			    "creates it again",
			    listener_path(l), d->current->section[i]->title);
	}
}

bool health_is_ready(const struct daemon *d, char *why, size_t size)
{
	double lag;
	if (d->state != RUNNING && d->state != RELOADING) {
		snprintf(why, size, "%s", state_names[d->state]);
		return false;
	}
	for (unsigned i = 0; i < workers_count(d->workers); i++)
		if (is_stuck(d, i, &lag)) {
			snprintf(why, size, "worker %u has not responded for %.1f s", i, lag);
			return false;
		}
	return true;
}
