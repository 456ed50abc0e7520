/*
 * What can be seen of the daemon from outside: its log, its files, /proc. Texts returned are
 * valid until the next call of the same function.
 */
#ifndef SKELD_TESTS_OBSERVE_H
#define SKELD_TESTS_OBSERVE_H

#include "harness.h"

const char *file_text(struct fixture *f, const char *path); /* NULL: does not exist */
const char *log_text(struct fixture *f);
bool log_contains(struct fixture *f, const char *part);
size_t log_count(struct fixture *f, const char *part);
/* Warnings, but for those that a machine without time for a worker brings. */
size_t log_count_warnings(struct fixture *f);
/* The last line of the log with PART in it, NULL if none. */
const char *log_line_with(struct fixture *f, const char *part);
/* That the parts appear in the log in this order. */
void log_expect_order(struct fixture *f, const char *const parts[], size_t n);

const char *status_get(struct fixture *f, const char *key);
long status_number(struct fixture *f, const char *key);
void expect_status(struct fixture *f, const char *key, const char *value);
/* That the last reload was rejected, changed no generation and tells about PART. */
void expect_rejected(struct fixture *f, long generation, const char *part);

/* SIGUSR1, then wait for a new stats.prom. */
void stats_dump(struct fixture *f);
double stats_value(struct fixture *f, const char *metric); /* "name{label=\"value\"}" */
/* From the last "stats signals:" line of the log: received, handled or coalesced. */
long stats_told(struct fixture *f, const char *what, const char *signal);
/* That of each signal received = handled + coalesced: in that line; soon, in a fresh stats.prom. */
void expect_signals_told(struct fixture *f);
void expect_signals_accounted(struct fixture *f);
bool runtime_file_exists(struct fixture *f, const char *name);

/* Every open descriptor of the daemon with what it is, one per line. */
const char *proc_fds(struct fixture *f);
long proc_number(struct fixture *f, const char *key); /* of /proc/PID/status */
pid_t loader_pid(
	struct fixture *f); /* the process that reads its configuration, 0: there is none */

#endif
