/*
 * What the fuzzers share: files in memory, loading, and promises that end the program when they do
 * not hold. Each fuzz_*.c is a libFuzzer program: run it with directories of inputs, or with one
 * input to see it again. `tests/fuzz/run` does the former.
 */
#ifndef SKELD_TESTS_FUZZ_H
#define SKELD_TESTS_FUZZ_H

#include "base/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* libFuzzer calls these. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define HOLDS(condition, ...)                                                                      \
	do {                                                                                       \
		if (!(condition))                                                                  \
			broken(__FILE__, __LINE__, #condition, __VA_ARGS__);                       \
	} while (0)
_Noreturn void broken(const char *file, int line, const char *what, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* A service with an option of each type, in section "echo" as the example's. */
extern const struct config_service fuzz_service;

/* A file in memory; its path is for load(). */
struct memory_file {
	int fd;
	char path[32];
};
void memory_file_open(struct memory_file *f);
void memory_file_set(const struct memory_file *f, const void *bytes, size_t n);

/* A private directory that goes away with the process, in memory where there is such a place. */
void private_directory(char path[static 64]);

/*
 * config_parse(), with what holds for every result: errors or a configuration, errors in one line
 * each, and all of it comes through wire_put() and wire_take().
 */
struct config *load(const char *path);

/* config_print(), the caller's to free. */
char *printed(const struct config *c);

/* Nothing that config_compare() would tell. */
void expect_same(const struct config *a, struct config *b);

/* The lowest descriptor that is free: the same before and after, or one was left open. */
int free_descriptor(void);

/* Independent of base/text.c: one line of well-formed UTF-8 without control characters. */
bool is_printable_line(const char *text);

#endif
