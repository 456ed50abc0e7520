/* What the process may do: what it gives up, and what it asks for. Control thread, before there is
 * any other. */
#ifndef SKELD_PRIVILEGES_H
#define SKELD_PRIVILEGES_H

#include "control/runtime.h"
#include "data/snapshot.h"

/*
 * Become the configured user and group for good; the log file, unix sockets and, if we made it, the
 * runtime directory become theirs. Nothing when no user is configured. -1 and an error when it
 * cannot be done, or we are not root.
 */
int privileges_drop(const struct snapshot *s, const struct runtime *r, struct errors *e);

/*
 * Ask for short slices of the processor for this thread, soon when it wakes (sched_setattr(2),
 * sched_runtime, Linux 6.12): signals are answered while every worker is busy. A wish, no more.
 */
void privileges_prefer_this_thread(void);

/*
 * Raise the limit of open descriptors as far as limits.connections and what N workers need
 * themselves, so that clients can never take the last one. Returns how many connections there may
 * be; warns when that is less than limits.connections.
 */
size_t privileges_raise_nofile(const struct config *c, unsigned n);

#endif
