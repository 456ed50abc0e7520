/* Do the workers answer? Each is asked with every tick, and one that does not is stuck. */
#include "base/clock.h"
#include "base/log.h"
#include "control/daemon.h"

enum { STUCK_SECONDS = 2 };

/* For how long worker I has not answered; 0 if that is not too long yet. */
static double stuck_for(const struct daemon *d, unsigned i, double now)
{
	double lag = plane_lag(d->plane, i, now);
	return lag >= (d->watchdog > 0 ? d->watchdog / 2 : STUCK_SECONDS) ? lag : 0;
}

bool watch_workers(struct daemon *d)
{
	double now = clock_seconds(CLOCK_MONOTONIC);
	bool all_turn = true;
	for (unsigned i = 0; i < plane_workers(d->plane); i++) {
		double lag = stuck_for(d, i, now);
		if (lag && !d->named[i])
			log_warning("worker %u has not answered for %.1f s: its connections wait; "
				    "is a callback of the service stuck?",
				    i, lag);
		else if (!lag && d->named[i])
			log_notice("worker %u answers again", i);
		d->named[i] = lag;
		all_turn = all_turn && !lag;
	}
	plane_ask(d->plane, now);
	return all_turn;
}

bool daemon_is_ready(const struct daemon *d, char *why, size_t size)
{
	double now = clock_seconds(CLOCK_MONOTONIC);
	if (d->state != RUNNING && d->state != RELOADING) {
		snprintf(why, size, "%s", state_names[d->state]);
		return false;
	}
	for (unsigned i = 0; i < plane_workers(d->plane); i++) {
		double lag = stuck_for(d, i, now);
		if (lag) {
			snprintf(why, size, "worker %u has not answered for %.1f s", i, lag);
			return false;
		}
	}
	return true;
}
