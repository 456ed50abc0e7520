/*
 * A connection, as those see it whom its life goes through: data/opening.c, connection.c,
 * closing.c, connections.c (all of a worker), and seam.c (what services call).
 */
#ifndef SKELD_CONNECTION_H
#define SKELD_CONNECTION_H

#include "data/worker.h"

#include <event2/buffer.h>
#include <netinet/in.h>

struct connection {
	int fd;		 /* -1: closed, and held by the service */
	uint32_t opened; /* worker->now when it was accepted */
	struct event event;
	struct worker *worker;
	void *data;		       /* the service's */
	struct evbuffer *in, *out;     /* not consumed, not sent; made when needed */
	TAILQ_ENTRY(connection) entry; /* in a queue of the worker's, see connection_queue() */
	union {
		sa_family_t family;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} peer;		      /* the client's, where a PROXY header tells it */
	uint32_t seen;	      /* worker->now when it was last not idle, see connection_touch() */
	unsigned holds;	      /* by the service */
	unsigned owed;	      /* draining: bytes received before it began, and not read yet */
	uint32_t limit;	      /* the last one that limit_of() found; at most 1 GiB */
	uint8_t why;	      /* enum close_reason, once closing or broken */
	bool entered : 1;     /* below settle() on the stack */
	bool waits_write : 1; /* interest of the event */
	bool waits_read : 1;
	bool ended : 1;	      /* the peer will send no more */
	bool offer_again : 1; /* the service left something that waits for no more bytes */
	bool closing : 1;     /* no more data for the service; close when all is sent */
	bool broken : 1;      /* close now */
	bool draining : 1;    /* close when all that was received is answered */
	bool over : 1;	      /* the service was told, or never knew of it */
	bool lingers : 1;
	bool fresh : 1;	   /* draining: it moved a moment ago, a request may be under way */
	bool stranger : 1; /* its PROXY header has not come: the service does not know of it */
	bool local : 1;	   /* by a unix socket, whoever the peer is */
	uint64_t received, sent; /* bytes, for the log */
};

/* An idle connection is this: with its counters no larger than it would be to malloc(3) without. */
_Static_assert(sizeof(struct connection) <= sizeof(struct event) + 120, "it should stay small");

static inline size_t queued(const struct evbuffer *b)
{
	return b ? evbuffer_get_length(b) : 0;
}

/* One that is idle owns none. */
static inline void buffer_drop(struct evbuffer **b)
{
	if (*b)
		evbuffer_free(*b);
	*b = NULL;
}

/* limits.buffer; one that is lowered does not close those who hold more already. */
static inline size_t limit_of(struct connection *c)
{
	size_t limit = (size_t)c->worker->snapshot->config->limits.buffer;
	if (c->limit <= limit || queued(c->in) < limit)
		c->limit = (uint32_t)limit;
	return c->limit;
}

/*
 * A drain does not know what is still in the network. So a connection on which something moved
 * within the last second or two may send one more request, for so long: then its end comes with an
 * answer, rather than as the only answer to what the client has just sent.
 */
enum { FRESH_MS = 200 };

/* For how long a connection may keep its PROXY header back. */
enum { PROXY_SECONDS = 5 };

/* Those that linger are looked at every LINGER_LOOK_MS, for LINGER_SECONDS at most. */
enum { LINGER_SECONDS = 2, LINGER_LOOK_MS = 50 };

/* The one of its worker's queues that it is in. */
static inline struct connections *connection_queue(struct connection *c)
{
	struct worker *w = c->worker;
	return c->lingers ? &w->lingering : c->stranger ? &w->strangers : &w->busy;
}

/* opening.c: it may be used: tell the service. */
void connection_open(struct connection *c);

/* opening.c: N bytes of a stranger, all that came. Returns how many of them were its header. */
size_t connection_introduce(struct connection *c, const char *bytes, size_t n);

/* opening.c: over, since it did not say who it is: WHAT came instead. */
void connection_reject(struct connection *c, const char *what);

/* connection.c: its event. */
void connection_event(evutil_socket_t fd, short what, void *arg);

/* connection.c: wait for these. False: the kernel will not watch it. */
bool connection_await(struct connection *c, bool read, bool write);

/* connection.c: go as far as can be gone without waiting. READABLE: a read may find something. */
void connection_advance(struct connection *c, bool readable);

/* connection.c: the daemon drains: answer what was received, then close. */
void connection_drain(struct connection *c);

/* connection.c: go as far as can be gone with all that the kernel has received by now. */
void connection_take_owed(struct connection *c);

/* connection.c: it is not idle: a request was taken, or something was sent. */
void connection_touch(struct connection *c);

/* connection.c: have it settled in the next turn of the loop, unless that happens anyway. */
void connection_settle_soon(struct connection *c);

/* closing.c: over, for this reason unless there was one before; settled later. */
void connection_fail(struct connection *c, enum close_reason why);

/* closing.c: the same, for lack of memory, and said in the log. */
void connection_fail_short(struct connection *c);

/* closing.c: the same, because it cannot WHAT ("send"): for the reason in errno. */
void connection_fail_io(struct connection *c, const char *what);

/* closing.c: is there something that the peer's kernel has not taken, or that was not read? */
bool connection_is_busy(const struct connection *c);

/* closing.c: all is written: close it, once the peer has taken it or has had time to. */
void connection_finish(struct connection *c);

/* closing.c: the peer of one that lingers said something. */
void connection_linger(struct connection *c);

/* closing.c: close it, tell the service, and free it unless it is held. */
void connection_destroy(struct connection *c);

#endif
