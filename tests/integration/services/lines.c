/*
 * Example: a line protocol. It shows state per connection, an answer that comes later while the
 * following requests wait, back-pressure, and a last message when the daemon drains.
 *
 *     TEXT     the answer is "PREFIXN: TEXT"; N counts the requests of this connection
 *     later    the same after a delay; the following lines wait
 *     quit     the same, then the connection is closed
 *     (empty)  the answer is an empty line, which is not counted
 */
#include "service.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lines_config {
	char *prefix;
	int64_t delay;
};

static const struct service_option options[] = {
	{.name = "prefix",
	 .type = OPTION_TEXT,
	 .offset = offsetof(struct lines_config, prefix),
	 .default_value = "",
	 .help = "Text before each answer"},
	{.name = "delay",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct lines_config, delay),
	 .default_value = "50",
	 .max = 3600000,
	 .unit = "milliseconds",
	 .help = "Delay of the answer to `later`"},
	{0},
};

enum { REQUESTS, DELAYED };
static const struct service_metric metrics[] = {
	[REQUESTS] = {"lines_requests_total", METRIC_COUNTER, "Lines answered", "lines",
		      "requests"},
	[DELAYED] = {"lines_delayed_total", METRIC_COUNTER, "Lines answered later", "lines",
		     "delayed"},
	{0},
};

struct client {
	struct connection *connection;
	struct event *timer;
	unsigned long requests;
	bool waits; /* for the timer; the connection is held until then */
};

static const struct lines_config *config_of(const struct connection *c)
{
	return worker_config(connection_worker(c));
}

/* LINE ends with a newline. Returns the result of connection_write(). */
static int answer(struct client *s, const char *line, size_t n)
{
	const char *prefix = config_of(s->connection)->prefix;
	size_t room = strlen(prefix) + 32 + n;
	char *text = malloc(room); /* one write is faster than three */
	if (!text) {
		connection_close(s->connection);
		return -1;
	}
	int head = snprintf(text, room, "%s%lu: ", prefix, ++s->requests);
	memcpy(text + head, line, n);
	worker_count(connection_worker(s->connection), REQUESTS, 1);
	int written = connection_write(s->connection, text, (size_t)head + n);
	free(text);
	return written;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct client *s = arg;
	(void)fd;
	(void)what;
	s->waits = false;
	worker_count(connection_worker(s->connection), DELAYED, 1);
	answer(s, "later\n", 6);
	connection_release(s->connection);
}

static void answer_later(struct client *s)
{
	int64_t delay = config_of(s->connection)->delay;
	struct timeval t = {(time_t)(delay / 1000), (suseconds_t)(delay % 1000 * 1000)};
	s->waits = true;
	connection_hold(s->connection);
	event_add(s->timer, &t);
}

static int lines_opened(struct connection *c)
{
	struct client *s = calloc(1, sizeof(*s));
	if (!s)
		return -1;
	s->connection = c;
	s->timer = evtimer_new(worker_base(connection_worker(c)), on_timer, s);
	connection_set_data(c, s);
	return s->timer ? 0 : -1;
}

static bool is(const char *line, size_t n, const char *word)
{
	return n == strlen(word) && memcmp(line, word, n) == 0;
}

/*
 * Answer all complete lines. Stop when an answer is delayed, or when connection_write() reports
 * that the peer reads too slowly: unconsumed bytes are offered again.
 */
static size_t lines_data(struct connection *c, const char *bytes, size_t n)
{
	struct client *s = connection_data(c);
	const char *at = bytes, *end;
	int written = 0;
	while (!written && !s->waits &&
	       (end = memchr(at, '\n', n - (size_t)(at - bytes))) != NULL) {
		const char *line = at;
		size_t length = (size_t)(end - line) + 1;
		at = end + 1;
		if (length == 1) {
			written = connection_write(c, "\n", 1);
		} else if (is(line, length, "later\n")) {
			answer_later(s);
		} else {
			written = answer(s, line, length);
			if (is(line, length, "quit\n")) {
				connection_close(c);
				break;
			}
		}
	}
	return (size_t)(at - bytes);
}

static void lines_draining(struct connection *c)
{
	connection_write(c, "goodbye\n", 8);
}

/* Also called after lines_opened() failed. */
static void lines_closed(struct connection *c)
{
	struct client *s = connection_data(c);
	if (!s)
		return;
	connection_set_data(c, NULL);
	if (s->waits)
		connection_release(c);
	if (s->timer)
		event_free(s->timer);
	free(s);
}

const struct service service = {
	.name = "lines",
	.options = options,
	.config_size = sizeof(struct lines_config),
	.metrics = metrics,
	.protocol = {.opened = lines_opened,
		     .data = lines_data,
		     .draining = lines_draining,
		     .closed = lines_closed},
	.probe = "\n",
	.answer = "\n",
};
