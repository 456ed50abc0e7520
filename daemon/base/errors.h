/*
 * What is wrong, for the person who can mend it.
 *
 * A function that can fail in more than one way at once (a configuration file) appends here and
 * goes on; whoever can tell the person prints the list. Who appends does not log.
 */
#ifndef SKELD_ERRORS_H
#define SKELD_ERRORS_H

#include <stdbool.h>
#include <stddef.h>

enum { ERRORS_MAX = 100 }; /* as many as anybody reads; the rest is only counted */

struct errors {
	char *text[ERRORS_MAX]; /* "FILE:LINE: what is wrong", escaped (base/text.h); owned */
	size_t n;		/* how many there are; those beyond ERRORS_MAX have no text */
	bool passing; /* of memory, descriptors or a disk, not of what was read: try another time */
};

/* Append one. FILE may be NULL, LINE may be 0: then they are left out. Out of memory: counted. */
void errors_add(struct errors *e, const char *file, unsigned line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Append "out of memory", which passes. */
void errors_add_memory(struct errors *e, const char *file, unsigned line);

/* Is an errno(3) of what may pass? */
bool errors_is_passing(int error);

/* The i-th text, never NULL. */
const char *errors_text(const struct errors *e, size_t i);

/* How many texts errors_text() has: n, or ERRORS_MAX when there are more. */
size_t errors_shown(const struct errors *e);

void errors_clear(struct errors *e);

#endif
