/* Loading configurations written in tests, and a service with an option of each type. */
#ifndef SKELD_TESTS_LOADING_H
#define SKELD_TESTS_LOADING_H

#include "base/config.h"

struct thing {
	int64_t size, pool, colour;
	char *name, *where, *peer;
};
extern const struct config_service thing_schema;

/*
 * What config_parse() makes of a file, and that a loader makes the same of it. Not only the loader:
 * what is lost or overrun in there nobody looks for.
 */
struct config *load_file(const char *file, struct errors *e);

/* The text of skeld.conf in the fixture's directory; may be loaded more than once. */
struct config *load(const char *text, struct errors *e);

/* Loads, or fails the test with what was wrong. The caller's to free. */
struct config *load_good(const char *text);

/* Refused, and each of the N errors begins as it should ("skeld.conf:2: limits.buffer"). */
void expect_errors(const char *text, const char *const begins[], size_t n);
void expect_error(const char *text, const char *begins);

/* config_print(), the caller's to free. */
char *printed(const struct config *c);

/* What stands for option NAME of section SECTION ("" for the top level) in C, as printed. */
char *shown(const struct config *c, const char *section, const char *name);

#endif
