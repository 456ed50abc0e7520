/*
 * A time limit for something that runs in another thread or process, for a caller that polls. An
 * interval between two polls counts as one second at most: if this process was suspended, the other
 * thread or process was, too.
 */
#ifndef SKELD_TIME_LIMIT_H
#define SKELD_TIME_LIMIT_H

#include "base/clock.h"

#include <stdbool.h>

struct time_limit {
	int64_t polled_ns; /* CLOCK_MONOTONIC */
	int64_t remaining_ns;
};

static inline struct time_limit time_limit_begin(double seconds)
{
	return (struct time_limit){now_ns(), (int64_t)(seconds * 1e9)};
}

static inline bool time_limit_is_over(struct time_limit *l)
{
	enum { INTERVAL_MAX_NS = 1000000000 };
	int64_t now = now_ns(), interval = now - l->polled_ns;
	l->polled_ns = now;
	l->remaining_ns -= interval < INTERVAL_MAX_NS ? interval : INTERVAL_MAX_NS;
	return l->remaining_ns <= 0;
}

#endif
