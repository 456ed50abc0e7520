/*
 * Requests to the example service http.c, in pieces. The parser accepts no request that another one
 * could understand in another way, and the answers do not depend on how the bytes are split.
 */
/* fuzz: 60000 9000 */
#include "fuzz.h"
#include "service.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The functions that the service calls, instead of the daemon's. */
#define worker_config	    fuzz_config
#define worker_data	    fuzz_worker_data
#define worker_set_data	    fuzz_worker_set_data
#define worker_count	    fuzz_count
#define connection_worker   fuzz_worker
#define connection_data	    fuzz_data
#define connection_set_data fuzz_set_data
#define connection_write    fuzz_write
#define connection_close    fuzz_close
#define time		    fuzz_time

enum { OUTPUT_MAX = 1 << 20, MAX_BODY = 300 };
struct output {
	char bytes[OUTPUT_MAX];
	size_t n;
	unsigned answers, continues;
	bool closed, full; /* full: the last write returned 1 */
};
static struct output whole, split, *current;
static void *client_data, *date_data;

static const void *fuzz_config(const struct worker *w)
{
	static const struct {
		const char *body;
		int64_t max_body;
	} config = {"hello", MAX_BODY};
	return w ? NULL : &config;
}

static void *fuzz_worker_data(const struct worker *w)
{
	return w ? NULL : date_data;
}

static void fuzz_worker_set_data(struct worker *w, void *data)
{
	date_data = w ? NULL : data;
}

static void fuzz_count(struct worker *w, unsigned row, uint64_t n)
{
	CHECK(!w && row < 3 && n == 1, "row %u", row);
	current->answers++;
}

static struct worker *fuzz_worker(const struct connection *c)
{
	CHECK(!c, "another connection");
	return NULL;
}

static void *fuzz_data(const struct connection *c)
{
	return c ? NULL : client_data;
}

static void fuzz_set_data(struct connection *c, void *data)
{
	client_data = c ? NULL : data;
}

static int fuzz_write(struct connection *c, const void *bytes, size_t n)
{
	CHECK(!c && !current->closed, "written behind the last answer");
	CHECK(n <= OUTPUT_MAX - current->n, "%zu bytes", n);
	memcpy(current->bytes + current->n, bytes, n);
	current->n += n;
	current->full = n % 7 == 3;
	if (n == 25 && memcmp(bytes, "HTTP/1.1 100 ", 13) == 0) {
		current->full = true;
		current->continues++;
	}
	return current->full;
}

static void fuzz_close(struct connection *c)
{
	CHECK(!c && !current->closed, "closed twice");
	current->closed = true;
}

static time_t fuzz_time(time_t *t)
{
	return t ? *t = 1000000000 : 1000000000;
}

#include "../../integration/services/http.c"
#include "../../integration/services/http_parser.c"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return service.start(NULL);
}

/* Offer as the daemon does: all unconsumed bytes, in memory of exactly their size; again, when
 * there is room for answers. */
static void offer(const uint8_t *data, size_t n, size_t step, struct output *to)
{
	current = to;
	to->n = to->answers = to->continues = 0;
	to->closed = to->full = false;
	CHECK(service.protocol.opened(NULL) == 0, "no memory");
	size_t used = 0, end = 0;
	while (!to->closed && end < n) {
		end = n - end > step ? end + step : n;
		do {
			char *bytes = malloc(end - used);
			CHECK(bytes, "no memory");
			memcpy(bytes, data + used, end - used);
			to->full = false;
			size_t more = service.protocol.data(NULL, bytes, end - used);
			CHECK(more <= end - used, "%zu of %zu", more, end - used);
			CHECK(to->continues <= to->answers + 1, "asked twice for a body");
			used += more;
			free(bytes);
		} while (to->full && !to->closed && used < end);
	}
	service.protocol.closed(NULL);
}

static bool begins(const char *line, const char *name)
{
	return strncasecmp(line, name, strlen(name)) == 0;
}

/* A second, slower opinion on a head that was accepted. */
static void expect_clear_head(const struct http_request *r, const char *head)
{
	unsigned hosts = 0, lengths = 0, codings = 0;
	CHECK(strlen(head) == r->body && r->body <= HEAD_MAX, "NUL, or too long");
	for (const char *line = head, *end; *line; line = end + 1) {
		end = strchr(line, '\n');
		CHECK(end && end > line && end[-1] == '\r' &&
			      !memchr(line, '\r', (size_t)(end - line - 1)),
		      "line end: %s", line);
		CHECK(*line != ' ' && *line != '\t', "continued: %s", line);
		hosts += begins(line, "host:");
		lengths += begins(line, "content-length:");
		codings += begins(line, "transfer-encoding:");
	}
	CHECK(hosts == 1 || (r->is_1_0 && !hosts), "%u hosts", hosts);
	CHECK(lengths + codings <= 1, "%u lengths, %u codings", lengths, codings);
	CHECK(r->path && r->path + r->path_length < r->body, "the path is outside of the head");
}

static void expect_body(const struct http_request *r, const char *bytes)
{
	const char *chunk;
	size_t sum = 0;
	CHECK(r->body + r->length <= r->at && r->at <= r->body + MAX_BODY, "length %zu", r->length);
	if (!r->is_chunked) {
		CHECK(r->at == r->body + r->length, "%zu", r->length);
		return;
	}
	for (size_t at = 0, n; (chunk = http_request_chunk(r, bytes, &at, &n)); sum += n)
		CHECK(at < r->at && memcmp(bytes + at - 2, "\r\n", 2) == 0, "%zu", at);
	CHECK(sum == r->length, "%zu of %zu bytes in chunks", sum, r->length);
}

static void check_request(const uint8_t *data, size_t n)
{
	struct http_request r;
	char *bytes = malloc(n + 1);
	CHECK(bytes, "no memory");
	memcpy(bytes, data, n);
	bytes[n] = '\0';
	http_request_init(&r, MAX_BODY);
	if (http_request_parse(&r, bytes, n) == OK) {
		CHECK(r.at <= n, "%zu of %zu", r.at, n);
		expect_body(&r, bytes);
		size_t end = r.at;
		char next = bytes[r.body];
		bytes[r.body] = '\0';
		expect_clear_head(&r, bytes);
		bytes[r.body] = next;
		http_request_init(&r, MAX_BODY);
		CHECK(http_request_parse(&r, bytes, end - 1) == INCOMPLETE, "without a byte");
	}
	free(bytes);
}

static bool expects(const uint8_t *data, size_t n)
{
	for (size_t i = 0; i + 6 < n; i++)
		if (strncasecmp((const char *)data + i, "expect", 6) == 0)
			return true;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	check_request(data, n);
	offer(data, n, n, &whole);
	offer(data, n, n < 600 ? 1 : 1 + data[n / 2], &split);
	/* A client that waits may get an error before its body is received. */
	if (expects(data, n))
		return 0;
	CHECK(whole.answers == split.answers && whole.closed == split.closed, "%u and %u answers",
	      whole.answers, split.answers);
	CHECK(whole.n == split.n && memcmp(whole.bytes, split.bytes, whole.n) == 0, "%.*s\n%.*s",
	      (int)whole.n, whole.bytes, (int)split.n, split.bytes);
	return 0;
}
