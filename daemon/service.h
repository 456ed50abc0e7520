/*
 * The service API: all that the author of a service reads.
 *
 * A service is one constant structure, `service`, in a file of daemon/service/. The daemon calls
 * its callbacks, and the callbacks call the functions below. A complete echo service:
 *
 *	static size_t echo_data(struct connection *c, const char *bytes, size_t n)
 *	{
 *		connection_write(c, bytes, n);
 *		return n; // bytes consumed; the daemon keeps the others and offers them again
 *	}
 *	const struct service service = {.name = "echo", .protocol.data = echo_data};
 *
 * connection_close() ends a connection. Options, metrics and all other callbacks are optional;
 * daemon/service/echo.c shows some of them.
 *
 * The daemon does the rest: it accepts connections, enforces limits and timeouts, buffers, pauses
 * reading while a client does not receive, reloads the configuration, drains and stops. A client
 * that has closed its sending side still receives all answers.
 *
 * THREADS. `workers` threads serve connections, each with an event loop. A connection stays on the
 * worker that accepted it. Every callback runs on the thread of the worker that it receives, or
 * that owns the connection it receives, and uses only this worker and its connections. Data that
 * workers share needs a lock or atomics. Other threads may call only the functions below whose
 * comment permits it; worker_post() calls a function on another worker's thread.
 *
 * While a callback runs, all other connections of its worker wait: it must return within
 * milliseconds. Do longer work in a thread or process of the service:
 * - Start the thread in a callback, for example in `start`. It inherits a signal mask that blocks
 *   all signals, and must keep it: signals belong to the daemon.
 * - Give it copies of what it needs. Call connection_hold() for the connection that waits for the
 *   result, or worker_hold().
 * - The thread returns the result with worker_post(). The posted function writes the answer and
 *   calls connection_release(). If `closed` is called before that, cancel the work.
 * - `stop` makes the thread end, waits with pthread_join(3), and frees what worker_post() refused.
 * tests/integration/services/query.c is an example.
 *
 * CHILD PROCESSES. Start a program with service_spawn(), also a shell command, as
 * {"/bin/sh", "-c", command, NULL}. fork(2) is safe, too: its child has default signal handling.
 * Not posix_spawn(3) without such attributes, system(3) or popen(3): their child inherits the mask
 * of the thread, so that kill(1) cannot end it. Open descriptors with O_CLOEXEC, as the daemon
 * does; a child of fork(2) that does not call exec(2) keeps the listening sockets open. The locks
 * of the daemon are not inherited. Wait for the child, for example with waitpid(2) when a
 * pidfd_open(2) in worker_base() is readable.
 *
 * ERRORS. Functions that return int return 0, or -1 on failure, unless stated otherwise. A service
 * does not have to handle a failed connection_write(): the daemon closes the connection.
 *
 * OWNERSHIP. The daemon owns workers, connections and configurations. A connection is valid until
 * `closed` returns; connection_hold() extends that. No function below frees a connection or calls a
 * callback: `closed` follows after the running callback has returned. The service owns the pointers
 * that it stores with worker_set_data() and connection_set_data().
 */
#ifndef SKELD_SERVICE_H
#define SKELD_SERVICE_H

#include "service_metric.h"
#include "service_option.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG */

struct worker;	   /* one thread of the data plane */
struct connection; /* one accepted or outgoing connection */
struct event_base; /* libevent's event loop */

enum ending_reason { ENDING_IDLE, ENDING_DRAIN };

/* The callbacks of a connection. All but `data` may be NULL. */
struct protocol {
	/*
	 * A client has connected; the header of the PROXY protocol, if any, was received. May write
	 * and store a pointer. Returns 0, or -1: the connection is closed after all written bytes
	 * are sent.
	 */
	int (*opened)(struct connection *c);

	/*
	 * BYTES are the N > 0 bytes that were received and not yet consumed, valid during the call.
	 * Returns how many of them it has consumed, from the front. The daemon keeps the others and
	 * offers them again with the next bytes, after a connection_release(), or when the output
	 * queue has shrunk. `data` is also called for a held connection: return 0 to wait.
	 *
	 * A request that is longer than limits.buffer ends the connection. So does one that is not
	 * complete within limits.idle_timeout: a connection is active when it consumes or sends.
	 *
	 * NULL: the service has no connections; only udp: addresses may be configured.
	 */
	size_t (*data)(struct connection *c, const char *bytes, size_t n);

