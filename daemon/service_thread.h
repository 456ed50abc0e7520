/*
 * The service API for work that takes longer than a callback may: threads, calls on other workers,
 * and child processes. See service.h first. tests/integration/services/query.c is an example.
 *
 * THREADS. Do long work in a thread or process of the service:
 * - Start the thread in a callback, for example in `start`. It inherits a signal mask that blocks
 *   all signals, and must keep it: signals belong to the daemon.
 * - Give it copies of what it needs. Call connection_hold() for the connection that waits for the
 *   result, or worker_hold().
 * - The thread returns the result with worker_post(). The posted function writes the answer and
 *   calls connection_release(). If `closed` is called before that, cancel the work.
 * - `stop` makes the thread end, waits for it with pthread_join(3), and frees each ARG that
 *   worker_post() refused.
 *
 * CHILD PROCESSES. Start a program with service_spawn(), also a shell command, as
 * {"/bin/sh", "-c", command, NULL}. fork(2) is safe, too: its child has default signal handling.
 * Do not use system(3), popen(3), or posix_spawn(3) without attributes for signals: the child
 * inherits the signal mask of the thread, so that kill(1) cannot end it. Open descriptors with
 * O_CLOEXEC, as the daemon does. A child of fork(2) that does not call exec(2) keeps the listening
 * sockets open. A child does not inherit the locks of the daemon. Wait for each child by its pid,
 * because the configuration loader is a child, too: for example with waitpid(2) when its
 * pidfd_open(2), watched by worker_base(), is readable.
 *
 * As PID 1 of a container, the daemon reaps the children of its main thread, which it cannot
 * distinguish from orphans: those of `begin`, and those of each thread that has ended, for example
 * of `load`. Wait for such a child before the callback returns or the thread ends.
 */
#ifndef SKELD_SERVICE_THREAD_H
#define SKELD_SERVICE_THREAD_H

#include "service.h"

#include <sys/types.h>

/* The index of W, from 0; the number of workers; the worker with index I, NULL if there is none.
 * Any thread may call these. */
unsigned worker_index(const struct worker *w);
unsigned worker_total(const struct worker *w);
struct worker *worker_of(const struct worker *w, unsigned i);

/*
 * Call RUN(W, ARG) on W's thread, soon, but never inside of this call. Any thread may call this,
 * also W's own. The calls for one worker are made in the order of the posts. Returns 0: the call
 * will be made, before `stop`. Returns -1, errno ESHUTDOWN: W has ended its event loop; or errno
 * ENOMEM. W may be used in this way until `end` returns.
 */
int worker_post(struct worker *w, void (*run)(struct worker *w, void *arg), void *arg);

/* A drain waits for this worker until it is released as often as it was held: for work that
 * belongs to no connection. Finish it in `drain`. A release without a hold is ignored and logged as
 * an error. Worker's thread. */
void worker_hold(struct worker *w);
void worker_release(struct worker *w);

/*
 * Start the program ARGV[0], which is searched in PATH, as a child process with default signal
 * handling. FDS are its standard input, output and error, each above 2 or its own number; -1:
 * /dev/null. Other descriptors are closed if they have O_CLOEXEC, as those of the daemon have. Any
 * thread may call this. Returns the pid, or -1 and errno.
 */
pid_t service_spawn(const char *const argv[], const int fds[3]);

#endif
