/*
 * A list of errors for the user.
 *
 * There are two conventions for failures in this tree. A function that can fail for a reason that
 * the user should read takes a struct errors: it appends one or more errors, returns -1, NULL or
 * false, and does not log. The caller passes the list on, or logs it once. All other functions
 * report a failure by their return value alone: -1, NULL, false or an errno(3), as their header
 * states.
 *
 * A list belongs to one thread.
 */
#ifndef SKELD_ERRORS_H
#define SKELD_ERRORS_H

#include <stdbool.h>
#include <stddef.h>

enum { ERRORS_MAX = 100 }; /* texts in a list; further errors are only counted */

struct error {
	char *text;	     /* "FILE:LINE: MESSAGE", escaped (base/text.h); owned */
	const char *message; /* in TEXT */
	size_t file_length;  /* of FILE, 0 if there is none */
	unsigned line;	     /* 0 if there is none */
};

struct errors {
	struct error error[ERRORS_MAX];
	size_t n;	/* errors, also those beyond ERRORS_MAX */
	bool transient; /* memory, descriptors or a disk failed: a retry may succeed */
};

/* Append an error. The text begins with FILE unless FILE is NULL, and has LINE unless it is 0. If
 * memory is short, the error is counted without a text, as transient. */
void errors_add(struct errors *e, const char *file, unsigned line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Append "out of memory", a transient error. */
void errors_add_no_memory(struct errors *e, const char *file, unsigned line);

/* Is ERROR, an errno(3), a temporary failure, so that a retry may succeed? */
bool errors_is_transient(int error);

/* Error I, and its text; "out of memory" if there was no memory for it. Never NULL. */
const struct error *errors_get(const struct errors *e, size_t i);
const char *errors_text(const struct errors *e, size_t i);

/* The number of texts that errors_text() has: n, at most ERRORS_MAX. */
size_t errors_stored(const struct errors *e);

/* Log each error as EVENT, see base/log.h. */
void errors_log(const struct errors *e, int level, const char *event);

/* Append all errors of FROM to TO. FROM is empty then. */
void errors_move(struct errors *to, struct errors *from);

void errors_clear(struct errors *e);

#endif
