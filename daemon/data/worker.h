/*
 * The state of one worker, and small functions for all files that run on its thread: counters,
 * rate-limited warnings, reports to the control plane. The thread itself is data/worker_loop.c. The
 * control plane uses data/workers.h.
 *
 * All fields belong to the worker's thread unless a comment names another owner. A worker never
 * reads or writes the state of another worker, but it may add to its queue of posts.
 */
#ifndef SKELD_WORKER_H
#define SKELD_WORKER_H

#include "base/compat.h"
#include "data/post.h"
#include "data/snapshot.h"
#include "metrics/registry.h"
#include "service.h"

#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

enum { SCRATCH_SIZE = 65536 }; /* the most bytes that one recv(2) returns */
enum { CACHE_LINE = 64 };      /* bytes, on most processors */
enum { GATHER_SIZE = 65536 };  /* see worker->gathered */

/* Why a connection ended, in the order of close_reasons[]. */
enum close_reason {
	CLOSED_BY_PEER,
	CLOSED_BY_SERVICE,
	CLOSED_ERROR,	 /* reset, or another error of the socket */
	CLOSED_IDLE,	 /* limits.idle_timeout */
	CLOSED_OVERFLOW, /* a request larger than limits.buffer */
	CLOSED_LIMIT,	 /* limits.connections */
	CLOSED_MEMORY,	 /* limits.memory */
	CLOSED_PROXY,	 /* no valid PROXY header where one is expected */
	CLOSED_TLS,	 /* the TLS handshake has failed, or a record was invalid */
	CLOSED_DRAIN,	 /* the daemon stops, every received request was answered */
	CLOSED_DEADLINE, /* drain_timeout, or a forced stop */
	N_CLOSE_REASONS
};
extern const char *const close_reasons[N_CLOSE_REASONS];

/* Why a datagram was not received or sent, in the order of drop_reasons[]. */
enum drop_reason {
	DROPPED_KERNEL,	   /* the queue of the socket was full */
	DROPPED_TRUNCATED, /* larger than limits.buffer */
	DROPPED_SEND,	   /* the socket did not take it, or is gone */
	N_DROP_REASONS
};
extern const char *const drop_reasons[N_DROP_REASONS];

/*
 * Counters of the daemon in worker->counters. Behind them, each row of service.metrics has one
 * slot: a counter, or as the bits of a double the value of a gauge or the sum of a histogram. Then
 * each row has HISTOGRAM_BUCKETS slots, which only a histogram uses.
 */
enum counter {
	COUNT_ACCEPTED,
	COUNT_RECEIVED,	 /* bytes */
	COUNT_SENT,	 /* bytes */
	COUNT_CONNECTED, /* outgoing connections that were made */
	COUNT_CONNECT_FAILED,
	COUNT_OUTGOING_RECEIVED, /* bytes */
	COUNT_OUTGOING_SENT,	 /* bytes */
	COUNT_BUFFERED, /* a gauge: bytes of the connections that are unsent or unconsumed */
	COUNT_TLS,	/* handshakes, + enum tls_result */
	COUNT_TLS12 = COUNT_TLS + N_TLS_RESULTS, /* complete handshakes of this version */
	COUNT_TLS13,
	COUNT_DATAGRAMS_RECEIVED,
	COUNT_DATAGRAMS_SENT,
	COUNT_DATAGRAMS_DROPPED,				 /* + enum drop_reason */
	COUNT_CLOSED = COUNT_DATAGRAMS_DROPPED + N_DROP_REASONS, /* + enum close_reason */
	N_COUNTERS = COUNT_CLOSED + N_CLOSE_REASONS
};

/* Orders of the control plane to a worker. Bits that are only ever set. */
enum order { ORDER_DRAIN = 1, ORDER_CLOSE = 2, ORDER_QUIT = 4 };

/* The lists of a worker's connections. */
enum list_index {
	LIST_OPENING, /* CONNECTING, AWAITS_PROXY_HEADER or AWAITS_TLS; the oldest first */
	LIST_ACTIVE,  /* the least recently active first */
	LIST_ENDING,  /* CLOSING and not held, or LINGERING */
	LIST_CLOSED,  /* CLOSED and held */
	N_LISTS
};

/* A title of a listen section that connections refer to. */
struct kept_title {
	struct kept_title *next;
	char text[];
};

TAILQ_HEAD(connection_list, connection);
TAILQ_HEAD(acceptor_list, acceptor);

struct worker {
	struct workers *workers;
	unsigned index;
	pthread_t thread;
	struct event_base *base;
	struct event *wake, *tick, *resume_accepting, *check, *turn_over;

	/* Shared with the control plane. */
	alignas(CACHE_LINE) int wake_fd;	  /* eventfd: look at the fields below */
	_Atomic(struct snapshot *) next_snapshot; /* a reference; the worker replaces it by NULL */
	_Atomic unsigned orders;		  /* enum order */
	_Atomic uint64_t pings, pings_answered;
	double pinged_at; /* time of the last ping, monotonic seconds; only the control plane */
	_Atomic uint64_t generation; /* of the snapshot in use */
	_Atomic bool drained;	     /* draining, and nothing is left to finish */
	_Atomic bool ended;	     /* the thread returns now: pthread_join(3) does not block */

