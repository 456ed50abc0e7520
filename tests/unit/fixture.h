/*
 * What unit tests need: a private directory to work in, and proof that nothing is left over.
 *
 * Each test is a process of its own (see Criterion), so the working directory is the fixture's,
 * and files can be named without a path. A failed check ends the test, nothing here returns an
 * error.
 */
#ifndef SKELD_TESTS_FIXTURE_H
#define SKELD_TESTS_FIXTURE_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stddef.h>

enum { PATH_IN_MAX = 64 };

/* For TestSuite: make and enter the directory; leave and remove it. */
void fixture_enter(void);
void fixture_leave(void);

/* NAME's absolute path, for what takes no other. */
const char *path_in(const char *name, char path[static PATH_IN_MAX]);

void file_write(const char *name, const char *text);
void file_write_bytes(const char *name, const void *bytes, size_t n);
/* The caller's to free; NULL when there is no such file. */
char *file_text(const char *name);
bool file_exists(const char *name);

/* All that can be read from FD without waiting, the caller's to free. */
char *fd_text(int fd);

/* Wait until FD is ready for EVENTS (poll), 10 s at most. */
void await_fd(int fd, short events);

size_t open_descriptors(void);

/* The end of a test: as many descriptors as in the beginning, and no memory lost. */
#define EXPECT_NOTHING_LEFT()                                                                      \
	do {                                                                                       \
		cr_assert_eq(open_descriptors(), descriptors_before, "a descriptor was left");     \
		cr_assert_not(memory_leaks(), "memory was lost, see the sanitizer's report");      \
	} while (0)
extern size_t descriptors_before; /* by fixture_enter() */
bool memory_leaks(void);	  /* without the address sanitizer: false */

/* A call that the test needs, but is not about. */
#define MUST(call) cr_assert(call, "%s: %s", #call, strerror(errno))

#endif
