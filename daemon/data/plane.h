/*
 * The data plane, as the control plane sees it. Control thread.
 *
 * Nothing here waits for a worker, but plane_start() and plane_join(). Workers answer by writing
 * to the eventfd NOTIFY_FD; then the questions below have new answers.
 */
#ifndef SKELD_PLANE_H
#define SKELD_PLANE_H

#include "base/stats.h"
#include "data/snapshot.h"
#include "service.h"

struct plane;

/* N workers without threads yet. NULL and an error when there is no memory or descriptor. */
struct plane *plane_new(const struct service *service, unsigned n, int notify_fd, struct errors *e);
void plane_free(struct plane *p);

/* Start the threads, serving by S. -1 and an error when one cannot start; plane_join() the rest. */
int plane_start(struct plane *p, struct snapshot *s, struct errors *e);

/* Hand S to every worker; one that has not taken the one before empties its listeners, no more. */
void plane_publish(struct plane *p, struct snapshot *s);

/* Workers that do not work by GENERATION yet. FIRST (may be NULL): the first of them. */
unsigned plane_behind(const struct plane *p, uint64_t generation, unsigned *first);

/* Has a worker ended that was not told to? Its event loop has failed. */
bool plane_failed(const struct plane *p);

void plane_drain(struct plane *p); /* stop accepting, finish, close */
void plane_close(struct plane *p); /* close what is open, now */
bool plane_drained(const struct plane *p);

/* Connections now open; and those that plane_close() cut off. */
size_t plane_open(const struct plane *p);
uint64_t plane_cut_off(const struct plane *p);

/*
 * End the threads and wait for them, SECONDS at most. Returns how many did not end, the first in
 * FIRST: those are stuck, their memory is not freed.
 */
unsigned plane_join(struct plane *p, double seconds, unsigned *first);

/* Ask every worker that owes no answer to say that it turns. NOW: monotonic seconds. */
void plane_ask(struct plane *p, double now);

/* For how long worker I has owed an answer; 0 if it does not. */
double plane_lag(const struct plane *p, unsigned i, double now);

unsigned plane_workers(const struct plane *p);
void plane_register(struct plane *p, struct stats *s);

#endif
