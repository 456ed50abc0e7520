/*
 * The service API: what every author of a service reads. A service is one constant structure,
 * `service`, in a file of daemon/service/. The daemon calls its callbacks, and the callbacks call
 * the functions below. A complete echo service:
 *
 *	static size_t echo_data(struct connection *c, const char *bytes, size_t n)
 *	{
 *		connection_write(c, bytes, n);
 *		return n; // bytes consumed; the daemon keeps the others and offers them again
 *	}
 *	const struct service service = {.name = "echo", .protocol.data = echo_data};
 *
 * connection_close() ends a connection. Everything else is optional; daemon/service/echo.c shows
 * an option and a metric. Further parts of the API have headers of their own:
 *
 *	service_option.h    columns and types of the table of options, included below
 *	service_metric.h    the same for metrics, included below
 *	service_thread.h    long work: threads, other workers, timers in a drain, child processes
 *	service_outgoing.h  connections to servers, for example of a proxy
 *	service_datagram.h  datagrams
 *
 * The daemon does the rest: it accepts connections, enforces limits and timeouts, buffers, pauses
 * reading while a client does not receive, reloads the configuration, drains and stops. A client
 * that has closed its sending side still receives all answers.
 *
 * THREADS. `workers` threads serve connections, each with an event loop. A connection stays on the
 * worker that accepted it. Every callback runs on the thread of the worker that it receives, or
 * that owns the connection it receives, and uses only this worker and its connections. Data that
 * workers share needs a lock or atomics. Other threads may call only the functions whose comment
 * permits it. While a callback runs, all other connections of its worker wait: it must return
 * within milliseconds.
 *
 * ERRORS. Functions that return int return 0, or -1 on failure, unless stated otherwise. A service
 * does not have to handle a failed connection_write(): the daemon closes the connection.
 *
 * OWNERSHIP. The daemon owns workers, connections and configurations. A connection is valid until
 * `closed` returns; connection_hold() extends that. No function frees a connection or calls a
 * callback: `closed` follows after the running callback has returned. The service owns the pointers
 * that it stores with worker_set_data() and connection_set_data().
 */
#ifndef SKELD_SERVICE_H
#define SKELD_SERVICE_H

#include "service_metric.h"
#include "service_option.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG */

struct worker;	      /* one thread of the data plane */
struct connection;    /* one accepted or outgoing connection */
struct event_base;    /* libevent's event loop */
struct datagram_peer; /* service_datagram.h */

enum ending_reason { ENDING_IDLE, ENDING_DRAIN };

/* The callbacks of a connection. All but `data` may be NULL. */
struct protocol {
	/* A client has connected; the header of the PROXY protocol, if any, was received. Returns
	 * 0, or -1: the connection is closed after all written bytes are sent. */
	int (*opened)(struct connection *c);

	/*
	 * BYTES are the N > 0 bytes that were received and not yet consumed, valid during the call.
	 * Returns how many of them it has consumed, from the front. The others are offered again
	 * with the next bytes, after a connection_release(), or when the output queue has shrunk.
	 * `data` is also called for a held connection: return 0 to wait.
	 *
	 * A request that is longer than limits.buffer ends the connection. So does one that is not
	 * complete within limits.idle_timeout: a connection is active when it consumes or sends.
	 *
	 * NULL: the service has no connections; only udp: addresses may be configured.
	 */
	size_t (*data)(struct connection *c, const char *bytes, size_t n);

	/* The output queue has shrunk after connection_write() has returned 1. With this callback,
	 * the daemon also reads from a connection with a full queue; see service_outgoing.h */
	void (*writable)(struct connection *c);

	/* The peer sends no more; called once. All bytes were offered to `data` before; for a held
	 * connection, the last ones follow. Without a hold, the connection is closed when all
	 * written bytes are sent. The peer may still wait for the answers: do not abort it. */
	void (*ended)(struct connection *c);

