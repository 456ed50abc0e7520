/*
 * Example: an HTTP/1.1 server (RFC 9110, RFC 9112) with keep-alive, pipelining, chunked requests
 * and 100-continue. It shows a parser that continues where the received bytes ended
 * (http_parser.c), state per worker, and a drain in which each client learns that its connection
 * ends.
 *
 *     GET /, HEAD /    the text of the option `body`
 *     POST /echo       the body of the request
 *
 * A request stays with the daemon until it is complete; only then is it consumed. So limits.memory
 * counts its bytes, limits.idle_timeout ends a client that is too slow, and a drain waits for it.
 * limits.buffer must be larger than HEAD_MAX + max_body, else a long request has no answer.
 */
#include "http_parser.h"
#include "service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct http_config {
	char *body;
	int64_t max_body;
};

static const struct service_option options[] = {
	{.name = "body",
	 .type = OPTION_TEXT,
	 .offset = offsetof(struct http_config, body),
	 .default_value = "hello",
	 .help = "Answer to GET /"},
	{.name = "max_body",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct http_config, max_body),
	 .default_value = "32768",
	 .max = 1 << 30,
	 .unit = "bytes",
	 .help = "Longest body of a request, as it is sent"},
	{0},
};

/* A row for each class of status codes that is used. */
static const struct service_metric metrics[] = {
	{"http_answers_2xx_total", METRIC_COUNTER, "Requests served", "http", "2xx"},
	{"http_answers_4xx_total", METRIC_COUNTER, "Requests rejected", "http", "4xx"},
	{"http_answers_5xx_total", METRIC_COUNTER, "Requests not supported", "http", "5xx"},
	{0},
};

static const char *const reasons[] = {
	[OK] = "OK",
	[BAD_REQUEST] = "Bad Request",
	[NOT_FOUND] = "Not Found",
	[METHOD_NOT_ALLOWED] = "Method Not Allowed",
	[REQUEST_TIMEOUT] = "Request Timeout",
	[CONTENT_TOO_LARGE] = "Content Too Large",
	[URI_TOO_LONG] = "URI Too Long",
	[EXPECTATION_FAILED] = "Expectation Failed",
	[FIELDS_TOO_LARGE] = "Request Header Fields Too Large",
	[NOT_IMPLEMENTED] = "Not Implemented",
	[VERSION_NOT_SUPPORTED] = "HTTP Version Not Supported",
};

struct client {
	struct http_request request; /* the first one that is not consumed */
	bool draining;
};

/* The Date field of this second, for each worker. */
struct date {
	time_t second;
	char field[48];
};

static const struct http_config *config_of(const struct connection *c)
{
	return worker_config(connection_worker(c));
}

static const char *date_field(struct worker *w)
{
	struct date *d = worker_data(w);
	struct tm tm;
	time_t now = time(NULL);
	if (now != d->second && gmtime_r(&now, &tm)) {
		strftime(d->field, sizeof(d->field), "Date: %a, %d %b %Y %T GMT\r\n", &tm);
		d->second = now;
	}
	return d->field;
}

static bool has_path(const struct http_request *r, const char *bytes, const char *path)
{
	return r->path_length == strlen(path) && memcmp(bytes + r->path, path, r->path_length) == 0;
}

/* Find the resource and check the method. *ALLOW is a field for METHOD_NOT_ALLOWED. */
static enum status route(const struct http_request *r, const char *bytes, const char **allow)
{
	bool is_get = r->method == GET || r->method == HEAD;
	if (r->method == OTHER)
		return NOT_IMPLEMENTED;
	if (has_path(r, bytes, "/") || has_path(r, bytes, "")) {
		*allow = "Allow: GET, HEAD\r\n";
		return is_get ? OK : METHOD_NOT_ALLOWED;
	}
	if (!has_path(r, bytes, "/echo"))
		return NOT_FOUND;
	*allow = "Allow: POST\r\n";
	return is_get ? METHOD_NOT_ALLOWED : OK;
}

static bool is_last(const struct http_request *r)
{
	return r->says_close || (r->is_1_0 && !r->says_keep_alive);
}

/* Write the head of an answer with a body of N bytes. FIELD is one more field. */
static int write_head(struct connection *c, const struct http_request *r, enum status status,
		      const char *field, size_t n)
{
	char head[512];
	struct worker *w = connection_worker(c);
	const char *connection = is_last(r)  ? "Connection: close\r\n"
				 : r->is_1_0 ? "Connection: keep-alive\r\n"
					     : "";
	int size = snprintf(head, sizeof(head),
			    "HTTP/1.1 %d %s\r\n%s%s%sContent-Type: text/plain\r\n"
			    "Content-Length: %zu\r\n\r\n",
			    status, reasons[status], status < 500 ? date_field(w) : "", connection,
			    field, n);
	worker_count(w, status < 300 ? 0 : (unsigned)status / 100 - 3, 1);
	return connection_write(c, head, (size_t)size);
}

