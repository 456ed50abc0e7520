/* Shared by unit tests and integration tests: a private working directory, waiting, and failing.
 *
 * Criterion runs each test in a separate process, in which the test enters a new directory; so
 * files can be named without a path. A failed check ends the test: no function returns an error. A
 * failure names the line of the test, also if the check is in a function of tests/support.
 *
 * Nothing sleeps. Every wait has the same deadline: 10 s times $SKELD_TEST_SLOW (10 if unset, see
 * skeld_test.cmake). SIGALRM ends a test that hangs somewhere else: after ten times this limit,
 * counted from its start and again from each call of deadline().
 */
#ifndef SKELD_TESTS_FIXTURE_H
#define SKELD_TESTS_FIXTURE_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PATH_IN_MAX = 64 };

/* For TestSuite: create and enter the directory; leave and remove it. */
void fixture_enter(void);
void fixture_leave(void);
extern char test_dir[];

/* The absolute path of NAME in the directory. */
const char *path_in(const char *name, char path[static PATH_IN_MAX]);

void file_write(const char *name, const char *text);
void file_write_bytes(const char *name, const void *bytes, size_t n);
/* Returns NULL if there is no such file. The text is valid until the next call. */
const char *file_text(const char *name);
bool file_exists(const char *name);

/* Everything that can be read from FD without waiting. The caller frees the text. */
char *fd_text(int fd);

int64_t deadline(void);
bool is_past(int64_t until);
/* Wait until FD is ready for EVENTS (poll). WHAT is the reason of the failure. */
void await_fd(int fd, short events, int64_t until, const char *what);

_Noreturn void fail_test(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A call that the test needs but does not test: a failure ends the test. */
#define MUST(call)                                                                                 \
	do {                                                                                       \
		if (!(call))                                                                       \
			fail_test("%s: %s", #call, strerror(errno));                               \
	} while (0)

struct text { /* grows, always ends in NUL */
	char *bytes;
	size_t size, room;
};
void text_append(struct text *t, const void *bytes, size_t n);
/* Replace the text by the file. Returns false, and an empty text, if there is no such file. */
bool text_read(struct text *t, const char *name);

/* The harness of the daemon adds these: called while await_fd() waits, and by a failure. */
extern void (*fixture_on_wait)(void);
extern void (*fixture_on_failure)(struct text *details);

/* full-only: begin */
bool has_ipv6(void); /* can this machine listen on [::1]? */

#include "leaks.h"
/* full-only: end */

#endif
