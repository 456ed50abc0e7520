/* Do the workers answer? Each is asked with every tick, and one that does not is stuck. */
#include "base/clock.h"
#include "base/log.h"
#include "control/daemon.h"

enum { STUCK_SECONDS = 2 };

/* LAG: for how long worker I has not answered. */
static bool is_stuck(const struct daemon *d, unsigned i, double *lag)
{
	*lag = plane_lag(d->plane, i, clock_seconds(CLOCK_MONOTONIC));
	return *lag >= STUCK_SECONDS || (d->watchdog > 0 && *lag >= d->watchdog / 2);
}

bool watch_workers(struct daemon *d)
{
	double lag;
	bool all_turn = true;
	for (unsigned i = 0; i < plane_workers(d->plane); i++) {
		bool stuck = is_stuck(d, i, &lag);
		if (stuck && !d->named[i])
			log_warning("worker %u has not answered for %.1f s: its connections wait; "
				    "is a callback of the service stuck?",
				    i, lag);
		else if (!stuck && d->named[i])
			log_notice("worker %u answers again", i);
		d->named[i] = stuck;
		all_turn = all_turn && !(stuck && lag >= d->watchdog / 2);
	}
	plane_ask(d->plane, clock_seconds(CLOCK_MONOTONIC));
	return all_turn;
}

bool daemon_is_ready(const struct daemon *d, char *why, size_t size)
{
	double lag;
	if (d->state != RUNNING && d->state != RELOADING) {
		snprintf(why, size, "%s", state_names[d->state]);
		return false;
	}
	for (unsigned i = 0; i < plane_workers(d->plane); i++)
		if (is_stuck(d, i, &lag)) {
			snprintf(why, size, "worker %u has not answered for %.1f s", i, lag);
			return false;
		}
	return true;
}