	/*
	 * The output queue has shrunk after connection_write() has returned 1. Without this
	 * callback, the daemon stops reading from a connection with a full queue; with it, the
	 * service does, with connection_read_pause() for the connection that the bytes came from.
	 */
	void (*writable)(struct connection *c);

	/*
	 * The peer sends no more; called once. `data` was offered everything before, except for a
	 * held connection: there, the rest follows. Without a hold, the connection is closed when
	 * all written bytes are sent. Many clients shut down their sending side and wait for the
	 * answers, so this alone is no reason to drop them.
	 */
	void (*ended)(struct connection *c);

	/*
	 * The daemon drains this connection, see `drain`. May write a farewell. A call of
	 * connection_close() here discards requests that `data` was not yet offered, and refuses
	 * the one that may still arrive within 200 ms.
	 */
	void (*draining)(struct connection *c);

	/* The daemon closes this connection now, because it is idle, or because a drain has nothing
	 * left to do for it. May write last words. */
	void (*ending)(struct connection *c, enum ending_reason why);

	/*
	 * The connection has ended. Called once for each connection that was opened, also if
	 * `opened` returned -1. Writes fail. Free the connection's data.
	 */
	void (*closed)(struct connection *c);
};

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
	uint64_t socket;       /* never used again for another socket */
	const char *listener;
};

struct service {
	/* The name of the service's section in the configuration, and its name in the log. */
	const char *name;

	/*
	 * The options of this section, ended by a row without a name; service_option.h has the
	 * columns. CONFIG_SIZE is the size of the structure that the options fill. The daemon
	 * checks the values before a callback can see them. NULL: no options.
	 */
	const struct service_option *options;
	size_t config_size;

	/* The service's metrics, ended by a row without a name; service_metric.h. NULL: none. */
	const struct service_metric *metrics;

	/*
	 * Check CONFIG, the structure that the options fill, and load the files that it names. The
	 * daemon calls this at the start, before root privileges are dropped and before `begin`;
	 * at each reload, as `user`; and for -t. Returns an object, or NULL with a reason in WHY
	 * (SIZE bytes, "" at first): the daemon does not start, or the reload is rejected and the
	 * old object stays in use. The reason is reported with file and line of the section.
	 *
	 * All workers share the object and get it from worker_loaded(), so nothing may change it.
	 * `unload` frees it once, when no worker uses it any more. CONFIG is valid until then.
	 *
	 * `load` runs in a helper thread, one call at a time, and may block. After 5 seconds
	 * the daemon gives up: the start fails or the reload is rejected, and further reloads are
	 * rejected until `load` returns; then its object is unloaded. `unload` runs in any thread
	 * and must not block. Both use no other function of this file. A crash in them ends the
	 * daemon. NULL: the service has nothing to load, or to free.
	 */
	void *(*load)(const void *config, char *why, size_t size);
	void (*unload)(void *loaded);

	/*
	 * Called once in the process, in the main thread, before the first and after the last
	 * worker. `begin` runs with the dropped privileges; CONFIG is valid until it returns. It
	 * returns 0, or -1: the daemon does not start. A thread that it creates inherits blocked
	 * signals. `end` follows after the last `stop` and the last `unload`. It is not called if a
	 * worker is stuck or `load` has not returned. The daemon waits for both without a limit.
	 * Both may be NULL.
	 */
	int (*begin)(const void *config);
	void (*end)(void);

	/*
	 * Called once in each worker, before it accepts connections and after root privileges are
	 * dropped. Events may be added to worker_base(). Returns 0, or -1: the daemon does not
	 * start. The daemon becomes ready when all workers have returned. May be NULL.
	 */
	int (*start)(struct worker *w);

	/*
	 * Called once in each worker whose `start` succeeded, after the last connection was closed
	 * and the event loop has ended. Free what `start` allocated, and write what must not be
	 * lost. After a drain, all workers together have the rest of drain_timeout and 2 seconds to
	 * return from `stop`; after a forced stop, or another stop signal, 2 seconds. Then the
	 * process ends without them, with exit code 1. May be NULL.
	 */
	void (*stop)(struct worker *w);

