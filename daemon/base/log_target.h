/*
 * A destination of the log: stderr, a file, or the syslog daemon. For base/log.c only.
 *
 * Every function may block for as long as the destination does. One thread at a time uses a target.
 */
#ifndef SKELD_LOG_TARGET_H
#define SKELD_LOG_TARGET_H

#include "base/log.h"

#include <time.h>

struct log_head { /* of a line */
	struct timespec time;
	int level;
	bool is_json;	 /* the text is what log_json_members() has written */
	size_t n_fields; /* behind the text: so many bytes of log_json_journal() */
};

struct log_target {
	enum log_kind kind;
	int fd;		       /* syslog: -1 while it cannot be reached; the lines go to stderr */
	char *file;	       /* of LOG_TO_FILE; owned */
	bool is_journal;       /* systemd's journal reads it: write "<LEVEL>text", without a time */
	bool is_socket;	       /* send(2) works */
	bool takes_at_once;    /* log_target_write_at_once() may be able to write */
	bool is_stream;	       /* syslog: the socket is SOCK_STREAM, a NUL ends each line */
	int syslog_error;      /* the errno(3) of a lost connection, for log.c to log; else 0 */
	bool has_partial_line; /* a full disk cut the last line: begin a new one */
	const char *fields;    /* of the line that was formatted last, for the journal */
	size_t n_fields;

	/* For log.c: a target that is to be used once FROM lines have been written. */
	uint64_t from;
	struct log_target *next;
};

/* See log_open(). LOG_TO_SYSLOG does not fail if there is no syslog daemon. */
struct log_target *log_target_open(enum log_kind kind, const char *file, char *why, size_t size);

/* The same in a thread: a file system may hang. Fails after MS. */
struct log_target *log_target_open_within(int ms, enum log_kind kind, const char *file, char *why,
					  size_t size);

void log_target_free(struct log_target *t);

/* Find out what standard error is, and whether the journal reads it. */
void log_target_examine(struct log_target *t);

/* Open the file again, if it is one. Returns 0, or an errno(3): the target keeps the previous file.
 */
int log_target_reopen(struct log_target *t);

/* Read /etc/localtime again. */
void log_target_read_time_zone(void);

/* Write a line to OUT, which has LOG_LINE_MAX bytes. Returns its length; it ends in a newline. The
 * fields behind TEXT stay there until the line is written. */
size_t log_target_format(struct log_target *t, char *out, const struct log_head *head,
			 const char *text, size_t length);

/* How many lines one write may have: to syslog and the journal, each line is a message. */
static inline bool log_target_takes_many(const struct log_target *t)
{
	return t->kind != LOG_TO_SYSLOG && !t->is_journal;
}

/* Write N bytes of formatted lines. Returns how many were written; less than N after an error. */
size_t log_target_write(struct log_target *t, const char *lines, size_t n);

/* Write as much of a line as the target takes without blocking, nothing after an error. Returns the
 * number of bytes; the caller passes the rest to log_target_write(). */
size_t log_target_write_at_once(struct log_target *t, const char *line, size_t n);

#endif
