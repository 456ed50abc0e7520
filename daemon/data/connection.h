/*
 * An accepted connection, from accept(2) to close(2). Internals for the files in data/; services
 * use service.h. Worker's thread.
 *
 * Every event and every callback of the service is followed by settle(), until the connection
 * lingers or is closed. This function alone decides for which events the connection waits and when
 * it closes. Callbacks call the functions of service.h: these only send or queue bytes, set flags
 * and schedule settle(). They never free the connection.
 */
#ifndef SKELD_CONNECTION_H
#define SKELD_CONNECTION_H

#include "data/worker.h"

#include <event2/buffer.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdarg.h>

struct connection {
	int fd;		      /* -1: closed, but the service still holds the connection */
	uint32_t accepted_at; /* worker->now, seconds */
	struct event event;
	struct worker *worker;
	void *service_data;
	struct evbuffer *in;	       /* received and not consumed; NULL if empty */
	struct evbuffer *out;	       /* written and not sent; NULL if empty */
	TAILQ_ENTRY(connection) entry; /* in one list of the worker, see list_of() */
	union {
		sa_family_t family;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} peer;		       /* the client, if a PROXY header names one */
	uint32_t active_at;    /* worker->now of the last activity or change of list */
	unsigned holds;	       /* calls of connection_hold() minus connection_release() */
	unsigned unread;       /* draining: bytes to read before the connection may close */
	uint32_t buffer_limit; /* see connection_buffer_limit() */
	uint8_t reason;	       /* enum close_reason, valid once closing or broken */
	bool is_advancing : 1; /* settle() or connection_destroy() follows anyway */
	bool wants_write : 1;  /* the event waits for EV_WRITE */
	bool wants_read : 1;   /* the event waits for EV_READ */
	bool peer_ended : 1;   /* the peer sends no more (FIN) */
	bool offer_again : 1;  /* call `data` with the unconsumed bytes once `out` has room */
	bool closing : 1;      /* `data` is not called any more; close when all is sent */
	bool broken : 1;       /* close now */
	bool draining : 1;     /* close when every received request is answered */
	bool reported : 1;     /* `closed` was called, or `opened` was not: do not call `closed` */
	bool lingering : 1;    /* all is sent; wait until the peer has received it or closes */
	bool in_grace_period : 1; /* draining: was active lately, may send one more request */
	bool awaits_proxy_header : 1;
	bool is_unix : 1;	 /* the socket; a PROXY header may name another family */
	uint64_t received, sent; /* bytes, for the log */
};

/* The memory of an idle connection, which scripts/bench measures. */
_Static_assert(sizeof(struct connection) <= sizeof(struct event) + 120,
	       "an idle connection must stay small");

/*
 * A request may be in the network when a drain begins. A connection that was active within the last
 * second or two may therefore send one more request within GRACE_MS, so that its client does not
 * lose a request that crosses with the close.
 */
enum { GRACE_MS = 200 };

/* The time limit for a PROXY header. */
enum { PROXY_HEADER_SECONDS = 5 };

/* A lingering connection is checked every LINGER_CHECK_MS, for LINGER_SECONDS at most. */
enum { LINGER_SECONDS = 2, LINGER_CHECK_MS = 50 };

static inline size_t buffered(const struct evbuffer *b)
{
	return b ? evbuffer_get_length(b) : 0;
}

/* limits.buffer. A lowered limit does not apply while the connection has that many unconsumed bytes
 * or more. */
size_t connection_buffer_limit(struct connection *c);

/*
 * Take over FD, which was accepted from L. The caller has counted it in workers->n_connections.
 * PROXIED: the connection begins with a PROXY header.
 */
void connection_accept(struct worker *w, int fd, const struct sockaddr_storage *peer,
		       const struct listener *l, bool proxied);

/* The daemon drains: answer every received request, then close. May free C. */
void connection_drain(struct connection *c);

/* Read and process all bytes that the kernel has received until now. May free C. */
void connection_read_pending(struct connection *c);

/* Record activity: a request was consumed, or bytes were sent. */
void connection_mark_active(struct connection *c);

/* Call settle() in the next turn of the loop, unless it will run anyway. */
void connection_schedule(struct connection *c);

/* Mark the connection broken, for REASON unless it was closing already. settle() destroys it. */
void connection_fail(struct connection *c, enum close_reason reason);
void connection_fail_no_memory(struct connection *c);
void connection_fail_errno(struct connection *c, const char *call); /* CALL: "send" or "receive" */

/* The same: the connection has no valid PROXY header. RECEIVED describes the bytes, for the log. */
void connection_reject_header(struct connection *c, const char *received);

/* Has the peer not acknowledged all sent bytes (SIOCOUTQ, tcp(7)), or are received bytes unread? */
bool connection_has_undelivered(const struct connection *c);

/* Close the socket, call the service's `closed`, and free C unless the service holds it. */
void connection_destroy(struct connection *c);

/* Log a line that begins with the address of the client. */
void connection_vlog(const struct connection *c, int level, const char *format, va_list ap)
	__attribute__((format(printf, 3, 0)));

#endif
