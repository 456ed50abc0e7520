/*
 * Helpers of the fuzzers. Each fuzz_*.c is a libFuzzer program: run it with directories of inputs,
 * as tests/stress/fuzz/run does, or with one input file to repeat a failure. A failed CHECK()
 * aborts the program, and libFuzzer saves the input.
 */
#ifndef SKELD_TESTS_FUZZ_H
#define SKELD_TESTS_FUZZ_H

#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Called by libFuzzer. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define CHECK(condition, ...)                                                                      \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail_check(__FILE__, __LINE__, #condition, __VA_ARGS__);                   \
	} while (0)
_Noreturn void fail_check(const char *file, int line, const char *condition, const char *format,
			  ...) __attribute__((format(printf, 4, 5)));

/* A service with an option of each type. Its section is "echo". */
extern const struct service_schema fuzz_service;

/* A file in memory. Its path can be passed to load_config(). */
struct memory_file {
	int fd;
	char path[32];
};
void memory_file_create(struct memory_file *f);
void memory_file_write(const struct memory_file *f, const void *bytes, size_t n);

/* Create a directory that is removed at exit; on a file system in memory if there is one. */
void create_private_directory(char path[static 64]);

/*
 * Call config_parse() and check every result: there are errors or a configuration, never both; each
 * error is one printable line; config_encode() and config_decode() change nothing. NULL: errors.
 */
struct config *load_config(const char *path);

/* The output of config_print(). The caller frees it. */
char *config_text(const struct config *c);

/* Check that config_compare() finds no difference. */
void expect_equal(const struct config *a, struct config *b);

/* The lowest free descriptor. If it differs after a test, a descriptor leaked. */
int lowest_free_descriptor(void);

/* One line of valid UTF-8 without control characters. Independent of base/text.c. */
bool is_printable_line(const char *text);

#endif
