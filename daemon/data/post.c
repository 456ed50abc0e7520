#include "data/post.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct post {
	struct post *next;
	void (*run)(struct worker *w, void *arg);
	void *arg;
};

/* The batch is empty: replace it by the queue. */
static void take_batch(struct post_queue *q)
{
	eventfd_t n;
	pthread_mutex_lock(&q->lock);
	eventfd_read(q->fd, &n);
	q->batch = q->first;
	q->first = NULL;
	q->last = &q->first;
	pthread_mutex_unlock(&q->lock);
}

static void run_batch(struct post_queue *q, unsigned max)
{
	while (q->batch && max--) {
		struct post *p = q->batch;
		q->batch = p->next;
		p->run(q->worker, p->arg);
		free(p);
	}
}

static void on_posts(evutil_socket_t fd, short what, void *arg)
{
	struct post_queue *q = arg;
	(void)what;
	if (!q->batch)
		take_batch(q);
	run_batch(q, POSTS_PER_TURN);
	if (q->batch)
		eventfd_write(fd, 1); /* continue in the next turn */
}

static void free_posts(struct post *p)
{
	for (struct post *next; p; p = next) {
		next = p->next;
		free(p);
	}
}

int post_queue_init(struct post_queue *q, struct event_base *base, struct worker *w)
{
	pthread_mutex_init(&q->lock, NULL);
	q->last = &q->first;
	q->worker = w;
	q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->fd < 0)
		return errno;
	errno = ENOMEM; /* libevent does not set errno in every case */
	q->event = event_new(base, q->fd, EV_READ | EV_PERSIST, on_posts, q);
	return q->event && event_add(q->event, NULL) == 0 ? 0 : errno;
}

void post_queue_free(struct post_queue *q)
{
	if (q->fd < 0)
		return;
	if (q->event)
		event_free(q->event);
	close(q->fd);
	free_posts(q->batch);
	free_posts(q->first);
	pthread_mutex_destroy(&q->lock);
}

/* The lock is held. */
static void append(struct post_queue *q, struct post *p)
{
	if (!q->first)
		eventfd_write(q->fd, 1);
	*q->last = p;
	q->last = &p->next;
}

int post_queue_add(struct post_queue *q, void (*run)(struct worker *w, void *arg), void *arg)
{
	struct post *p = malloc(sizeof(*p));
	if (!p)
		return ENOMEM;
	*p = (struct post){NULL, run, arg};
	pthread_mutex_lock(&q->lock);
	bool accepted = !q->closed;
	if (accepted)
		append(q, p);
	pthread_mutex_unlock(&q->lock);
	if (accepted)
		return 0;
	free(p);
	return ESHUTDOWN;
}

void post_queue_close(struct post_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_mutex_unlock(&q->lock);
	run_batch(q, UINT_MAX);
	take_batch(q);
	run_batch(q, UINT_MAX);
}
