/* Machines that lack something, for `prepare` of a fixture (harness.h): each function runs in the
 * child before the daemon is executed. */
#ifndef SKELD_TESTS_SANDBOX_H
#define SKELD_TESTS_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

/* Let each of the N system calls fail with ERROR, as under an old kernel (ENOSYS) or a filter of a
 * container (EPERM). */
void sandbox_fail_calls(const long calls[], size_t n, int error);

/* May this process create a mount namespace? */
bool sandbox_can_mount(void);

/* Mount an empty file system on PATH, seen by this process and its children only. */
void sandbox_cover(const char *path);

/* Let standard error be the stream that systemd's journal reads. The socket of the journal is that
 * of sandbox_open_journal(). */
void sandbox_journal(void);

/* In the test, not in the child: returns a socket that receives the messages to the journal. */
int sandbox_open_journal(void);

#endif
