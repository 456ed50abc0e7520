/*
 * The log: one line an event, for a person.
 *
 * Any thread. Each line is one write of at most LOG_LINE_MAX bytes that waits for nobody: what a
 * full disk, a closed pipe or a reader that sleeps does not take is dropped and counted, and the
 * count is told by the next line that goes through. Control characters and bytes that are not UTF-8
 * are written as \xNN, so that no peer and no file can forge a line or drive a terminal. All
 * functions keep errno.
 */
#ifndef SKELD_LOG_H
#define SKELD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <syslog.h> /* levels are syslog's LOG_DEBUG ... LOG_ERR */

enum { LOG_LINE_MAX = 4096 }; /* PIPE_BUF: a line in a pipe is never torn */

#define log_debug(...)	 log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_INFO, __VA_ARGS__)
#define log_notice(...)	 log_line(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_error(...)	 log_line(LOG_ERR, __VA_ARGS__)
void log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Written whatever the level is: the answer to somebody who asked. Marked as notice. */
void log_always(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The least urgent level that is written. */
void log_set_level(int level);
int log_level(void);

/* Lines that were dropped since the start. */
uint64_t log_lost(void);

enum log_kind { LOG_TO_STDERR, LOG_TO_SYSLOG, LOG_TO_FILE };

/* A place to write to, open. Owned by the caller until log_use() takes it. */
struct log_target;

/*
 * Open a target; FILE is for LOG_TO_FILE: created with mode 0640, appended to. NULL when it
 * cannot be opened, and WHY (SIZE bytes) says so. Nothing of the present log changes.
 */
struct log_target *log_open(enum log_kind kind, const char *file, char *why, size_t size);

/* Write there from now on, close what was used before. Cannot fail. NULL goes back to stderr. */
void log_use(struct log_target *target);

/* As log_use(NULL) does. False: it was on stderr. */
bool log_fall_back(void);

/* The log file in use becomes this user's, who may have to open it anew. */
void log_give_to(uid_t uid, gid_t gid);

/* Close a target that was never used. */
void log_discard(struct log_target *target);

#endif
