/* Text from outside, made safe to print in one line. Any thread. */
#ifndef SKELD_TEXT_H
#define SKELD_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/*
 * Copy TEXT (LENGTH bytes) to OUT (SIZE bytes) and end it with a NUL. Control characters (C0, DEL,
 * C1), invisible characters that change the layout, and bytes that are not well-formed UTF-8
 * become \xNN. Text that does not fit is cut at a whole character. Returns the length of OUT.
 */
size_t text_escape(char *out, size_t size, const char *text, size_t length);

/*
 * The same for a string in JSON, without the quotes around it (RFC 8259): the characters above
 * become \uNNNN, a byte that is not well-formed UTF-8 becomes U+FFFD, and quotes and backslashes
 * are escaped.
 */
size_t text_escape_json(char *out, size_t size, const char *text, size_t length);

/* The number of characters to insert, delete, replace or swap with the next to make B from A; 64 if
 * one of them has 64 characters or more. */
size_t text_distance(const char *a, const char *b);

/* Close OUT, an open_memstream(3) to TEXT, or NULL. Returns true if TEXT is complete. */
bool text_close_stream(FILE *out, char *const *text);

#endif
