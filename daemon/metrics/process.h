/* The standard process_* metrics. Reads /proc/self only, because other parts may be hidden. */
#ifndef SKELD_PROCESS_H
#define SKELD_PROCESS_H

#include "metrics/registry.h"

struct process_metrics {
	double started; /* seconds since the epoch */
};

/* Add the metrics. P must live as long as R; the process is taken to have started now. */
void process_metrics_register(struct registry *r, struct process_metrics *p);

#endif
