/* data/service_api and data/connection: the promises of service.h. */
#include "fixture.h"
#include "serving.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(service_api, .init = fixture_enter, .fini = fixture_leave);

Test(service_api, bytes_are_received_and_sent)
{
	int client = serve_one(echo, "", "hello");
	client_expect(client, "hello");
	client_send(client, " again");
	client_expect(client, " again");
	cr_assert_str_eq(serving.offered, "[hello][ again]");
	cr_assert_eq(count_of(COUNT_ACCEPTED), 1);
	cr_assert_eq(count_of(COUNT_RECEIVED), 11);
	cr_assert_eq(count_of(COUNT_SENT), 11);
	cr_assert_eq(count_of(N_COUNTERS + COUNTED), 2);
	cr_assert_eq(workers_open_connections(serving.workers), 1);
	close(client);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(closed_by(CLOSED_BY_PEER), 1);
	serving_end();
}

Test(service_api, unconsumed_bytes_are_offered_again_with_new_ones)
{
	static const char *const pieces[] = {"ab", "c", "\nde", "f", "\n"};
	serving.data = echo_lines;
	serve("");
	int client = client_new();
	for (unsigned i = 0; i < 5; i++) {
		client_send(client, pieces[i]);
		STEP_UNTIL(serving.n_data == i + 1);
		step_all();
		cr_assert_eq(serving.n_data, i + 1, "it was asked again for nothing new");
	}
	cr_assert_str_eq(serving.offered, "[ab][abc][abc\nde][def][def\n]");
	client_expect(client, "abc\ndef\n");
	close(client);
	serving_end();
}

Test(service_api, consuming_more_than_offered_consumes_all)
{
	int client = serve_one(echo_lines, "", "a");
	STEP_UNTIL(serving.n_data == 1);
	serving.data = NULL;
	client_send(client, "b");
	STEP_UNTIL(serving.n_data == 2);
	client_send(client, "c");
	STEP_UNTIL(serving.n_data == 3);
	cr_assert_str_eq(serving.offered, "[a][ab][c]");
	close(client);
	serving_end();
}

enum { BLOCK = 3000, LIMIT = 8192 };
static struct {
	size_t written;
	unsigned full; /* times that connection_write() returned 1 */
} blocks;

/* Answer each byte with a block, until connection_write() returns 1. */
static size_t send_blocks(struct connection *c, const char *bytes, size_t n)
{
	size_t used = 0;
	int full = 0;
	(void)bytes;
	cr_assert_lt(buffered(c->out), LIMIT, "it was asked while it should wait");
	while (used < n && !full) {
		full = connection_write(c, pattern(blocks.written, BLOCK), BLOCK);
		cr_assert_eq(full, buffered(c->out) >= LIMIT, "%zu bytes are queued",
			     buffered(c->out));
		blocks.written += BLOCK;
		blocks.full += (unsigned)full;
		used++;
	}
	return used;
}

Test(service_api, a_slow_reader_is_answered_no_faster_than_it_reads)
{
	enum { REQUESTS = 4000 };
	char requests[REQUESTS + 1];
	memset(requests, 'x', REQUESTS);
	requests[REQUESTS] = '\0';
	serving.data = send_blocks;
	serve("limits { buffer = 8192 }");
	int client = client_new();
	slow_down();
	client_send(client, requests);
	STEP_UNTIL(blocks.full);
	step_all();
	for (int i = 0; i < 1000; i++) {
		step();
		cr_assert_lt(buffered(serving.last->out), LIMIT + BLOCK);
	}
	cr_assert_lt(blocks.written, (size_t)REQUESTS * BLOCK,
		     "everything is sent, although no client reads");
	client_send(client, "y");
	client_expect_pattern(client, (size_t)(REQUESTS + 1) * BLOCK);
	cr_assert_eq(blocks.written, (size_t)(REQUESTS + 1) * BLOCK);
	cr_assert_gt(blocks.full, 2);
	cr_assert_eq(count_of(COUNT_SENT), blocks.written);
	cr_assert_null(serving.last->out, "an idle connection owns no buffer");
	cr_assert_null(serving.last->in);
	close(client);
	serving_end();
}

Test(service_api, reading_pauses_while_an_echo_is_unsent)
{
	enum { N = 1 << 20, PIECE = 65536 };
	static char is[PIECE];
	size_t sent = 0, taken = 0;
	unsigned paused = 0;
	serving.data = echo;
	serve("limits { buffer = 8192 }");
	int client = client_new();
	slow_down();
	while (taken < N) {
		ssize_t n = sent < N ? send(client, pattern(sent, PIECE), PIECE, 0) : 0;
		sent += n > 0 ? (size_t)n : 0;
		for (int i = 0; i < 10; i++) {
			step();
			size_t out = buffered(serving.last->out);
			bool reads = event_pending(&serving.last->event, EV_READ, NULL);
			cr_assert(out < LIMIT ? reads : out == LIMIT && !reads, "%zu", out);
			paused += !reads;
		}
		if (n > 0)
			continue; /* fill the sockets; no byte is received */
		n = recv(client, is, sizeof(is), 0);
		cr_assert(n <= 0 || memcmp(is, pattern(taken, (size_t)n), (size_t)n) == 0);
		taken += n > 0 ? (size_t)n : 0;
	}
	cr_assert_gt(paused, 0);
	cr_assert_eq(count_of(COUNT_SENT), sent);
	close(client);
	serving_end();
}

