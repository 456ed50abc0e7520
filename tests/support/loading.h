/* Loading configurations written in tests, and a service with an option of each type. */
#ifndef SKELD_TESTS_LOADING_H
#define SKELD_TESTS_LOADING_H

#include "config/config.h"

enum { ANY_SECONDS = 3600 }; /* the time limit of a loader on a slow machine */

struct thing {
	int64_t size, pool, colour;
	char *name, *where, *peer, *token, *key;
	char **tags, **marks, *mode;
};
extern const struct service_schema thing_schema;

/*
 * Load a file with config_parse(), and expect the same after config_encode() and config_decode().
 * Each test compares its first accepted and its first rejected file with a loader process, too.
 */
struct config *load_file(const char *file, struct errors *e);

/* Write TEXT to skeld.conf in the private directory and load it. */
struct config *load(const char *text, struct errors *e);

/* Load TEXT, or fail the test with the errors. The caller frees the configuration. */
struct config *load_good(const char *text);

/* Expect that TEXT is rejected with N errors, which begin with BEGINS ("skeld.conf:2:
 * limits.buffer"). */
void expect_errors(const char *text, const char *const begins[], size_t n);
void expect_error(const char *text, const char *begins);

/* The output of config_print(). The caller frees it. */
char *printed(const struct config *c);

/* The printed value of option NAME of section SECTION ("": the top level). The caller frees it. */
char *shown(const struct config *c, const char *section, const char *name);

#endif
