/*
 * A connection, from accept(2) or worker_connect() to close(2): a state machine. Internals for the
 * files in data/; services use service.h. Worker's thread.
 *
 * connection_handle() is the only function that runs the machine: it carries out an event, sends
 * what the service has written, and then decides about the next state and about the
 * socket events to wait for. daemon/README.md has the diagram. Callbacks run inside
 * connection_handle(). The functions of the API that they call only gather or queue bytes,
 * change the state to CLOSING or ENDED, and schedule another event; they never free a connection
 * and never call a callback.
 */
#ifndef SKELD_CONNECTION_H
#define SKELD_CONNECTION_H

#include "data/worker.h"
#include "service_outgoing.h"

#include <event2/buffer.h>
#include <event2/event_struct.h>
#include <netinet/in.h>

enum connection_state {
	CONNECTING,	     /* outgoing: no socket yet; what is written is queued */
	AWAITS_PROXY_HEADER, /* `opened` follows when the header is complete, without TLS */
	AWAITS_TLS,	     /* `opened` follows when the handshake is complete */
	OPEN,		     /* the service receives and answers */
	CLOSING,	     /* `data` is not called any more; what is written will be sent */
	LINGERING,	     /* all is sent; wait until the peer has received it or closes */
	ENDED,		     /* close the socket at the end of connection_handle() */
	CLOSED		     /* no socket, but the service holds the connection */
};

enum connection_event {
	ACCEPTED,   /* or connected */
	READABLE,   /* or an error of the socket, or the peer's end */
	WRITABLE,   /* or the service wrote, closed or released outside of connection_handle() */
	DRAIN,	    /* answer every received request, then close */
	GRACE_OVER, /* see GRACE_MS */
	TIMED_OUT,  /* no header, no handshake, or no activity for limits.idle_timeout */
	CHECK,	    /* in LIST_ENDING: does the peer make progress? */
	CUT	    /* close now: ORDER_CLOSE */
};

struct connection {
	int fd;		      /* -1 if CONNECTING or CLOSED */
	uint32_t accepted_at; /* worker->now, seconds */
	struct event event;
	struct worker *worker;
	const struct protocol *protocol;
	union {
		const char *listener;	     /* accepted: title of the listen section */
		struct connector *connector; /* outgoing: NULL unless CONNECTING */
	};
	struct tls_session *tls; /* NULL: a plain connection */
	void *service_data;
	struct evbuffer *in;	       /* received and not consumed; NULL if empty */
	struct evbuffer *out;	       /* written (encrypted) and not sent; NULL if empty */
	TAILQ_ENTRY(connection) entry; /* in worker->lists[list]; N_LISTS: in none */
	union {
		sa_family_t family;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} peer;		    /* the client, if a PROXY header names one; AF_UNSPEC if CONNECTING */
	uint32_t active_at; /* worker->now of the last activity or change of list */
	unsigned holds;	    /* calls of connection_hold() minus connection_release() */
	union {
		unsigned unread;	  /* draining: bytes to read before the end */
		uint32_t lingering_since; /* LINGERING: worker->now */
	};
	union {
		uint32_t buffer_limit; /* see connection_buffer_limit() */
		uint32_t unreceived;   /* in LIST_ENDING: unsent and unacknowledged bytes */
	};
	uint32_t debt;		  /* KiB in `in` and `out`, as counted in worker->buffered */
	uint8_t state;		  /* enum connection_state */
	uint8_t list;		  /* enum list_index */
	uint8_t reason;		  /* enum close_reason, valid from CLOSING on */
	uint8_t awaited;	  /* EV_READ and EV_WRITE, or LOSS: see wait_for() */
	bool closed_due : 1;	  /* `closed` is still to be called */
	bool outgoing : 1;	  /* made by worker_connect() */
	bool in_grace_period : 1; /* draining: was active lately, may send one more request */
	bool peer_ended : 1;	  /* the peer sends no more: its FIN was read */
	bool offer_again : 1;	  /* call `data` with the unconsumed bytes once `out` has room */
	bool blocked : 1;	  /* the socket takes no more bytes: wait for EV_WRITE */
	bool paused : 1;	  /* connection_read_pause() */
	bool wants_room : 1;	  /* call `writable` once `out` has room */
	bool called_ended : 1;	  /* `ended` was called */
	bool called_ending : 1;	  /* `ending` was called */
	bool shutting_down : 1;	  /* connection_shutdown(): nothing more is written */
	bool shut_down : 1;	  /* and the FIN was sent */
	bool aborted : 1;	  /* bytes were discarded: no close_notify */
	bool is_unix : 1;	  /* of the socket; a PROXY header may differ */
	int16_t error;		  /* errno, or a negative error of getaddrinfo(3); 0: none */
	uint64_t received, sent;  /* bytes, for the log */
};