	/* The daemon drains this connection, see `drain`. May write a farewell. connection_close()
	 * here discards requests that were not yet offered to `data`, and refuses later ones. */
	void (*draining)(struct connection *c);

	/* The daemon closes this connection now, because it is idle, or because a drain has nothing
	 * left to do for it. May write last words. */
	void (*ending)(struct connection *c, enum ending_reason why);

	/* The connection has ended. Called once for each connection that was opened, also if
	 * `opened` returned -1. Writes fail. Free the connection's data. */
	void (*closed)(struct connection *c);
};

/* All but `name` and protocol.data may be NULL. */
struct service {
	const char *name; /* of the service's section in the configuration, and in the log */

	/* The options of this section and the service's metrics; a row without a name ends a table.
	 * CONFIG_SIZE is the size of the structure that the options fill with checked values. */
	const struct service_option *options;
	size_t config_size;
	const struct service_metric *metrics;

	/*
	 * Check CONFIG, the structure that the options fill, and load the files that it names: at
	 * the start, before `begin` and before root privileges are dropped; at each reload, as
	 * `user`; and for -t. Returns an object, or NULL with a reason in WHY (SIZE bytes, "" at
	 * first), which is logged with file and line of the section: the daemon does not start, or
	 * the reload is rejected. All workers share the object, see worker_loaded(), so nothing may
	 * change it. `unload` frees it when no worker uses it any more; CONFIG is valid until then.
	 *
	 * `load` runs in a helper thread, one call at a time, and may block. After 5 seconds it has
	 * failed, and reloads are rejected until it returns; then its object is unloaded. `unload`
	 * runs in any thread and must not block. Neither uses a function of the API. A crash in
	 * them ends the daemon.
	 */
	void *(*load)(const void *config, char *why, size_t size);
	void (*unload)(void *loaded);

	/*
	 * Called once in the main thread, before the first and after the last worker. `begin` runs
	 * with the dropped privileges; CONFIG is valid until it returns. It returns 0, or -1: the
	 * daemon does not start. `end` follows after the last `stop` and the last `unload`; not if
	 * a worker is stuck or `load` has not returned. The daemon waits for both without a limit.
	 */
	int (*begin)(const void *config);
	void (*end)(void);

	/* Called once in each worker, before it accepts connections and after root privileges are
	 * dropped. May add events to worker_base(). Returns 0, or -1: the daemon does not start.
	 * The daemon becomes ready when all workers have returned. */
	int (*start)(struct worker *w);

	/*
	 * Called once in each worker whose `start` succeeded, after its last connection was closed
	 * and its event loop has ended. Free what `start` allocated. All workers together have the
	 * rest of drain_timeout and 2 seconds; after a forced stop, or another stop signal, 2
	 * seconds. Then the process ends without them, with exit code 1.
	 */
	void (*stop)(struct worker *w);

	/* Called in each worker after a reload, also if no option of the service has changed; if
	 * reloads follow each other quickly, only after the last one. The old configuration and the
	 * old object are valid until this callback returns. */
	void (*reloaded)(struct worker *w);

	/*
	 * The daemon drains. Called once in each worker, before the first `draining`.
	 *
	 * Each worker accepts the connections that the kernel has completed, and closes the
	 * listeners. A connection is closed as soon as it has no unconsumed bytes, no unsent bytes
	 * and no hold; one that was active within the last second or two may send one more request
	 * within 200 ms. Hold a connection whose answer is written in parts. At drain_timeout, the
	 * others are closed unfinished, also held ones, and counted in the log. A forced stop calls
	 * `drain` and `draining`, then closes all connections.
	 */
	void (*drain)(struct worker *w);

	struct protocol protocol; /* of accepted connections */

	/* A datagram has arrived, see service_datagram.h. NULL: a udp: address is an error in the
	 * configuration. */
	void (*datagram)(struct worker *w, const struct datagram_peer *from, const char *bytes,
			 size_t n);