	/*
	 * Called in each worker after a reload, also if no option of the service has changed.
	 * worker_config() and worker_loaded() return the new configuration and object; the old ones
	 * are valid until this callback returns. If reloads follow each other quickly, a worker may
	 * see only the last one. May be NULL.
	 */
	void (*reloaded)(struct worker *w);

	/*
	 * The daemon drains. Called once in each worker, before the first `draining`. Finish the
	 * work that no connection waits for and call worker_release(). May be NULL.
	 *
	 * In a drain, each worker accepts the connections that the kernel has completed, and closes
	 * the listeners. A connection finishes everything that it has received: it is closed as
	 * soon as it has no unconsumed bytes, no unsent bytes and no hold. A connection that was
	 * active within the last second or two may send one more request within 200 ms, so that no
	 * client loses a request that crosses with the close. A stream that the service has not
	 * written to its end is finished only if the service holds the connection until then. At
	 * drain_timeout, the remaining connections are closed unfinished, also held ones; they and
	 * the bytes that did not arrive are counted in the log. A forced stop does that at once: it
	 * calls `drain` and `draining`, then closes all connections.
	 */
	void (*drain)(struct worker *w);

	/* The callbacks of accepted connections. */
	struct protocol protocol;

	/*
	 * A datagram has arrived at an address that begins with udp:. Its N bytes, also 0, are
	 * valid during the call. One that is longer than limits.buffer is dropped. A drain passes
	 * on what the kernel has received, and closes the socket. NULL: a udp: address is an error
	 * of the configuration.
	 */
	void (*datagram)(struct worker *w, const struct datagram_peer *from, const char *bytes,
			 size_t n);

	/* --self-test sends PROBE and expects ANSWER, at most 1024 bytes. NULL: sends nothing. */
	const char *probe, *answer;
};

extern const struct service service;

/* Workers. */

/* The worker's event loop, for timers and descriptors of the service. It has no locks. */
struct event_base *worker_base(struct worker *w);

/* The index of W, from 0; the number of workers; the worker with index I, NULL if there is none.
 * Any thread may call these. */
unsigned worker_index(const struct worker *w);
unsigned worker_total(const struct worker *w);
struct worker *worker_of(const struct worker *w, unsigned i);

/*
 * Call RUN(W, ARG) on W's thread, soon, but never inside of this call. Any thread may call this,
 * also W's own. The calls for one worker are made in the order of the posts. Returns 0: the call
 * will be made, before `stop`. Returns -1, errno ESHUTDOWN: W has ended its event loop; or errno
 * ENOMEM. W may be used in this way until `end` returns.
 */
int worker_post(struct worker *w, void (*run)(struct worker *w, void *arg), void *arg);

/* The structure that the options fill, immutable. After a reload the next call returns a new one,
 * and the old one is freed: a service that keeps the pointer replaces it in `reloaded`. */
const void *worker_config(const struct worker *w);

/* What `load` has returned, NULL without `load`. Valid as long as worker_config(). */
const void *worker_loaded(const struct worker *w);

/* A pointer of the service, NULL at first. */
void *worker_data(const struct worker *w);
void worker_set_data(struct worker *w, void *data);

/*
 * Change a metric: add N to a counter, set this worker's part of a gauge, or add a duration to a
 * histogram. The metric shows the sum over all workers. ROW is the index of a row of
 * service.metrics with this type. That is not checked: with another type, the metric shows a wrong
 * value.
 */
void worker_count(struct worker *w, unsigned row, uint64_t n);
void worker_gauge(struct worker *w, unsigned row, double value);
void worker_observe(struct worker *w, unsigned row, double seconds);

/* Log a line that begins with the name of the service and the index of the worker. LEVEL is
 * LOG_ERR to LOG_DEBUG. FORMAT is "what happened: key=value key=value": with log.format = "json",
 * each key becomes a field. Any thread may call this. */
