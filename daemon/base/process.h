/* The standard process_* metrics. /proc/self alone: the rest of /proc may be hidden. */
#ifndef SKELD_PROCESS_H
#define SKELD_PROCESS_H

#include "base/stats.h"

/* STARTED is set to the present time, and must live as long as the registry. */
void process_register(struct stats *s, double *started);

#endif
