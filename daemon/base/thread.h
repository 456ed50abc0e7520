/* Starting threads that leave all signals to the control thread. Any thread. */
#ifndef SKELD_THREAD_H
#define SKELD_THREAD_H

#include <pthread.h>

/* Start a thread in which all signals are blocked, except those of a crash. NAME is at most 15
 * bytes. Returns 0 or an errno(3). */
int thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

#endif
