/*
 * An independent parser of the configuration grammar, to compare with the daemon's parser. It does
 * not check values. Every file that the daemon accepts must be complete by this parser, and a
 * truncated file may be accepted only if it is complete.
 */
#ifndef SKELD_TESTS_COMPLETE_H
#define SKELD_TESTS_COMPLETE_H

#include <stdbool.h>
#include <stddef.h>

/* An include("path") statement at the bytes BEGIN to END, END excluded. */
typedef void on_included(void *context, const char *path, size_t begin, size_t end);

/*
 * Returns true if TEXT (N bytes) is text, closes every comment, string and section, and consists of
 * complete statements with known names. In section "echo" every name is
 * known. Calls INCLUDED, which may be NULL, for each include().
 */
bool is_complete(const char *text, size_t n, on_included *included, void *context);

#endif