/* The memory of an idle connection. */
_Static_assert(sizeof(struct connection) <= sizeof(struct event) + 152,
	       "an idle connection must stay small");

/*
 * A request may be in the network when a drain begins. A connection that was active within the last
 * second or two may therefore send one more request within GRACE_MS, so that its client does not
 * lose a request that crosses with the close.
 */
enum { GRACE_MS = 200 };

/* The time limit for a PROXY header and a TLS handshake together, and for an outgoing connection to
 * be made. */
enum { OPENING_SECONDS = 5 };

/*
 * A connection that is CLOSING or LINGERING ends early if its peer acknowledges no byte for
 * STALL_SECONDS. A drain ends at drain_timeout; otherwise a connection lingers for
 * LINGER_SECONDS at most. Lingering connections are checked every LINGER_CHECK_MS in the first
 * second, and all connections in LIST_ENDING once a second.
 */
enum { STALL_SECONDS = 5, LINGER_SECONDS = 30, LINGER_CHECK_MS = 50 };

static inline size_t buffered(const struct evbuffer *b)
{
	return b ? evbuffer_get_length(b) : 0;
}

/* The beginning, data/connection_new.c. */

/* How the connections of a listen section begin. */
struct opening {
	const char *title;	      /* of the section, kept by worker_keep_title() */
	bool proxied;		      /* with a PROXY header */
	const struct tls_server *tls; /* then with a TLS handshake; NULL: without */
	struct tls_sites *sites;      /* that has `tls`; the acceptor owns a reference */
};

/* Take over FD, which was accepted from L. The caller has counted it in workers->n_connections. */
void connection_accept(struct worker *w, int fd, const struct sockaddr_storage *peer,
		       const struct listener *l, const struct opening *o);

/* The machine, data/connection.c. */

/* Assign the event for the socket, to wait for WHAT. It must not be added. */
void connection_assign_event(struct connection *c, short what);

/* Run the machine. May free C. */
void connection_handle(struct connection *c, enum connection_event event);

/* The parts of the machine that service_api.c shares, data/connection_io.c. */

/* limits.buffer. A lowered limit does not apply while the connection has that many unconsumed bytes
 * or more. */
size_t connection_buffer_limit(struct connection *c);

/* Record activity: a request was consumed, or bytes were sent. */
void connection_mark_active(struct connection *c);

/* Move C to the end of another list. */
void connection_move(struct connection *c, enum list_index list);

/* Handle WRITABLE in this turn of the loop. Not needed, and ignored, while C's machine runs. */
void connection_schedule(struct connection *c);

/* From AWAITS_PROXY_HEADER or OPEN to CLOSING, from CONNECTING to ENDED, for REASON. */
void connection_begin_close(struct connection *c, enum close_reason reason);

/* To ENDED, for REASON unless the connection was closing already. */
void connection_end(struct connection *c, enum close_reason reason);
void connection_fail_no_memory(struct connection *c);
void connection_fail_errno(struct connection *c, const char *call); /* CALL: "send" or "receive" */
/* The connection cannot be made. ERROR: see connection->error. */
void connection_fail_connect(struct connection *c, int error);

/*
 * Send a copy of BYTES, see connection_write(). If C's machine runs, small pieces are gathered in
 * the worker's buffer; for any other connection, they are queued. Both are sent in one piece, at
 * the end of connection_handle(). Returns false if C has failed.
 */
bool connection_send(struct connection *c, const void *bytes, size_t n);

/* Send what is gathered or queued, as far as the socket takes it. The queue keeps the rest. */
void connection_flush(struct connection *c);

/*
 * Decrypt N received BYTES to worker->tls.plain. What the protocol answers is sent by the next
 * connection_flush(). C may be ENDED, see connection_account().
 */
enum tls_status connection_decrypt(struct connection *c, const char *bytes, size_t n);

/* Send close_notify to a TLS client that has received all other bytes, as far as possible. */
void connection_end_tls(struct connection *c);

/*
 * Account for the bytes in c->in and c->out, and for the TLS session. If the worker's part of
 * limits.memory is exceeded, end the connections with the most bytes; C may be one of them. The
 * state is ENDED then, and the memory is free, except for bytes that `data` is using.
 */
void connection_account(struct connection *c);

/* Must a connection with unsent bytes stop reading, because memory is short? */
bool connection_is_memory_short(const struct worker *w);

/* Append N received bytes to c->in. */
void connection_store(struct connection *c, const char *bytes, size_t n);

/* Free the empty buffers of an idle connection, or ALL buffers of a closed one. */
void connection_free_buffers(struct connection *c, bool all);

#endif
