/* The standard process_* metrics. Reads /proc/self only, because other parts may be hidden. */
#ifndef SKELD_PROCESS_H
#define SKELD_PROCESS_H

#include "metrics/registry.h"

struct process_metrics {
	double started; /* seconds since the epoch */
};

/* Add the metrics. P must live as long as R. The start time of the process is the time of this
 * call. */
void process_metrics_register(struct registry *r, struct process_metrics *p);

#endif
