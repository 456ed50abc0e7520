/* Change one byte of a text: cut the text there, or delete, double or replace the byte. */
#ifndef SKELD_TESTS_MUTATE_H
#define SKELD_TESTS_MUTATE_H

#include <stddef.h>

enum mutation { CUT, DELETED, DOUBLED, REPLACED, MUTATIONS = REPLACED + 18 };

/*
 * Write TEXT (N bytes) with mutation WHICH at byte AT to OUT. OUT has room for N + 1 bytes. WHICH
 * is below MUTATIONS; REPLACED and above select the new byte. Returns the length.
 */
size_t mutate(char *out, const char *text, size_t n, size_t at, size_t which);

#endif