static int answer(struct connection *c, const struct http_request *r, enum status status,
		  const char *field, const char *body, size_t n)
{
	int written = write_head(c, r, status, field, n);
	return r->method == HEAD ? written : connection_write(c, body, n);
}

static int answer_error(struct connection *c, const struct http_request *r, enum status status,
			const char *allow)
{
	char body[64];
	int n = snprintf(body, sizeof(body), "%d %s\n", status, reasons[status]);
	return answer(c, r, status, status == METHOD_NOT_ALLOWED ? allow : "", body, (size_t)n);
}

static int answer_chunks(struct connection *c, const struct http_request *r, const char *bytes)
{
	const char *chunk;
	int written = write_head(c, r, OK, "", r->length);
	for (size_t at = 0, n; (chunk = http_request_chunk(r, bytes, &at, &n));)
		written = connection_write(c, chunk, n);
	return written;
}

/* Answer the complete request BYTES. */
static int answer_request(struct connection *c, const struct http_request *r, const char *bytes)
{
	const char *text = config_of(c)->body;
	if (r->method != POST)
		return answer(c, r, OK, "", text, strlen(text));
	if (r->is_chunked)
		return answer_chunks(c, r, bytes);
	return answer(c, r, OK, "", bytes + r->body, r->length);
}

/* Answer the request that begins at BYTES, of which N are received. Returns 0 if the next one can
 * be answered, too. */
static int serve(struct connection *c, struct client *s, const char *bytes, size_t n)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct http_request *r = &s->request;
	const char *allow = "";
	enum status status = http_request_parse(r, bytes, n), parsed = status;
	bool asks = status == INCOMPLETE && r->expects_continue && r->body == n;
	if (status == OK || asks)
		status = route(r, bytes, &allow);
	if (asks && status == OK) {
		r->expects_continue = false;
		connection_write(c, go_on, sizeof(go_on) - 1);
		return 1;
	}
	if (status == INCOMPLETE)
		return 1;
	/* If a request is not read to its end, its rest must not be taken for the next one. */
	r->says_close |= parsed != OK || (s->draining && r->at == n);
	int full = status == OK ? answer_request(c, r, bytes) : answer_error(c, r, status, allow);
	if (!is_last(r))
		return full;
	connection_close(c);
	return 1;
}

/* Answer all complete requests, until the client has to read first. */
static size_t http_data(struct connection *c, const char *bytes, size_t n)
{
	struct client *s = connection_data(c);
	size_t used = 0;
	for (int full = 0; !full && used < n;) {
		if (!s->request.at && n - used >= 2 && memcmp(bytes + used, "\r\n", 2) == 0) {
			used += 2; /* ignore empty lines before a request, RFC 9112 2.2 */
			continue;
		}
		if (!s->request.at)
			http_request_init(&s->request, (size_t)config_of(c)->max_body);
		full = serve(c, s, bytes + used, n - used);
		if (s->request.state == COMPLETE) {
			used += s->request.at;
			s->request.at = 0;
		}
	}
	return used;
}

static int http_opened(struct connection *c)
{
	struct client *s = calloc(1, sizeof(*s));
	connection_set_data(c, s);
	return s ? 0 : -1;
}

/* The last answer closes the connection, RFC 9112 9.6: no request is sent behind it and lost. */
static void http_draining(struct connection *c)
{
	struct client *s = connection_data(c);
	s->draining = true;
}

/* Answer a request that does not become complete. An idle client without one must not get an
 * answer: it would take it for that of its next request. */
static void http_ending(struct connection *c, enum ending_reason why)
{
	struct client *s = connection_data(c);
	if (why != ENDING_IDLE || !s->request.at)
		return;
	s->request.says_close = true;
	answer_error(c, &s->request, REQUEST_TIMEOUT, "");
}

static void http_closed(struct connection *c)
{
	free(connection_data(c));
}

static int http_start(struct worker *w)
{
	struct date *d = calloc(1, sizeof(*d));
	worker_set_data(w, d);
	return d ? 0 : -1;
}

static void http_stop(struct worker *w)
{
	free(worker_data(w));
}

const struct service service = {
	.name = "http",
	.options = options,
	.config_size = sizeof(struct http_config),
	.metrics = metrics,
	.start = http_start,
	.stop = http_stop,
	.protocol = {.opened = http_opened,
		     .data = http_data,
		     .draining = http_draining,
		     .ending = http_ending,
		     .closed = http_closed},
	/* An answer of class 5xx needs no date, RFC 9110 6.6.1: it is always the same. */
	.probe = "PROBE / HTTP/1.1\r\nHost: probe\r\n\r\n",
	.answer = "HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain\r\n"
		  "Content-Length: 20\r\n\r\n501 Not Implemented\n",
};
