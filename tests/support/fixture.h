/*
 * For unit tests: a private working directory, and proof that nothing is left over. Criterion runs
 * each test in a separate process, so files can be named without a path. A failed check ends the
 * test: no function returns an error.
 */
#ifndef SKELD_TESTS_FIXTURE_H
#define SKELD_TESTS_FIXTURE_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stddef.h>

enum { PATH_IN_MAX = 64 };

/* For TestSuite: create and enter the directory; leave and remove it. */
void fixture_enter(void);
void fixture_leave(void);

/* The absolute path of file NAME. */
const char *path_in(const char *name, char path[static PATH_IN_MAX]);

void file_write(const char *name, const char *text);
void file_write_bytes(const char *name, const void *bytes, size_t n);
/* Returns NULL if there is no such file. The caller frees the text. */
char *file_text(const char *name);
bool file_exists(const char *name);

/* Everything that can be read from FD without waiting. The caller frees the text. */
char *fd_text(int fd);

/* Wait until FD is ready for EVENTS (poll), 10 s at most. */
void await_fd(int fd, short events);

size_t open_descriptors(void);

/* The end of a test: no descriptor and no memory is left. */
#define EXPECT_NOTHING_LEFT()                                                                      \
	do {                                                                                       \
		cr_assert_eq(open_descriptors(), descriptors_before, "a descriptor was left");     \
		cr_assert_not(memory_leaks(), "memory was lost, see the sanitizer's report");      \
	} while (0)
extern size_t descriptors_before; /* by fixture_enter() */
bool memory_leaks(void);	  /* without the address sanitizer: false */

/* A call that the test needs but does not test: a failure ends the test. */
#define MUST(call) cr_assert(call, "%s: %s", #call, strerror(errno))

#endif
