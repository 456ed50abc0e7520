/* Operations on all connections of a worker: timeouts, drain, close. Worker's thread. */
#ifndef SKELD_CONNECTION_LIST_H
#define SKELD_CONNECTION_LIST_H

#include "data/worker.h"

/* Once a second: close connections that have been idle for too long, lack their PROXY header, or
 * are closing while their peer makes no progress. */
void connection_list_tick(struct worker *w);

/*
 * Scheduled by worker_schedule_check(). During a drain, end the grace period. Close the new
 * lingering connections whose peer has received everything.
 */
void connection_list_check(struct worker *w);

/* ORDER_DRAIN: close idle connections, let the others finish. */
void connection_list_drain(struct worker *w);

/* ORDER_CLOSE: close all connections now, and count the unfinished ones. */
void connection_list_close(struct worker *w);

#endif
