/*
 * How the daemon stops: lame duck if configured, then drain; at drain_timeout the connections that
 * are left are closed. A second stop signal, SIGQUIT or a failure stops at once. Control thread.
 */
#ifndef SKELD_SHUTDOWN_H
#define SKELD_SHUTDOWN_H

#include <event2/util.h>

struct daemon;

void shutdown_begin(struct daemon *d); /* lame duck, drain, then exit 0 */
void shutdown_now(struct daemon *d);   /* close everything, exit 1 */

/* A worker has made progress: it may be drained, or its event loop may have failed. */
void shutdown_check(struct daemon *d);

/* WHAT ("the event loop") has ended without being asked to: exit 1. */
void shutdown_after_failure(struct daemon *d, const char *what);

/* Timer: the end of the lame duck, of drain_timeout, or of CLOSE_SECONDS after it. */
void shutdown_on_timer(evutil_socket_t fd, short what, void *arg);

#endif
