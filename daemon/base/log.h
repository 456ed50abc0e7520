/*
 * The log: one line for each event.
 *
 * Any thread may log. Each line is one system call, at most LOG_LINE_MAX bytes, and never blocks:
 * if the destination does not take the line at once (full disk, full pipe, slow reader), the line
 * is dropped and counted. The next line that is written is preceded by one with that count.
 *
 * Control characters and bytes that are not UTF-8 are written as \xNN, so that no peer and no file
 * can forge a line or control a terminal.
 */
#ifndef SKELD_LOG_H
#define SKELD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <syslog.h> /* the levels, LOG_ERR to LOG_DEBUG */

enum { LOG_LINE_MAX = 4096 }; /* PIPE_BUF: a write to a pipe is atomic, pipe(7) */

/* Log a line, unless LEVEL is less urgent than log_level(). Keeps errno. */
void log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_debug(...)	 log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_INFO, __VA_ARGS__)
#define log_notice(...)	 log_line(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_error(...)	 log_line(LOG_ERR, __VA_ARGS__)

/* Log a notice at any level: the answer to a request of the operator. Keeps errno. */
void log_always(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The least urgent level that is logged. */
void log_set_level(int level);
int log_level(void);

/* The number of lines dropped since the start. */
uint64_t log_lost(void);

/*
 * Targets. The control thread calls these functions, other threads may log at the same time.
 */

enum log_kind { LOG_TO_STDERR, LOG_TO_SYSLOG, LOG_TO_FILE };

/* An open destination. The caller owns it until log_switch(). */
struct log_target;

/*
 * Open a target, which the log uses from log_switch() on. LOG_TO_FILE appends to FILE and creates
 * it with mode 0640. Returns NULL, and the reason in WHY (SIZE bytes), on failure.
 */
struct log_target *log_open(enum log_kind kind, const char *file, char *why, size_t size);

/* Log to TARGET from now on and close the previous target. NULL: stderr. Cannot fail. */
void log_switch(struct log_target *target);

/* Like log_switch(NULL). Returns false if the log was on stderr already. */
bool log_switch_to_stderr(void);

/* Change the owner of the current log file, so that a reload as that user can open it again. */
void log_chown(uid_t uid, gid_t gid);

/* Close a target that was not passed to log_switch(). */
void log_discard(struct log_target *target);

#endif