/* Written between two turns of the loop, as from a timer. */
Test(service_api, written_bytes_are_sent_behind_queued_bytes)
{
	enum { FIRST = 1 << 20, SECOND = 1000 };
	static char is[65536];
	serve("limits { buffer = 2M }");
	int client = client_new();
	slow_down();
	cr_assert_eq(connection_write(serving.last, pattern(0, FIRST), FIRST), 0);
	cr_assert_gt(buffered(serving.last->out), 0);
	ssize_t n = recv(client, is, sizeof(is), 0); /* now there is room before them */
	MUST(n > 0 && memcmp(is, pattern(0, sizeof(is)), (size_t)n) == 0);
	for (size_t i = 0; i < SECOND; i++)
		connection_write(serving.last, pattern(i, 1), 1);
	for (size_t at = (size_t)n; at < FIRST + SECOND; at += (size_t)n) {
		STEP_UNTIL((n = recv(client, is, sizeof(is), 0)) > 0);
		cr_assert_eq(memcmp(is, pattern(at, (size_t)n), (size_t)n), 0, "%zu", at);
	}
	close(client);
	serving_end();
}

/* Answers a line with 1 MiB and closes. */
static size_t send_pattern(struct connection *c, const char *bytes, size_t n)
{
	if (!memchr(bytes, '\n', n))
		return 0;
	connection_write(c, pattern(0, 1 << 20), 1 << 20);
	connection_close(c);
	cr_assert_eq(connection_write(c, "x", 1), -1);
	return n;
}

Test(service_api, close_sends_queued_bytes)
{
	serving.data = send_pattern;
	serve("");
	int client = client_new();
	slow_down();
	client_send(client, "go\n");
	client_expect_pattern(client, 1 << 20);
	client_expect_end(client);
	cr_assert_eq(serving.n_closed, 1);
	close(client);
	STEP_UNTIL(workers_open_connections(serving.workers) == 0);
	cr_assert_eq(closed_by(CLOSED_BY_SERVICE), 1);
	serving_end();
}

static int write_and_reject(struct connection *c)
{
	connection_write(c, "full\n", 5);
	return -1;
}

Test(service_api, a_connection_that_opened_rejects_is_closed)
{
	serving.opened = write_and_reject;
	serve("");
	int client = client_new();
	client_expect(client, "full\n");
	client_expect_end(client);
	cr_assert_eq(serving.n_closed, 1);
	close(client);
	STEP_UNTIL(workers_open_connections(serving.workers) == 0);
	cr_assert_eq(closed_by(CLOSED_BY_SERVICE), 1);
	serving_end();
}

static int greet(struct connection *c)
{
	connection_set_data(c, &serving);
	cr_assert_eq(connection_data(c), &serving);
	cr_assert_eq(connection_worker(c), serving.w);
	return connection_write(c, "hi\n", 3);
}

Test(service_api, a_service_can_write_first)
{
	serving.opened = greet;
	serve("");
	int client = client_new();
	client_expect(client, "hi\n");
	cr_assert_eq(connection_data(serving.last), &serving);
	close(client);
	serving_end();
}

Test(service_api, a_request_larger_than_the_buffer_closes_the_connection)
{
	char most[4096] = "";
	serving.data = echo_lines;
	serve("limits { buffer = 4096 }");
	int client = client_new(), other = client_new();
	memset(most, 'x', 4094);
	client_send(client, most);
	STEP_UNTIL(count_of(COUNT_RECEIVED) == 4094);
	step_all();
	cr_assert_eq(serving.n_closed, 0);
	client_send(client, "\n");
	most[4094] = '\n';
	client_expect(client, most);
	most[4094] = 'x';
	client_send(client, most);
	client_send(client, "xy");
	STEP_UNTIL(serving.n_closed == 1 && closed_by(CLOSED_OVERFLOW) == 1);
	client_send(other, "still\n");
	client_expect(other, "still\n");
	close(client);
	close(other);
	serving_end();
}

Test(service_api, a_client_that_half_closes_gets_its_answers)
{
	int client = serve_one(echo_lines, "", "one\ntwo\nthr");
	MUST(shutdown(client, SHUT_WR) == 0);
	client_expect(client, "one\ntwo\n");
	client_expect_end(client);
	cr_assert_eq(serving.n_closed, 1);
	cr_assert_eq(closed_by(CLOSED_BY_PEER), 1);
	cr_assert_str_eq(serving.offered, "[one\ntwo\nthr]");
	close(client);
	serving_end();
}

Test(service_api, a_slow_client_that_half_closes_gets_its_answers)
{
	serving.data = send_blocks;
	serve("limits { buffer = 8192 }");
	int client = client_new();
	char requests[1001];
	memset(requests, 'x', 1000);
	requests[1000] = '\0';
	slow_down();
	client_send(client, requests);
	MUST(shutdown(client, SHUT_WR) == 0);
	STEP_UNTIL(blocks.full);
	step_all();
	client_expect_pattern(client, 1000 * BLOCK);
	client_expect_end(client);
	cr_assert_eq(closed_by(CLOSED_BY_PEER), 1);
	close(client);
	serving_end();
}

Test(service_api, a_reset_is_counted_as_an_error)
{
	struct linger reset = {1, 0};
	serve("");
	int client = client_new();
	MUST(setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(client);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(closed_by(CLOSED_ERROR), 1);
	serving_end();
}

static void write_after_close(struct connection *c)
{
	cr_assert_eq(connection_write(c, "x", 1), -1);
	connection_close(c);
}

Test(service_api, writing_to_a_closed_connection_fails)
{
	serving.closed = write_after_close;
	serve("");
	int client = client_new(), other = client_new();
	close(client);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(closed_by(CLOSED_BY_PEER), 1);
	workers_close_connections(serving.workers);
	STEP_UNTIL(serving.n_closed == 2);
	close(other);
	serving_end();
}
