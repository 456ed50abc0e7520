/*
 * The lines that wait to be written: a ring. For base/log.c only, which locks it.
 *
 * The lines at the tail stay valid without the lock until log_queue_remove().
 */
#ifndef SKELD_LOG_QUEUE_H
#define SKELD_LOG_QUEUE_H

#include "base/log_target.h"
#include "base/log_text.h"

enum { LOG_QUEUE_BYTES = 1024 * 1024 };

struct log_line {
	size_t size; /* of this struct and the text, a multiple of its alignment */
	size_t length;
	struct log_head head;
	char text[]; /* LENGTH bytes, then the fields */
};

/* Append a line, with the current time. Returns false if there is no room. */
bool log_queue_put(const struct log_text *text);

/* A run of at most *N lines at the tail, not all of a long queue at once. *N becomes their number,
 * 0 if there is none. Returns the first. */
const struct log_line *log_queue_find(uint64_t *n);

/* The line behind L, in a run. */
static inline const struct log_line *log_line_next(const struct log_line *l)
{
	return (const void *)((const char *)l + l->size);
}

/* Remove N lines, which log_queue_find() has returned. */
void log_queue_remove(uint64_t n);

/* The bytes in use. */
size_t log_queue_used(void);

#endif