	/* Any thread adds to it. */
	alignas(CACHE_LINE) struct post_queue posts;

	/* Used all the time, by this thread only. */
	alignas(CACHE_LINE) struct snapshot *snapshot; /* in use */
	unsigned orders_done;			       /* enum order */
	struct acceptor_list acceptors;
	struct datagrams *datagrams; /* see data/datagram.h; NULL: no udp: address so far */
	struct connection_list lists[N_LISTS];
	size_t n_connections; /* in the lists */
	size_t holds;	      /* calls of worker_hold() minus worker_release() */
	uint32_t now;	      /* seconds since the worker started, counted by `tick` */
	void *service_data;
	struct kept_title *titles;  /* never removed: a connection may outlive its listener */
	_Atomic uint64_t *counters; /* written by this worker only, read by any thread */
	char *scratch;		    /* receive buffer */
	char *gathered;		    /* bytes that the callback of `running` has written */
	size_t n_gathered;
	struct tls_io tls;	    /* of all sessions; allocated with the first one */
	unsigned n_handshakes;	    /* begun in this turn of the loop */
	size_t buffered;	    /* the sum of connection->debt, KiB */
	struct connection *running; /* its connection_handle() runs; NULL: none */
};

/* The kinds of repeated warnings. */
enum warning {
	WARN_LIMIT,
	WARN_OUTGOING,
	WARN_ACCEPT,
	WARN_HEADER,
	WARN_TLS,
	WARN_MEMORY,
	WARN_RELEASE,
	WARN_DEBT,
	N_WARNINGS
};

/* Shared by all workers. */
struct workers {
	const struct service *service;
	int progress_fd; /* eventfd of the control plane, not owned */
	/* Written by all workers, so apart from what they only read. */
	alignas(CACHE_LINE) _Atomic size_t n_connections; /* accepted: open or held */
	_Atomic size_t n_outgoing;			  /* the same of worker_connect() */
	_Atomic uint64_t n_cut_off;    /* connections that a drain closed unfinished */
	_Atomic uint64_t unsent_bytes; /* written to them, and not acknowledged by the peer */
	sem_t started;		       /* posted by each worker once it serves or has failed */
	struct {
		_Atomic int64_t not_before;  /* now_ns() of the next one */
		_Atomic unsigned suppressed; /* since the last one */
	} warning[N_WARNINGS];
	unsigned n_workers, n_started; /* n_started: threads that were created */
	size_t n_rows;		       /* of service.metrics */
	struct worker worker[];
};

/* Add N to a counter of W: enum counter, or N_COUNTERS + row of service.metrics. No other thread
 * writes it, so a load and a store suffice. */
static inline void worker_add(struct worker *w, size_t counter, uint64_t n)
{
	uint64_t v = atomic_load_explicit(&w->counters[counter], memory_order_relaxed);
	atomic_store_explicit(&w->counters[counter], v + n, memory_order_relaxed);
}

/* The slot of bucket 0 of a histogram. */
static inline size_t first_bucket(const struct workers *ws, size_t row)
{
	return N_COUNTERS + ws->n_rows + row * HISTOGRAM_BUCKETS;
}

/* A slot that holds the bits of a double. Any thread may read it, its worker writes it. */
static inline double worker_number(const struct worker *w, size_t counter)
{
	uint64_t bits = atomic_load_explicit(&w->counters[counter], memory_order_relaxed);
	double v;
	memcpy(&v, &bits, sizeof(v));
	return v;
}

static inline void worker_set_number(struct worker *w, size_t counter, double v)
{
	uint64_t bits;
	memcpy(&bits, &v, sizeof(bits));
	atomic_store_explicit(&w->counters[counter], bits, memory_order_relaxed);
}

/* The worker drains: close each connection when every received request is answered. */
static inline bool worker_drains(const struct worker *w)
{
	return w->orders_done & ORDER_DRAIN;
}

/* Returns true at most once a second for each kind, for all workers together, and in SUPPRESSED how
 * often it returned false since then: the warning reports it. */
bool worker_may_warn(const struct worker *w, enum warning kind, unsigned *suppressed);

/* Warn that this worker closes connections for lack of memory. */
void worker_warn_no_memory(struct worker *w);

/* Returns a copy of TITLE that is valid as long as W, or "" if out of memory. */
const char *worker_keep_title(struct worker *w, const char *title);

/* Wake the control plane: a field that it shares with this worker has changed. */
void worker_report_progress(const struct worker *w);

/* A connection, hold or acceptor has ended: report to the control plane if the drain is over. */
void worker_report_if_drained(struct worker *w);

/* Call connection_list_check() in MS milliseconds (below 1000), unless a call is scheduled. */
void worker_schedule_check(struct worker *w, int ms);

#endif
