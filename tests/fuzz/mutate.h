/* A text with one thing wrong with it: cut, a byte less, a byte twice, or another byte. */
#ifndef SKELD_TESTS_MUTATE_H
#define SKELD_TESTS_MUTATE_H

#include <stddef.h>

enum mutation { CUT, DELETED, DOUBLED, REPLACED, MUTATIONS = REPLACED + 18 };

/*
 * Write the mutant of TEXT (N bytes) at byte AT to OUT, which has room for a byte more than TEXT.
 * WHICH is below MUTATIONS. Returns the length.
 */
size_t mutate(char *out, const char *text, size_t n, size_t at, size_t which);

#endif
