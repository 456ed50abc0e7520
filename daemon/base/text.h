/* Text that came from outside, made safe to show in one line. Any thread. */
#ifndef SKELD_TEXT_H
#define SKELD_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/*
 * Copy TEXT (LENGTH bytes) to OUT (SIZE bytes, ended by a NUL): control characters (C0, DEL, C1)
 * and bytes that are no well-formed UTF-8 become \xNN. What does not fit is cut, at a whole
 * character. Returns the length of what stands in OUT.
 */
size_t text_escape(char *out, size_t size, const char *text, size_t length);

/* Close OUT, an open_memstream(3) to TEXT or NULL. True: everything that was printed is there. */
bool text_end_stream(FILE *out, char *const *text);

#endif