	/* --self-test sends PROBE and expects ANSWER, up to 1 KiB. NULL: it only connects. */
	const char *probe, *answer;
};

extern const struct service service;

/*
 * Send a copy of the N BYTES, in order. The bytes that a callback writes to its connection are sent
 * in one piece when it returns; those that other code writes, at the end of this turn of the event
 * loop; large pieces, at once. The output queue keeps the bytes that the socket does not accept.
 * Returns
 *   0: the bytes are or will be sent, unless the connection breaks before: then `closed` follows.
 *   1: the same, but the queue has reached limits.buffer. In `data`, return now: the bytes that
 *      are not consumed are offered again when the queue has shrunk. Or see `writable`.
 *  -1: the connection is broken or closing; the bytes are discarded.
 */
int connection_write(struct connection *c, const void *bytes, size_t n);

/* Close C when the output queue is sent; `data` is not called again. If the peer receives nothing
 * for 5 seconds, C is closed earlier, with reason "idle". */
void connection_close(struct connection *c);

/* Close C now. Unsent bytes are discarded; the peer sees a reset. */
void connection_abort(struct connection *c);

/*
 * Keep C while the service prepares an answer. Until C is released as often as it was held, it does
 * not become idle, a drain waits for it, and its memory stays valid. The connection may still
 * break or reach a deadline: then `closed` is called and writes fail, but the connection keeps its
 * place in limits.connections. After the release, unconsumed bytes are offered again. A release
 * without a hold is ignored and logged as an error.
 */
void connection_hold(struct connection *c);
void connection_release(struct connection *c);

/* Use the callbacks of P from now on, except `opened`. P must stay valid. Unconsumed bytes are
 * offered to its `data`. */
void connection_set_protocol(struct connection *c, const struct protocol *p);

struct worker *connection_worker(const struct connection *c);

/* The address of the peer, behind a PROXY header that of the client; valid as long as C. A peer
 * of a unix socket has the family AF_UNIX and no path. */
const struct sockaddr *connection_peer(const struct connection *c, socklen_t *length);

/* The title of the listen section that accepted C, "" if none has; valid until `stop` returns. */
const char *connection_listener(const struct connection *c);

/* The subject of the certificate with which a TLS client has identified itself, "CN=a,O=b" as in
 * RFC 2253: its listen section has a tls section with client_ca. Otherwise "". Valid as long as C.
 */
const char *connection_tls_name(const struct connection *c);

/* A pointer of the service, NULL at first. */
void *connection_data(const struct connection *c);
void connection_set_data(struct connection *c, void *data);
void *worker_data(const struct worker *w);
void worker_set_data(struct worker *w, void *data);

/* The structure that the options fill, and the object that `load` has returned (NULL without
 * `load`). Both are immutable. A reload frees them: a service that keeps a pointer into them
 * replaces it in `reloaded`. */
const void *worker_config(const struct worker *w);
const void *worker_loaded(const struct worker *w);

/*
 * Change a metric: add N to a counter, set this worker's part of a gauge, or add a duration to a
 * histogram. The metric shows the sum over all workers. ROW is the index of a row of
 * service.metrics with this type, which is not checked: with another type, the value is wrong.
 */
void worker_count(struct worker *w, unsigned row, uint64_t n);
void worker_gauge(struct worker *w, unsigned row, double value);
void worker_observe(struct worker *w, unsigned row, double seconds);

/* Log a line that begins with the client's address, or with the name of the service and the index
 * of the worker. LEVEL is LOG_ERR to LOG_DEBUG. FORMAT is "what happened: key=value key=value":
 * with log.format = "json", each key becomes a field. Any thread may call worker_log(). */
void connection_log(const struct connection *c, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void worker_log(const struct worker *w, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The worker's event loop, for timers and descriptors of the service. It has no locks. */
struct event_base *worker_base(struct worker *w);

#endif
