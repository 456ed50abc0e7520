/*
 * One worker, as the rooms' own files see it. The control plane uses data/plane.h.
 *
 * All fields belong to the worker's thread, but for those that say otherwise.
 */
#ifndef SKELD_WORKER_H
#define SKELD_WORKER_H

#include "data/snapshot.h"
#include "service.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

enum { SCRATCH_SIZE = 65536 }; /* bytes: what one read(2) takes at most */

/* Why a connection ended; in the order of close_reasons[]. */
enum close_reason {
	CLOSED_BY_PEER,
	CLOSED_BY_SERVICE,
	CLOSED_ERROR,	 /* reset, or another error of the socket */
	CLOSED_IDLE,	 /* idle_timeout */
	CLOSED_OVERFLOW, /* a request larger than limits.buffer */
	CLOSED_LIMIT,	 /* limits.connections: turned away */
	CLOSED_PROXY,	 /* no PROXY header where one is expected */
	CLOSED_DRAIN,	 /* everything answered, the daemon stops */
	CLOSED_DEADLINE, /* drain_timeout, or a forced stop */
	N_CLOSE_REASONS
};
extern const char *const close_reasons[N_CLOSE_REASONS];

/* A worker's own counters, then the service's rows. Written by their worker alone. */
enum counter {
	COUNT_ACCEPTED,
	COUNT_RECEIVED, /* bytes */
	COUNT_SENT,	/* bytes */
	COUNT_CLOSED,	/* the first of N_CLOSE_REASONS */
	N_COUNTERS = COUNT_CLOSED + N_CLOSE_REASONS
};

/* What the control plane asks for; bits, never taken back. */
enum order { ORDER_DRAIN = 1, ORDER_CLOSE = 2, ORDER_QUIT = 4 };

TAILQ_HEAD(connections, connection);

struct acceptor {
	struct worker *worker;
	struct listener *listener;
	struct event event;
	bool leaving; /* removed, but there was no descriptor to empty it with */
	bool proxy;   /* what it accepts begins with a PROXY header */
	TAILQ_ENTRY(acceptor) entry;
};
TAILQ_HEAD(acceptors, acceptor);

struct worker {
	struct plane *plane;
	unsigned index;
	pthread_t thread;
	struct event_base *base;
	struct event *wake, *tick, *recover, *look;

	/* Between the control plane and this worker. */
	int wake_fd;			  /* eventfd: there is something below */
	_Atomic(struct snapshot *) next;  /* to be taken; the worker puts NULL */
	_Atomic unsigned orders;	  /* enum order */
	_Atomic uint64_t asked, answered; /* "are you there", and the last one answered */
	double asked_at;		  /* the control plane's: when, monotonic seconds */
	_Atomic uint64_t generation;	  /* the one in use */
	_Atomic bool drained;
	_Atomic bool ended;

	struct snapshot *snapshot;
	unsigned done; /* orders that were carried out */
	struct acceptors acceptors;
	struct connections strangers; /* their PROXY header has not come; the oldest first */
	struct connections busy;      /* all others, who moved least recently first */
	struct connections lingering; /* nothing to say any more, the peer has to take it */
	size_t n_connections, holds;
	uint32_t now; /* seconds, counted by tick */
	/* When these were last logged. */
	uint32_t warned_limit, warned_rest, warned_proxy, warned_short;
	uint64_t turned_away;
	void *data; /* the service's */
	_Atomic uint64_t *counters;
	char *scratch;
};

struct plane {
	const struct service *service;
	int notify_fd;		  /* eventfd of the control plane: a worker has news */
	_Atomic size_t open;	  /* connections over all workers */
	_Atomic uint64_t cut_off; /* connections closed before they were finished */
	sem_t started;		  /* posted by each worker once it serves, or cannot */
	unsigned n_workers, n_started;
	size_t n_counters;
	struct worker worker[];
};

static inline void worker_add(struct worker *w, size_t counter, uint64_t n)
{
	uint64_t v = atomic_load_explicit(&w->counters[counter], memory_order_relaxed);
	atomic_store_explicit(&w->counters[counter], v + n, memory_order_relaxed);
}

/* worker.c. Returns 0, or an errno. */
int worker_init(struct worker *w, struct plane *plane, unsigned index);
void worker_free(struct worker *w);
int worker_start(struct worker *w); /* the thread; its first snapshot stands in `next` */

/* At most one line of a kind a second. SAID: when the last one was, 0 never. */
bool worker_may_warn(const struct worker *w, uint32_t *said);

/* Something ended: if it was the last that a drain waits for, tell the control plane. */
void worker_check_drained(struct worker *w);

/* Warn that a connection is lost for lack of memory. */
void worker_tell_short(struct worker *w);

/* Have connections_look() called in MS milliseconds, unless it is about to be called anyway. */
void worker_look_in(struct worker *w, int ms);

/* acceptor.c: take connections from LISTENERS of the snapshot, and only those. */
void acceptors_update(struct worker *w, const struct snapshot *s);
void acceptors_catch_up(struct worker *w, struct snapshot *s); /* first: what it has skipped */
void acceptors_recover(struct worker *w);
void acceptors_abandon(struct worker *w); /* all, whatever waits there */

/* opening.c: from one of A's sockets. */
void connection_accept(const struct acceptor *a, int fd, const struct sockaddr_storage *peer);

/* connections.c */
void connections_tick(struct worker *w);  /* once a second: idle ones */
void connections_look(struct worker *w);  /* those that may have had their time */
void connections_drain(struct worker *w); /* close what is idle, finish the others */
void connections_close(struct worker *w); /* all, now */

#endif
