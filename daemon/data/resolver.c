#include "data/resolver.h"

#include "base/compat.h"
#include "base/thread.h"
#include "data/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 2, QUEUE_MAX = 1024, HOST_MAX = 256, PORT_MAX = 8 };

struct lookup {
	TAILQ_ENTRY(lookup) entry;
	struct worker *worker;
	void (*done)(void *arg, int error, const struct addrinfo *list);
	void *arg;
	/* LOST: memory was short, `done` is not called. */
	enum { QUEUED, RUNNING_LOOKUP, LOST, CANCELLED } state;
	int error;
	struct addrinfo *list;
	char host[HOST_MAX], port[PORT_MAX];
};

/* Guards all variables below, and lookup->state. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;
static TAILQ_HEAD(lookup_queue, lookup) queue = {NULL, &queue.tqh_first};
static unsigned n_queued, n_threads, n_idle;

static void free_lookup(struct lookup *l)
{
	if (l->list)
		freeaddrinfo(l->list);
	free(l);
}

/* Worker's thread, the only one that still uses the lookup. */
static void deliver(struct worker *w, void *arg)
{
	struct lookup *l = arg;
	(void)w;
	if (l->state != CANCELLED)
		l->done(l->arg, l->error, l->list);
	free_lookup(l);
}

static void run_lookup(struct lookup *l)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	l->error = getaddrinfo(l->host, l->port, &hints, &l->list);
	if (l->error == EAI_SYSTEM && errno == ENOMEM)
		l->error = EAI_MEMORY;
	/* With the lock: a worker that has not cancelled the lookup yet still exists. */
	pthread_mutex_lock(&lock);
	if (l->state == CANCELLED)
		free_lookup(l);
	else if (post_queue_add(&l->worker->posts, deliver, l))
		l->state = LOST; /* the worker frees it */
	pthread_mutex_unlock(&lock);
}

static void *run_thread(void *arg)
{
	for (;;) {
		pthread_mutex_lock(&lock);
		n_idle++;
		while (TAILQ_EMPTY(&queue))
			pthread_cond_wait(&arrived, &lock);
		n_idle--;
		struct lookup *l = TAILQ_FIRST(&queue);
		TAILQ_REMOVE(&queue, l, entry);
		n_queued--;
		l->state = RUNNING_LOOKUP;
		pthread_mutex_unlock(&lock);
		run_lookup(l);
	}
	return arg;
}

/* With the lock, for one more lookup: an idle thread may not have woken yet for one in the queue.
 * Returns an errno if there is no thread at all. */
static int start_thread(void)
{
	pthread_t thread;
	if (n_idle > n_queued || n_threads == THREADS_MAX)
		return 0;
	int error = thread_start(&thread, "resolver", run_thread, NULL);
	if (error)
		return n_threads ? 0 : error;
	pthread_detach(thread);
	n_threads++;
	return 0;
}

struct lookup *resolver_look_up(struct worker *w, const char *host, const char *port,
				void (*done)(void *arg, int error, const struct addrinfo *list),
				void *arg)
{
	struct lookup *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->worker = w;
	l->done = done;
	l->arg = arg;
	bool fits = strlen(host) < HOST_MAX && strlen(port) < PORT_MAX;
	pthread_mutex_lock(&lock);
	int error = !fits ? EINVAL : n_queued == QUEUE_MAX ? EAGAIN : start_thread();
	if (!error) {
		strcpy(l->host, host);
		strcpy(l->port, port);
		TAILQ_INSERT_TAIL(&queue, l, entry);
		n_queued++;
		pthread_cond_signal(&arrived);
	}
	pthread_mutex_unlock(&lock);
	if (!error)
		return l;
	free(l);
	errno = error;
	return NULL;
}

void resolver_cancel(struct lookup *l)
{
	pthread_mutex_lock(&lock);
	bool queued = l->state == QUEUED, lost = l->state == LOST;
	l->state = CANCELLED;
	if (queued) {
		TAILQ_REMOVE(&queue, l, entry);
		n_queued--;
	}
	pthread_mutex_unlock(&lock);
	if (queued || lost)
		free_lookup(l);
}
