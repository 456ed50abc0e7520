/*
 * A connector connects a socket: it looks up the name, then tries one address after the other,
 * families alternating, without waiting longer than NEXT_MS for each (RFC 8305). The first
 * connection wins. There is no time limit: the caller frees the connector. Worker's thread.
 */
#ifndef SKELD_CONNECTOR_H
#define SKELD_CONNECTOR_H

#include "base/address.h"
#include "data/worker.h"

enum { NEXT_MS = 250 };

struct connector;

/*
 * DONE is called in a later turn of the loop with a connected, non-blocking socket, which it owns,
 * and the address of the peer; or with -1 and ERROR, an errno, or a negative error of
 * getaddrinfo(3). The connector is freed then.
 */
typedef void connector_done(void *arg, int fd, const struct address *peer, int error);

/* ADDRESS is "host:port", where host may be a name, "[v6]:port" or "unix:/path". Returns NULL and
 * errno; EINVAL: malformed. */
struct connector *connector_new(struct worker *w, const char *address, connector_done *done,
				void *arg);

/* Give up: DONE is not called. C may be NULL. */
void connector_free(struct connector *c);

/* Close the socket of an unused connection. The peer may have accepted it: reset it, so that the
 * peer does not take it for an empty stream. */
void connector_discard(int fd);

#endif