void worker_log(const struct worker *w, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A drain waits for this worker until it is released as often as it was held: for work that
 * belongs to no connection. */
void worker_hold(struct worker *w);
void worker_release(struct worker *w);

/*
 * Start the program ARGV[0], which is searched in PATH, as a child process with default signal
 * handling. FDS are its standard input, output and error, each above 2 or its own number; -1:
 * /dev/null. Other descriptors are closed if they have O_CLOEXEC, as those of the daemon have. Any
 * thread may call this. Returns the pid, or -1 and errno.
 */
pid_t service_spawn(const char *const argv[], const int fds[3]);

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

/* Connections. */

/*
 * Send a copy of the N BYTES, in order. What one callback writes to its connection is sent in one
 * piece when the callback returns; what any other code writes is sent at the end of this turn of
 * the event loop. Large pieces are sent at once. The queue takes what the socket does not. Returns
 *   0: the bytes are or will be sent. They are lost if the connection breaks before: then `closed`
 *      follows.
 *   1: the same, but the queue has reached limits.buffer. In `data`, return now: the bytes that
 *      are not consumed are offered again when the queue has shrunk. Or see `writable`.
 *  -1: the connection is broken or closing; the bytes are discarded.
 */
int connection_write(struct connection *c, const void *bytes, size_t n);

/* Close C when the output queue is sent. `data` is not called again. If the peer receives nothing
 * for 5 seconds, C is closed earlier, with reason "idle". */
void connection_close(struct connection *c);

/* Close C now. Unsent bytes are discarded; the peer sees a reset. */
void connection_abort(struct connection *c);

/* Send no more: when the output queue is sent, the peer sees the end of the stream. C still
 * receives. connection_write() fails from now on. */
void connection_shutdown(struct connection *c);

/* Stop and resume reading from the peer, for example while another connection, to which the bytes
 * go, has a full queue. While reading is paused, the end of the stream is not noticed, but a reset
 * is. */
void connection_read_pause(struct connection *c);
void connection_read_resume(struct connection *c);

/* Use the callbacks of P from now on, except `opened`. P must stay valid. Unconsumed bytes are
 * offered to its `data`. */
void connection_set_protocol(struct connection *c, const struct protocol *p);

/*
 * Keep C while the service prepares an answer. Until C is released as often as it was held, it does
 * not become idle, a drain waits for it, and its memory stays valid. The connection may still
 * break or reach a deadline: then `closed` is called and writes fail, but the connection keeps its
 * place in limits.connections. After the release, unconsumed bytes are offered again. A release
 * without a hold is ignored and logged as an error; the same holds for worker_release().
 */
void connection_hold(struct connection *c);
void connection_release(struct connection *c);

struct worker *connection_worker(const struct connection *c);

/* The address of the peer, behind a PROXY header that of the client; valid as long as C. A peer
 * of a unix socket has the family AF_UNIX and no path. */
const struct sockaddr *connection_peer(const struct connection *c, socklen_t *length);

/* Why C has failed, for example "Connection refused"; "" if it has not. */
const char *connection_error(const struct connection *c);

/* The title of the listen section that accepted C, "" if none has; valid until `stop` returns. */
const char *connection_listener(const struct connection *c);

/* The subject of the certificate with which a TLS client has identified itself, "CN=a,O=b" as in
 * RFC 2253: its listen section has a tls section with client_ca. Otherwise "". Valid as long as C.
 */
const char *connection_tls_name(const struct connection *c);

/* A pointer of the service, NULL at first. */
void *connection_data(const struct connection *c);
void connection_set_data(struct connection *c, void *data);

/* Log a line that begins with the client's address; else like worker_log(). */
void connection_log(const struct connection *c, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Datagrams. */

/*
 * Send a copy of the N BYTES to the peer TO of W, from the address that received its datagram.
 * Datagrams are sent together at the end of this turn of the event loop. Returns 0; or -1 if the
 * datagram is dropped, because it is too long, the socket is full, or a reload or a drain has
 * removed the address. While W is held (worker_hold()), a removed address can still send. As with
 * every datagram, 0 does not mean that it arrives.
 */
int datagram_send(struct worker *w, const struct datagram_peer *to, const void *bytes, size_t n);

/* The address of the peer, a sockaddr_in or sockaddr_in6. */
const struct sockaddr *datagram_peer_address(const struct datagram_peer *p, socklen_t *length);

/* The title of the listen section that received the datagram. */
const char *datagram_listener(const struct datagram_peer *p);

#endif
