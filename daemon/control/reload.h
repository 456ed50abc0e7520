/*
 * A reload: read, parse, validate, load, prepare, commit; then every worker acknowledges.
 * Everything before the commit can fail and is undone as a whole. Nothing after it can fail.
 * Control thread.
 */
#ifndef SKELD_RELOAD_H
#define SKELD_RELOAD_H

#include <event2/util.h>

struct daemon;

void reload_begin(struct daemon *d);

/* Another reload is requested while one is running: run one more after it. */
void reload_queue(struct daemon *d);

/* A worker has made progress: conclude the reload if every worker serves the new snapshot. */
void reload_check(struct daemon *d);

/* The daemon stops: drop a reload that is not committed, and one that is queued. */
void reload_abandon(struct daemon *d);

/* Timer: a worker did not take the new snapshot in time. */
void reload_overdue(evutil_socket_t fd, short what, void *arg);

#endif
