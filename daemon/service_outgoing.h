/*
 * The service API for connections to servers, for example of a proxy. See service.h first.
 * Worker's thread. tests/integration/services/proxy.c is an example.
 *
 * The daemon looks up a host name for each connection, and keeps no answer: while DNS fails, so do
 * connections to a name. To avoid that, configure addresses, names in /etc/hosts, or a caching
 * resolver on the host that serves expired answers.
 */
#ifndef SKELD_SERVICE_OUTGOING_H
#define SKELD_SERVICE_OUTGOING_H

#include "service.h"

/*
 * Connect to ADDRESS: "host:port", where host may be a name, "[v6]:port" or "unix:/path". The
 * addresses of a name are tried in turn. Returns a connection with the callbacks of P and with
 * connection_data() DATA; the service may write to it at once. `opened` is called when the peer has
 * accepted the connection. If that fails or takes more than 5 seconds, only `closed` is called, and
 * connection_error() has the reason. connection_close() before `opened` discards what was written:
 * to send bytes and close, call it in `opened`. Returns NULL and errno: EINVAL, the address is
 * malformed; EAGAIN, limits.outgoing is reached; ESHUTDOWN, the daemon stops; ENOMEM.
 *
 * A drain closes the connection like an accepted one, as soon as it has nothing to send: hold the
 * connection while the service waits for an answer.
 */
struct connection *worker_connect(struct worker *w, const char *address, const struct protocol *p,
				  void *data);

/* Why C has failed, for example "Connection refused"; "" if it has not. Before `opened`, C has no
 * address: connection_peer() returns NULL, and connection_log() begins the line with ?:0. */
const char *connection_error(const struct connection *c);

/* Send no more: when the output queue is sent, the peer sees the end of the stream. C still
 * receives. connection_write() fails from now on. */
void connection_shutdown(struct connection *c);

/*
 * Pause and resume reading from the peer of C. A service that copies the bytes of C to another
 * connection pauses C when connection_write() to the other one returns 1, and resumes C in the
 * callback `writable` of the other one. While reading is paused, the daemon does not notice the end
 * of the stream, but it notices a reset.
 */
void connection_read_pause(struct connection *c);
void connection_read_resume(struct connection *c);

#endif
