/*
 * Example: a chat room. Each line of a client goes to all clients, also to those of other workers.
 * It shows messages between workers (worker_post), timers, pings, and clients that are dropped:
 * because they do not give a name in time, do not answer, or read too slowly.
 *
 * The first line of a client is its name. "PONG" answers "PING"; every other line is a message.
 */
#include "service_thread.h"

#include <event2/event.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { NAME_MAX_BYTES = 32, LINE_MAX_BYTES = 1024 };

struct chat_config {
	int64_t login_timeout, ping;
};

static const struct service_option options[] = {
	{.name = "login_timeout",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct chat_config, login_timeout),
	 .default_value = "10",
	 .min = 1,
	 .max = 3600,
	 .unit = "seconds",
	 .help = "Time for a client to send its name"},
	{.name = "ping",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct chat_config, ping),
	 .default_value = "30",
	 .min = 1,
	 .max = 3600,
	 .unit = "seconds",
	 .help = "Time of silence before a client is asked for a sign of life; after twice that, "
		 "it is dropped"},
	{0},
};

enum { MESSAGES, DROPPED, MEMBERS };
static const struct service_metric metrics[] = {
	[MESSAGES] = {"chat_messages_total", METRIC_COUNTER, "Messages of clients", "chat",
		      "messages"},
	[DROPPED] = {"chat_dropped_total", METRIC_COUNTER,
		     "Clients dropped because they were silent or slow", "chat", "dropped"},
	[MEMBERS] = {"chat_members", METRIC_GAUGE, "Clients with a name", "chat", "members"},
	{0},
};

struct member {
	TAILQ_ENTRY(member) entry;
	struct connection *connection;
	char name[NAME_MAX_BYTES + 1]; /* "": not given yet */
	int64_t heard_at;	       /* seconds of the room's clock; at first, when it came */
	bool pinged;
};

/* The part of the room that one worker has: its clients. */
struct room {
	TAILQ_HEAD(, member) members;
	struct event *tick;
	int64_t now; /* seconds, counted by `tick` */
	unsigned n_named;
};

/* A line for the clients of all workers. The last worker that has sent it frees it. */
struct message {
	atomic_uint refs;
	size_t length;
	char text[];
};

static void drop(struct member *m, const char *why)
{
	struct connection *c = m->connection;
	connection_log(c, LOG_INFO, "dropped: name=\"%s\" reason=%s", m->name, why);
	worker_count(connection_worker(c), DROPPED, 1);
	connection_abort(c);
}

/* Broadcasting. */

static void unref(struct message *m)
{
	if (atomic_fetch_sub(&m->refs, 1) == 1)
		free(m);
}

static void deliver(struct worker *w, void *arg)
{
	struct room *room = worker_data(w);
	struct message *message = arg;
	struct member *m;
	TAILQ_FOREACH (m, &room->members, entry)
		if (*m->name &&
		    connection_write(m->connection, message->text, message->length) == 1)
			drop(m, "slow");
	unref(message);
}

static void broadcast(struct worker *w, const char *name, const char *text, size_t n)
{
	struct message *m = malloc(sizeof(*m) + NAME_MAX_BYTES + n + 4);
	struct worker *each;
	if (!m) {
		worker_log(w, LOG_WARNING, "message lost: out of memory");
		return;
	}
	m->length = (size_t)sprintf(m->text, "%s: %.*s\n", name, (int)n, text);
	atomic_init(&m->refs, 1);
	for (unsigned i = 0; (each = worker_of(w, i)); i++) {
		atomic_fetch_add(&m->refs, 1);
		if (worker_post(each, deliver, m) < 0)
			unref(m); /* the worker has stopped, or memory is short */
	}
	unref(m);
}

/* Clients. */

static int chat_opened(struct connection *c)
{
	struct room *room = worker_data(connection_worker(c));
	struct member *m = calloc(1, sizeof(*m));
	if (!m)
		return -1;
	m->connection = c;
	m->heard_at = room->now;
	connection_set_data(c, m);
	TAILQ_INSERT_TAIL(&room->members, m, entry);
	connection_write(c, "name?\n", 6);
	return 0;
}

/* TEXT is the line without its end. */
static void on_line(struct member *m, const char *text, size_t n)
{
	struct worker *w = connection_worker(m->connection);
	struct room *room = worker_data(w);
	m->heard_at = room->now;
	m->pinged = false;
	if (n == 4 && memcmp(text, "PONG", 4) == 0)
		return;
	if (*m->name) {
		worker_count(w, MESSAGES, 1);
		broadcast(w, m->name, text, n);
	} else if (n && n <= NAME_MAX_BYTES && !memchr(text, ' ', n)) {
		memcpy(m->name, text, n);
		worker_gauge(w, MEMBERS, ++room->n_named);
		broadcast(w, "*", m->name, n);
	} else {
		connection_write(m->connection, "name?\n", 6);
	}
}

static size_t chat_data(struct connection *c, const char *bytes, size_t n)
{
	struct member *m = connection_data(c);
	const char *at = bytes, *end = bytes + n, *newline;
	while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
		size_t length = (size_t)(newline - at);
		on_line(m, at, length && newline[-1] == '\r' ? length - 1 : length);
		at = newline + 1;
	}
	if (end - at > LINE_MAX_BYTES)
		connection_close(c);
	return (size_t)(at - bytes);
}

static void chat_ending(struct connection *c, enum ending_reason why)
{
	const char *text = why == ENDING_DRAIN ? "* the server stops\n" : "* you are idle\n";
	connection_write(c, text, strlen(text));
}

static void chat_closed(struct connection *c)
{
	struct room *room = worker_data(connection_worker(c));
	struct member *m = connection_data(c);
	if (!m)
		return;
	TAILQ_REMOVE(&room->members, m, entry);
	if (*m->name)
		worker_gauge(connection_worker(c), MEMBERS, --room->n_named);
	free(m);
}

/* Time. connection_abort() does not call `closed`, so the list does not change in the loop. */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	struct room *room = worker_data(w);
	const struct chat_config *config = worker_config(w);
	struct member *m;
	(void)fd, (void)what;
	room->now++;
	TAILQ_FOREACH (m, &room->members, entry) {
		int64_t silent = room->now - m->heard_at;
		if (!*m->name && silent > config->login_timeout) {
			drop(m, "login");
		} else if (silent > 2 * config->ping) {
			drop(m, "silent");
		} else if (silent > config->ping && !m->pinged) {
			m->pinged = true;
			connection_write(m->connection, "PING\n", 5);
		}
	}
}

static int chat_start(struct worker *w)
{
	struct room *room = calloc(1, sizeof(*room));
	if (!room)
		return -1;
	TAILQ_INIT(&room->members);
	worker_set_data(w, room);
	room->tick = event_new(worker_base(w), -1, EV_PERSIST, on_tick, w);
	return room->tick ? event_add(room->tick, &(struct timeval){.tv_sec = 1}) : -1;
}

static void chat_stop(struct worker *w)
{
	struct room *room = worker_data(w);
	event_free(room->tick);
	free(room);
}

const struct service service = {
	.name = "chat",
	.options = options,
	.config_size = sizeof(struct chat_config),
	.metrics = metrics,
	.start = chat_start,
	.stop = chat_stop,
	.protocol = {.opened = chat_opened,
		     .data = chat_data,
		     .ending = chat_ending,
		     .closed = chat_closed},
};
