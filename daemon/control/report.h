/*
 * Publishes the state of the daemon: the status file, STATUS= for the service manager, the dump of
 * statistics, and its own metrics. Control thread.
 */
#ifndef SKELD_REPORT_H
#define SKELD_REPORT_H

#include "control/state.h"

#include <stdio.h>

/* The names of the states in the log, the status file, STATUS= and the metrics. */
extern const char *const state_names[N_STATES];

/*
 * Write the status file, then send LINES ("READY=1\n", may be "") and STATUS= in one datagram. In
 * this order, so that a program which waits for the datagram finds the new file.
 */
void report_status(struct daemon *d, const char *lines);

/* Once a second: write the status file if that failed before; send STATUS= if the number of
 * connections has changed. */
void report_tick(struct daemon *d);

/* SIGUSR1: log all metrics and write them to stats.prom. */
void report_dump(struct daemon *d);

/* Add the daemon's own metrics to its registry. */
void report_register_metrics(struct daemon *d);

/* Print the status file; the metrics as Prometheus text; the status and last signals as JSON. */
void report_print_status(const struct daemon *d, FILE *out);
void report_print_metrics(const struct daemon *d, FILE *out);
void report_print_json(const struct daemon *d, FILE *out);

#endif
