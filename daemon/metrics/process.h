/* The standard process_* metrics. Reads /proc/self only, because other parts may be hidden. */
#ifndef SKELD_PROCESS_H
#define SKELD_PROCESS_H

#include "metrics/registry.h"

/* Add the metrics. STARTED, in seconds since the epoch, must live as long as R. */
void process_metrics_register(struct registry *r, double *started);

#endif
