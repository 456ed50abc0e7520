/* Signals at a chosen system call, and stuck threads, with ptrace(2). Tests are skipped where
 * ptrace is not allowed, see trace_allowed(). */
#ifndef SKELD_TESTS_TRACE_H
#define SKELD_TESTS_TRACE_H

#include "harness.h"

bool trace_allowed(void);

/* Is CALL, the number of a system call, epoll_wait(2) or its variant? */
bool is_wait_for_events(long call);

/*
 * Deliver SIGNALS to daemon_pid in order. The first one is sent at once; the others are sent when
 * the main thread calls openat(2) while it handles the first. Each has reached its handler before
 * the next is sent.
 */
void trace_burst(const int *signals, size_t n);

/*
 * Spawn the daemon and send SIGHUP at the STOP-th entry or exit of a system call of its main
 * thread, counted from the rt_sigprocmask(2) that first blocks SIGHUP. Returns the number of
 * stops; if STOP is never reached, the stops until it waits for events after READY=1.
 */
int trace_start(int stop);

/* Freeze the worker with this INDEX, as if it were stuck. Returns its thread, for the functions
 * below. */
pid_t trace_freeze(unsigned index);
void trace_thaw(pid_t thread);
/* Wait until the frozen thread is gone: until then the kernel does not report the end of the
 * process. */
void trace_bury(pid_t thread);

#endif
