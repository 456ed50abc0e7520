/*
 * Signals at a chosen point of a process's life, and threads that are stuck, by ptrace(2). Tests
 * that use this skip where ptrace is not allowed, see trace_allowed().
 */
#ifndef SKELD_TESTS_TRACE_H
#define SKELD_TESTS_TRACE_H

#include "harness.h"

bool trace_allowed(void);

/*
 * Deliver SIGNALS to f->pid while its main thread handles the first of them: the rest arrive, one
 * after the other and each in its handler before the next is sent, when the thread makes its
 * first call of openat(2).
 */
void trace_burst(struct fixture *f, const int *signals, size_t n);

/*
 * Spawn the daemon and send it SIGHUP at the STOP-th entry or exit of a system call of its main
 * thread, counted from its first rt_sigprocmask(2) that blocks SIGHUP. Returns how many stops
 * there were; with a STOP that is never reached, those until it waits for events after READY=1.
 */
int trace_start(struct fixture *f, int stop);

/* Hold the worker with this INDEX still, as if it were stuck. Returns what the others take. */
pid_t trace_freeze(struct fixture *f, unsigned index);
void trace_thaw(struct fixture *f, pid_t thread);
/* Wait until the frozen thread is gone, with the process: the kernel keeps that open for us. */
void trace_bury(struct fixture *f, pid_t thread);

#endif
