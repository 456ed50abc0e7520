/* The kernel's clocks, clock_gettime(2), as numbers. Any thread; async-signal-safe. */
#ifndef SKELD_CLOCK_H
#define SKELD_CLOCK_H

#include <stdint.h>
#include <time.h>

/* The time of CLOCK in seconds. */
static inline double clock_seconds(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* CLOCK_MONOTONIC in nanoseconds. */
static inline int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline struct timespec timespec_of_ns(int64_t ns)
{
	return (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
}

#endif
