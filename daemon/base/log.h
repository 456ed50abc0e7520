/*
 * The log: one line for each event.
 *
 * Any thread may log, and none ever waits for the destination: a line goes into a queue, and one
 * thread, the writer, writes it; or the thread that logs, if the destination cannot block it. A
 * notice, a warning or an error is written at once, a less urgent line within 20 ms.
 *
 * So a terminal that is not read, a full pipe, a hung file system or a stopped syslog daemon stops
 * only the writer. Lines that do not fit into the queue, or that the destination refuses (full
 * disk), are dropped and counted. A line with their number takes their place as soon as there is
 * room. Order is kept.
 *
 * Before log_start() and after log_stop() there is no writer: a function that logs writes the line
 * itself, and may block. In a child that was forked after log_start(), all of them do nothing.
 *
 * A line has at most LOG_LINE_MAX bytes. Control characters and bytes that are not UTF-8 are
 * written as \xNN, so that no peer and no file can forge a line or control a terminal.
 *
 * The format of an event is "what happened: key=value key=value; what to do". In JSON, a line is an
 * object with these parts as members, see log_json.h. The journal of systemd gets them as fields,
 * beside the text.
 */
#ifndef SKELD_LOG_H
#define SKELD_LOG_H

#include <signal.h>
#include <stdarg.h>
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

/* One field of an event: a member of its JSON object. */
struct log_field {
	const char *key;  /* snake case */
	const char *text; /* NULL: NUMBER is the value */
	long long number;
};

#define LOG_TEXT(name, value)                                                                      \
	{                                                                                          \
		.key = (name), .text = (value)                                                     \
	}
#define LOG_NUMBER(name, value)                                                                    \
	{                                                                                          \
		.key = (name), .number = (value)                                                   \
	}

enum { LOG_FIELDS_MAX = 6 };

/* The parts of an event that its format does not have. */
struct log_about {
	const char *event;  /* its identifier; NULL: the format has it, see log_json.h */
	const char *prefix; /* the line begins with it, the object does not have it; or NULL */
	const char *pairs;  /* "key=number key=number": fields, and the end of the line; or NULL */
	struct log_field field[LOG_FIELDS_MAX + 1]; /* the line has nothing beyond FORMAT */
};

/* Like log_line(). */
void log_about(int level, const struct log_about *about, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void log_vabout(int level, const struct log_about *about, const char *format, va_list ap)
	__attribute__((format(printf, 3, 0)));

/* Log a notice at any level: the answer to a request of the operator. Keeps errno. */
void log_always(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_always_about(const struct log_about *about, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

enum log_format { LOG_AS_TEXT, LOG_AS_JSON };

/* The format of what is logged from now on. */
void log_set_format(enum log_format format);

/* The least urgent level that is logged. */
void log_set_level(int level);
int log_level(void);

/* The number of lines dropped since the start of the process. */
uint64_t log_lost(void);

/*
 * The life of the writer. The control thread calls these functions.
 */

/*
 * Start the writer. Also take over the signals of a crash (SIGSEGV, SIGABRT, ...), whose handler
 * lets the writer finish before the process ends. Returns 0 or an errno(3).
 */
int log_start(void);

/* Wait until all lines so far are written, one second at most. exit(3) does this, too. */
void log_flush(void);

/* Flush, end the writer, close the target; the log is on stderr then. If the destination blocks the
 * writer for more than a second, it stays as it is: the process is about to end. */
void log_stop(void);

/* Remove from SET the signals of a crash. A thread that blocks them would end without the handler.
 */
void log_unblock_crash_signals(sigset_t *set);

/*
 * Targets. The control thread calls these functions, other threads may log at the same time.
 */

enum log_kind { LOG_TO_STDERR, LOG_TO_SYSLOG, LOG_TO_FILE };

/* An open destination. The caller owns it until log_switch(). */
struct log_target;

/*
 * Open a target without a change of the log. LOG_TO_FILE appends to FILE and creates it with mode
 * 0640. LOG_TO_SYSLOG warns if /dev/log cannot be reached; lines go to stderr until it can. Takes
 * one second at most, also if the file system hangs. Returns NULL, and the reason in WHY (SIZE
 * bytes), on failure.
 */
struct log_target *log_open(enum log_kind kind, const char *file, char *why, size_t size);

/* Write what is logged from now on to TARGET; then close the previous target. Cannot fail. */
void log_switch(struct log_target *target);

/*
 * Send lines that are not JSON to systemd's journal with their fields from now on, while the log is
 * on stderr and the journal reads it. If the journal does not take such a message, the line goes to
 * stderr. Call this after log_start(), when the daemon is ready: the journal finds the unit of a
 * message by the process ID, so it could miss the unit of a daemon that has ended. It knows the
 * unit of stderr.
 */
void log_send_fields(void);

/* Open the log file again, after it was renamed, and read the time zone again. The writer does
 * both; if the file cannot be opened, it warns and keeps the previous one. */
void log_reopen(void);

/* Log to stderr from now on. Returns false if the log was there already. */
bool log_switch_to_stderr(void);

/* Change the owner of the current log file, so that it can be reopened as that user. */
void log_chown(uid_t uid, gid_t gid);

/* Close a target that was not passed to log_switch(). */
void log_discard(struct log_target *target);

#endif
