/*
 * The service API for connections to servers, and for services that pass bytes on. See service.h
 * first. Worker's thread. tests/integration/services/proxy.c is an example.
 *
 * A host name is looked up for each connection, and no answer is kept: while DNS fails, connections
 * to a name fail, too. To survive that, configure addresses, names in /etc/hosts, or a caching
 * resolver on the host that serves old answers.
 */
#ifndef SKELD_SERVICE_OUTGOING_H
#define SKELD_SERVICE_OUTGOING_H

#include "service.h"

/*
 * Connect to ADDRESS: "host:port", where host may be a name, "[v6]:port" or "unix:/path". Returns a
 * connection with the callbacks of P and with connection_data() DATA, to which may be written at
 * once. `opened` is called when it is made, within 5 seconds. If it fails, only `closed` is called,
 * and connection_error() has the reason. The addresses of a name are tried in turn. Returns NULL
 * and errno: EINVAL, the address is malformed; EAGAIN, limits.outgoing is reached; ESHUTDOWN, the
 * daemon stops; ENOMEM. In a drain, it is closed like an accepted connection, as soon as it has
 * nothing to send: hold it while an answer is awaited.
 */
struct connection *worker_connect(struct worker *w, const char *address, const struct protocol *p,
				  void *data);

/* Why C has failed, for example "Connection refused"; "" if it has not. */
const char *connection_error(const struct connection *c);

/* Send no more: when the output queue is sent, the peer sees the end of the stream. C still
 * receives. connection_write() fails from now on. */
void connection_shutdown(struct connection *c);

/*
 * Stop and resume reading from the peer of C. A service with the callback `writable` pauses C while
 * the connection that C's bytes go to has a full queue: connection_write() has returned 1 for it,
 * and its `writable` resumes C. While reading is paused, the end of the stream is not noticed, but
 * a reset is.
 */
void connection_read_pause(struct connection *c);
void connection_read_resume(struct connection *c);

#endif
