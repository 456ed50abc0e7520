/*
 * Example: a TCP proxy. It passes bytes between each client and one of several backends. It shows
 * outgoing connections, back-pressure in both directions, the two ends of a stream (half-close),
 * and backends that are avoided for a while after a connection to them has failed.
 *
 * The two connections of a pair end together: the end of one stream is passed on as an end,
 * anything else as a reset, so that no cut stream looks complete. A drain waits for all pairs.
 */
#include "service_outgoing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BACKENDS_MAX = 256 }; /* as service_option.h says */

struct backend {
	char *title, *address;
};

struct proxy_config {
	struct service_sections backends;
	int64_t retry;
};

static const struct service_option backend_options[] = {
	{.name = "address",
	 .type = OPTION_TEXT, /* not OPTION_ADDRESS, which takes no names */
	 .offset = offsetof(struct backend, address),
	 .default_value = "127.0.0.1:7009",
	 .help = "Address of the server, as host:port or unix:/path"},
	{0},
};

static const struct service_option options[] = {
	{.name = "backend",
	 .type = OPTION_SECTIONS,
	 .offset = offsetof(struct proxy_config, backends),
	 .help = "A server; all servers are used in turn",
	 .options = backend_options,
	 .size = sizeof(struct backend)},
	{.name = "retry",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct proxy_config, retry),
	 .default_value = "5",
	 .max = 3600,
	 .unit = "seconds",
	 .help = "Time for which a backend is avoided after a failed connection"},
	{0},
};

enum { RELAYED, FAILED };
static const struct service_metric metrics[] = {
	[RELAYED] = {"proxy_relayed_total", METRIC_COUNTER, "Clients connected to a backend",
		     "proxy", "relayed"},
	[FAILED] = {"proxy_backend_failures_total", METRIC_COUNTER,
		    "Connections to a backend that failed", "proxy", "failed"},
	{0},
};

/* One side of a pair, the data of its connection. It is held from its end to that of the other
 * stream, and in a drain. */
struct side {
	struct connection *connection; /* NULL: none, or closed */
	struct pair *pair;
	struct side *other;
	bool held, ended;
};

struct pair {
	struct worker *worker;
	struct side client, server;
	bool connected;
	size_t backend, tries;
	unsigned version; /* of struct backends */
};

/* Backends. Each worker has its own list, and learns by itself that a backend is down. */

struct backends {
	time_t down_until[BACKENDS_MAX]; /* in the order of the configuration */
	size_t n, next;
	unsigned version; /* counts reloads */
};

static time_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static void read_backends(struct worker *w)
{
	const struct proxy_config *config = worker_config(w);
	struct backends *b = worker_data(w);
	memset(b->down_until, 0, sizeof(b->down_until));
	b->n = config->backends.n;
	b->version++;
}

/* Returns a backend that is not down, or if all are, the next one. */
static size_t choose_backend(struct backends *b)
{
	for (size_t i = 0; i < b->n; i++) {
		size_t candidate = b->next++ % b->n;
		if (b->down_until[candidate] <= now())
			return candidate;
	}
	return b->next++ % b->n;
}

static const struct backend *backend_of(const struct pair *p)
{
	const struct proxy_config *config = worker_config(p->worker);
	const struct backend *backends = config->backends.item;
	return &backends[p->backend];
}

static void mark_down(const struct pair *p, const char *why)
{
	const struct proxy_config *config = worker_config(p->worker);
	struct backends *b = worker_data(p->worker);
	worker_count(p->worker, FAILED, 1);
	if (p->version != b->version) /* a reload has replaced the list */
		return;
	if (b->down_until[p->backend] <= now())
		worker_log(p->worker, LOG_WARNING,
			   "backend failed: backend=\"%s\" address=%s error=\"%s\"",
			   backend_of(p)->title, backend_of(p)->address, why);
	b->down_until[p->backend] = now() + (time_t)config->retry;
}

/* Sides. */

static void hold(struct side *s)
{
	if (!s->held)
		connection_hold(s->connection);
	s->held = true;
}

