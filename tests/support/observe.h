/* The daemon from outside: its log, its files, /proc. A returned text is valid until the next call
 * of the same function. */
#ifndef SKELD_TESTS_OBSERVE_H
#define SKELD_TESTS_OBSERVE_H

#include "harness.h"
/* full-only: begin */
#include "skeleton.h"
/* full-only: end */

/*
 * Another thread of the daemon writes the log. It waits when it has written all that was logged, or
 * when its destination blocks it: wait until it does. With a flood it may never wait, so there is a
 * limit. All log_*() do this; call it before a log is read by file_text().
 */
void await_log_writer(void);

const char *log_text(void);
bool log_contains(const char *part);
size_t log_count(const char *part);
/* The last line of the log with PART in it, NULL if none. */
const char *log_line_with(const char *part);
/* Expect the parts in the log in this order. */
void log_expect_order(const char *const parts[], size_t n);

const char *status_get(const char *key);
long status_number(const char *key);
void expect_status(const char *key, const char *value);
/* Expect that the last reload was rejected, kept the generation, and has PART in its error. */
void expect_rejected(long generation, const char *part);

/* Send SIGUSR1 and wait for a new stats.prom. */
void stats_dump(void);
double stats_value(const char *metric); /* "name{label=\"value\"}" */
bool runtime_file_exists(const char *name);

long proc_number(const char *key); /* of /proc/PID/status */

#endif
