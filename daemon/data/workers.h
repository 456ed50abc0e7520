/*
 * The workers: the interface of the data plane for the control plane. Control thread.
 *
 * Only workers_start() and workers_join() wait for workers. All other functions return at once. A
 * worker that has made progress writes to the eventfd PROGRESS_FD; the control plane then calls
 * workers_behind(), workers_drained() or workers_failed() again.
 */
#ifndef SKELD_WORKERS_H
#define SKELD_WORKERS_H

#include "data/snapshot.h"
#include "metrics/registry.h"
#include "service.h"

struct workers;

/*
 * Create N workers without threads. PROGRESS_FD still belongs to the caller. Returns NULL and an
 * error if there is no memory or no descriptor.
 */
struct workers *workers_new(const struct service *svc, unsigned n, int progress_fd,
			    struct errors *e);

/* Release the snapshots of the workers, whose threads have ended. WS may be NULL. */
void workers_release_snapshots(struct workers *ws);

/* No thread may run any more, also none that calls worker_post(). WS may be NULL. */
void workers_free(struct workers *ws);

/*
 * Start the threads with snapshot S, and wait until the service has started in each. Returns 0; or
 * -1 and an error, then call workers_join() to end the threads that did start.
 */
int workers_start(struct workers *ws, struct snapshot *s, struct errors *e);

/* Give S to every worker, in place of a snapshot that it has not taken yet (data/snapshot.h). */
void workers_publish(struct workers *ws, struct snapshot *s);

/*
 * Returns the number of workers that have not taken the snapshot of GENERATION or a later one.
 * Stores the index of the first one in FIRST, which may be NULL.
 */
unsigned workers_behind(const struct workers *ws, uint64_t generation, unsigned *first);

/* Has a worker ended without an order? Then its event loop has failed. */
bool workers_failed(const struct workers *ws);

/* Stop accepting, answer all requests that were received, close. */
void workers_drain(struct workers *ws);

/* Drain, and close all connections now. */
void workers_close_connections(struct workers *ws);

/* Has every worker closed all connections, and has the service released every hold? */
bool workers_drained(const struct workers *ws);

size_t workers_open_connections(const struct workers *ws);

/* Returns the number of connections that the drain closed unfinished, and the number of bytes that
 * were written to them but did not arrive. */
uint64_t workers_cut_off(const struct workers *ws);
uint64_t workers_unsent_bytes(const struct workers *ws);

/* Order the threads to end, and wait SECONDS for them. Returns true if all have ended. */
bool workers_quit(struct workers *ws, double seconds);

/*
 * End the threads and wait for them, SECONDS at most. Returns how many are stuck, the index of the
 * first one in FIRST. If any are, do not call workers_free().
 */
unsigned workers_join(struct workers *ws, double seconds, unsigned *first);

/* Send a ping to every worker that has answered its last one. NOW: monotonic seconds. */
void workers_ping(struct workers *ws, double now);

/* Let the age of the unanswered pings begin now. */
void workers_restart_lag(struct workers *ws, double now);

/* Returns the age of the unanswered ping of this worker in seconds, or 0 if it has answered. */
double workers_lag(const struct workers *ws, unsigned worker, double now);

unsigned workers_count(const struct workers *ws);

/* Add the metrics of the data plane and of the service to R. R must not outlive WS. */
void workers_register_metrics(struct workers *ws, struct registry *r);

#endif
