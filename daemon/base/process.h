/* The standard process_* metrics. /proc/self alone: the rest of /proc may be hidden. */
#ifndef SKELD_PROCESS_H
#define SKELD_PROCESS_H

#include "base/stats.h"

#include <time.h>

struct process {
	double started; /* seconds since the epoch */
	double fds;	/* open ones, as they were ... */
	double counted; /* ... then, monotonic seconds */
};

/* P is all zero, begins now, and must live as long as the registry. */
void process_register(struct stats *s, struct process *p);

#endif
