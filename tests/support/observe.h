/* The daemon from outside: its log, its files, /proc. A returned text is valid until the next call
 * of the same function. */
#ifndef SKELD_TESTS_OBSERVE_H
#define SKELD_TESTS_OBSERVE_H

#include "harness.h"

const char *file_text(struct fixture *f, const char *path); /* NULL: does not exist */
const char *log_text(struct fixture *f);
bool log_contains(struct fixture *f, const char *part);
size_t log_count(struct fixture *f, const char *part);
/* The number of warnings, without those that a slow machine causes. */
size_t log_count_warnings(struct fixture *f);
/* The last line of the log with PART in it, NULL if none. */
const char *log_line_with(struct fixture *f, const char *part);
/* Expect the parts in the log in this order. */
void log_expect_order(struct fixture *f, const char *const parts[], size_t n);

const char *status_get(struct fixture *f, const char *key);
long status_number(struct fixture *f, const char *key);
void expect_status(struct fixture *f, const char *key, const char *value);
/* Expect that the last reload was rejected, kept the generation, and has PART in its error. */
void expect_rejected(struct fixture *f, long generation, const char *part);

/* Send SIGUSR1 and wait for a new stats.prom. */
void stats_dump(struct fixture *f);
double stats_value(struct fixture *f, const char *metric); /* "name{label=\"value\"}" */
/*
 * The value of WHAT (received, handled or coalesced) in the last "stats signals:" line of the log.
 */
long stats_logged(struct fixture *f, const char *what, const char *signal);
/* Expect received = handled + coalesced for each signal: in that line; in a new stats.prom. */
void expect_signals_logged(struct fixture *f);
void expect_signals_accounted(struct fixture *f);
bool runtime_file_exists(struct fixture *f, const char *name);

/* The open descriptors of the daemon and their targets, one per line. */
const char *proc_fds(struct fixture *f);
long proc_number(struct fixture *f, const char *key); /* of /proc/PID/status */
pid_t loader_pid(struct fixture *f); /* the pid of the configuration loader, 0: none */

#endif
