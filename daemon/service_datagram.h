/*
 * The service API for datagrams, which arrive at addresses that begin with udp:. See service.h
 * first. Worker's thread. tests/integration/services/statsd.c is an example.
 *
 * service.datagram is called for each datagram. Its N bytes are valid during the call; N may be 0.
 * A datagram that is longer than limits.buffer is dropped. A drain passes on the datagrams that the
 * kernel has received, then closes the socket.
 */
#ifndef SKELD_SERVICE_DATAGRAM_H
#define SKELD_SERVICE_DATAGRAM_H

#include "service.h"

#include <netinet/in.h>

/*
 * The peer of a datagram: what datagram_send() needs for an answer. A service may keep a copy, also
 * beyond the callback, and use it in the worker that received the datagram. The fields belong to
 * the daemon.
 */
struct datagram_peer {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address;
	struct in6_addr local; /* the address that received the datagram */
	unsigned interface;    /* if `local` is a link-local address */
	uint64_t socket;       /* a number of the socket, unique in this process */
	const char *listener;
};

/*
 * Send a copy of the N BYTES to the peer TO of W, from the address that received its datagram.
 * Datagrams are sent together at the end of this turn of the event loop. Returns 0; or -1 if the
 * datagram is dropped, because it is too long, the socket is full, or a reload or a drain has
 * removed the address. While W is held (worker_hold()), a removed address can still send. The
 * network may lose a datagram for which this returned 0.
 */
int datagram_send(struct worker *w, const struct datagram_peer *to, const void *bytes, size_t n);

/* The address of the peer, a sockaddr_in or sockaddr_in6. */
const struct sockaddr *datagram_peer_address(const struct datagram_peer *p, socklen_t *length);

/* The title of the listen section that received the datagram. */
const char *datagram_listener(const struct datagram_peer *p);

#endif
