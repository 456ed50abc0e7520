/* Starting threads that leave all signals to the control thread, and their scheduling. Any thread.
 */
#ifndef SKELD_THREAD_H
#define SKELD_THREAD_H

#include <pthread.h>

/* Start a thread in which all signals are blocked, except those of a crash. NAME is at most 15
 * bytes. Returns 0 or an errno(3). */
int thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

/*
 * The scheduling of this thread (sched_setattr(2)). Threads and processes that it starts inherit
 * it. Failure has no effect: a sandbox may forbid the system call.
 */

/* Request short time slices: the thread runs soon after it wakes although all workers are busy.
 * From Linux 6.12 on. */
void thread_prefer(void);

/* Leave the processor to the workers: the thread does not interrupt them when it wakes, and gets
 * about a tenth of a processor that one of them wants, too. */
void thread_defer(void);

#endif