static void release(struct side *s)
{
	if (s->held)
		connection_release(s->connection);
	s->held = false;
}

static bool is_finished(const struct side *s)
{
	return s->ended && s->other->ended;
}

static void remove_side(struct side *s)
{
	struct connection *other = s->other->connection;
	release(s);
	s->connection = NULL;
	if (other && !is_finished(s))
		connection_abort(other);
	if (!other)
		free(s->pair);
}

/* Callbacks of both sides. */

static size_t pass_on(struct connection *c, const char *bytes, size_t n)
{
	const struct side *s = connection_data(c);
	if (connection_write(s->other->connection, bytes, n) == 1)
		connection_read_pause(c);
	return n;
}

static void resume_other(struct connection *c)
{
	const struct side *s = connection_data(c);
	if (s->other->connection)
		connection_read_resume(s->other->connection);
}

static void pass_on_end(struct connection *c)
{
	struct side *s = connection_data(c);
	s->ended = true;
	connection_shutdown(s->other->connection);
	if (!is_finished(s)) {
		hold(s);
		return;
	}
	release(s); /* each is closed when all is sent */
	release(s->other);
}

static void hold_in_drain(struct connection *c)
{
	struct side *s = connection_data(c);
	if (!is_finished(s))
		hold(s);
}

/* The server. */

static bool connect_server(struct pair *p);

static int server_opened(struct connection *c)
{
	const struct side *s = connection_data(c);
	struct pair *p = s->pair;
	p->connected = true;
	worker_count(p->worker, RELAYED, 1);
	connection_read_resume(p->client.connection);
	return 0;
}

static void server_closed(struct connection *c)
{
	struct side *s = connection_data(c);
	if (!s->pair->connected && s->other->connection) {
		mark_down(s->pair, connection_error(c));
		if (connect_server(s->pair))
			return;
	}
	remove_side(s);
}

static const struct protocol server_protocol = {.opened = server_opened,
						.data = pass_on,
						.writable = resume_other,
						.ended = pass_on_end,
						.draining = hold_in_drain,
						.closed = server_closed};

/* Connect to the next backend, until each had its try. */
static bool connect_server(struct pair *p)
{
	struct backends *b = worker_data(p->worker);
	while (p->tries++ < b->n) {
		p->backend = choose_backend(b);
		p->version = b->version;
		p->server.connection = worker_connect(p->worker, backend_of(p)->address,
						      &server_protocol, &p->server);
		if (p->server.connection)
			return true;
		mark_down(p, strerror(errno));
	}
	return false;
}

/* The client. */

static int client_opened(struct connection *c)
{
	struct pair *p = calloc(1, sizeof(*p));
	if (!p) {
		connection_log(c, LOG_WARNING, "client refused: out of memory");
		return -1;
	}
	p->worker = connection_worker(c);
	p->client = (struct side){.connection = c, .pair = p, .other = &p->server};
	p->server = (struct side){.pair = p, .other = &p->client};
	connection_set_data(c, &p->client);
	connection_read_pause(c); /* until a backend is connected, so that each can be tried */
	if (!connect_server(p))
		connection_abort(c);
	return 0;
}

static void client_closed(struct connection *c)
{
	if (connection_data(c))
		remove_side(connection_data(c));
}

/* The service. */

static int proxy_start(struct worker *w)
{
	struct backends *b = calloc(1, sizeof(*b));
	if (!b)
		return -1;
	worker_set_data(w, b);
	read_backends(w);
	return 0;
}

static void proxy_stop(struct worker *w)
{
	free(worker_data(w));
}

const struct service service = {
	.name = "proxy",
	.options = options,
	.config_size = sizeof(struct proxy_config),
	.metrics = metrics,
	.start = proxy_start,
	.stop = proxy_stop,
	.reloaded = read_backends,
	.protocol = {.opened = client_opened,
		     .data = pass_on,
		     .writable = resume_other,
		     .ended = pass_on_end,
		     .draining = hold_in_drain,
		     .closed = client_closed},
};
