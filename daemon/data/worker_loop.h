/*
 * The thread of a worker: its event loop, the snapshots that it takes and the orders that it
 * carries out. The functions are called by data/workers.c, on the control thread.
 */
#ifndef SKELD_WORKER_LOOP_H
#define SKELD_WORKER_LOOP_H

#include "data/worker.h"

/*
 * W is zeroed, and w->wake_fd and w->posts.fd are -1. Returns 0 or a positive errno. Call
 * worker_loop_free() after a failure too.
 */
int worker_loop_init(struct worker *w, struct workers *workers, unsigned index);

/* The thread has ended, or was never started. */
void worker_loop_free(struct worker *w);

/* Start the thread; w->next_snapshot is its first snapshot. Returns 0 or a positive errno. */
int worker_loop_start(struct worker *w);

#endif
