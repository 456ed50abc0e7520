/*
 * The functions that threads post to a worker, see worker_post() in service_thread.h.
 *
 * A post is added, and the worker woken, inside one short lock: a post is either refused, or it
 * runs before post_queue_close() returns. The queue and its descriptor must outlive all threads
 * that post.
 *
 * The worker takes the whole queue at once, and runs POSTS_PER_TURN posts in a turn of its event
 * loop. So a long queue, or a post that posts itself again, does not hold up connections.
 */
#ifndef SKELD_POST_H
#define SKELD_POST_H

#include <pthread.h>
#include <stdbool.h>

struct event;
struct event_base;
struct post;
struct worker;

enum { POSTS_PER_TURN = 64 };

struct post_queue {
	pthread_mutex_t lock; /* guards the next three fields */
	struct post *first, **last;
	bool closed;

	int fd; /* eventfd: readable while posts wait, in the queue or in the batch */

	/* Worker's thread. */
	struct worker *worker;
	struct event *event;
	struct post *batch; /* taken from the queue, not run yet */
};

/*
 * Q is zeroed, and q->fd is -1. Posts run in BASE and receive W. Returns 0 or a positive errno.
 * Call post_queue_free() after a failure too.
 */
int post_queue_init(struct post_queue *q, struct event_base *base, struct worker *w);

/* Discards posts that have not run. No other thread uses Q any more. Before BASE is freed. */
void post_queue_free(struct post_queue *q);

/* Any thread. Returns 0, ESHUTDOWN after post_queue_close(), or ENOMEM. */
int post_queue_add(struct post_queue *q, void (*run)(struct worker *w, void *arg), void *arg);

/* Refuse further posts, also from the last ones, and run all that were accepted. */
void post_queue_close(struct post_queue *q);

#endif
