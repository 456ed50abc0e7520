/*
 * A connection of a client: TCP, or TLS 1.3 over TCP. The certificate of the server is not
 * verified, and cipher and key exchange are fixed: all servers do the same work.
 */
#ifndef BENCH_CHANNEL_H
#define BENCH_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum channel_kind {
	CHANNEL_TCP,
	CHANNEL_TLS,	    /* each connection does a full handshake */
	CHANNEL_TLS_RESUMED /* all but the first connection of a channel resume its session */
};

/* Start with {.fd = -1, .kind = KIND}. */
struct channel {
	int fd; /* -1: closed */
	enum channel_kind kind;
	bool waits_to_write; /* the last call had EAGAIN: it waits for room, not for bytes */

	/* Private. */
	bool used; /* not the first connection */
	struct ssl_st *ssl;
	struct ssl_session_st *session; /* of the last connection, to be resumed */
};

/*
 * Connect to PORT on loopback, see client_connect(). The TLS handshake is a part of the first
 * channel_send() and channel_receive(). Returns false if refused.
 */
bool channel_open(struct channel *c, unsigned short port, unsigned number, bool blocking);

/*
 * Like send(2) and recv(2). EAGAIN: nothing was transferred, try again when the socket is ready.
 * With TLS, bytes may be left that cause no event: receive until EAGAIN.
 */
ssize_t channel_send(struct channel *c, const void *bytes, size_t n);
ssize_t channel_receive(struct channel *c, void *bytes, size_t n);

/* False if the server did a full handshake where it should have resumed a session. */
bool channel_resumed_as_asked(const struct channel *c);

/* Keeps the session for the next channel_open(). */
void channel_close(struct channel *c);

/* Close, and forget the session. */
void channel_free(struct channel *c);

#endif
