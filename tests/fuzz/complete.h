/*
 * A second opinion on what a configuration file is: an independent reader of its grammar, which
 * knows no values. What the daemon accepts must be whole for it, too; and what is cut from a good
 * file is good exactly where it says so.
 */
#ifndef SKELD_TESTS_COMPLETE_H
#define SKELD_TESTS_COMPLETE_H

#include <stdbool.h>
#include <stddef.h>

/* An include("path") that stands from BEGIN up to END. */
typedef void on_included(void *context, const char *path, size_t begin, size_t end);

/*
 * Whether TEXT (N bytes) is text, ends with the end of a line, closes every comment, string and
 * section that it opens, and consists of whole statements with names that there are (those of
 * section "echo" are not looked at). INCLUDED may be NULL.
 */
bool is_complete(const char *text, size_t n, on_included *included, void *context);

#endif
