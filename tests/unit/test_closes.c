/* data/connection: closes lose no answer, and end although a peer does not receive. */
#include "fixture.h"
#include "peer.h"
#include "serving.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(closes, .init = fixture_enter, .fini = fixture_leave);

enum { ANSWER = 64 << 10 }; /* more than a small receive buffer; the kernel sends it slowly */

/* Answers a line with ANSWER bytes and closes. */
static size_t answer_and_close(struct connection *c, const char *bytes, size_t n)
{
	if (!memchr(bytes, '\n', n))
		return 0;
	connection_write(c, pattern(0, ANSWER), ANSWER);
	connection_close(c);
	return n;
}

/*
 * A client whose kernel accepts only some bytes of the answer. With small segments, it soon
 * announces that there is room again: the sender does not wait for its timer.
 */
static int slow_client(void)
{
	const struct address *a = &serving.snapshot->listener[0]->actual;
	int small = 4096, segment = 512, client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(setsockopt(client, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0);
	MUST(setsockopt(client, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment)) == 0);
	MUST(connect(client, (const struct sockaddr *)&a->sa, a->length) == 0);
	MUST(fcntl(client, F_SETFL, O_NONBLOCK) == 0);
	STEP_UNTIL(serving.n_opened == 1);
	int large = 4 * ANSWER; /* small segments take more memory */
	MUST(setsockopt(serving.last->fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)) == 0);
	return client;
}

/* The daemon has sent everything to its kernel, and lingers. */
static int lingering_client(void)
{
	serving.data = answer_and_close;
	serve("");
	int client = slow_client();
	client_send(client, "go\n");
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_null(serving.last->out);
	return client;
}

static void pass_second(void)
{
	pass_time(1);
	connection_list_check(serving.w);
	step_all();
}

static size_t open_connections(void)
{
	return workers_open_connections(serving.workers);
}

/* Receive N bytes of the answer, after the first AT. */
static void receive_some(int client, size_t at, size_t n)
{
	static char is[65536];
	for (size_t until = at + n; at < until; at += n) {
		ssize_t got;
		n = until - at < sizeof(is) ? until - at : sizeof(is);
		STEP_UNTIL((got = recv(client, is, n, 0)) >= 0 || errno != EAGAIN);
		cr_assert_gt(got, 0, "%s after %zu bytes", got ? strerror(errno) : "end", at);
		n = (size_t)got;
		cr_assert_eq(memcmp(is, pattern(at, n), n), 0);
	}
}

Test(closes, a_slow_reader_that_still_sends_gets_the_whole_answer)
{
	enum { EACH = ANSWER / 16 };
	int client = lingering_client();
	for (size_t at = 0; at < ANSWER; at += EACH) {
		receive_some(client, at, EACH);
		client_send(client, "x");
		pass_second();
	}
	client_expect_end(client);
	close(client);
	STEP_UNTIL(open_connections() == 0);
	cr_assert_eq(closed_by(CLOSED_BY_SERVICE), 1);
	serving_end();
}

Test(closes, lingering_ends_when_the_peer_makes_no_progress_for_five_seconds)
{
	int client = lingering_client();
	pass_second(); /* the kernel of the client accepts a few bytes */
	for (int i = 0; i < STALL_SECONDS; i++)
		pass_second();
	cr_assert_eq(open_connections(), 1);
	pass_second();
	cr_assert_eq(open_connections(), 0);
	cr_assert_eq(closed_by(CLOSED_BY_SERVICE), 1);
	close(client);
	serving_end();
}

Test(closes, lingering_ends_after_thirty_seconds)
{
	enum { EACH = 1024 };
	int client = lingering_client();
	for (size_t i = 0; i < LINGER_SECONDS; i++) {
		receive_some(client, i * EACH, EACH);
		pass_second();
	}
	cr_assert_eq(open_connections(), 1);
	pass_second();
	cr_assert_eq(open_connections(), 0);
	close(client);
	serving_end();
}

Test(closes, a_close_ends_although_the_peer_does_not_receive)
{
	enum { MUCH = 1 << 20 };
	serve("limits { idle_timeout = 0 }");
	int client = client_new();
	slow_down();
	connection_write(serving.last, pattern(0, MUCH), MUCH);
	cr_assert_gt(buffered(serving.last->out), 0);
	connection_close(serving.last);
	step_all();
	pass_second();
	for (int i = 0; i < STALL_SECONDS; i++)
		pass_second();
	cr_assert_eq(serving.n_closed, 0);
	pass_second();
	cr_assert_eq(serving.n_closed, 1);
	cr_assert_eq(closed_by(CLOSED_IDLE), 1);
	cr_assert_eq(workers_cut_off(serving.workers), 0, "no drain");
	close(client);
	serving_end();
}

Test(closes, a_close_waits_for_a_peer_that_receives_slowly)
{
	enum { MUCH = 64 << 10, EACH = MUCH / 16 };
	serve("limits { idle_timeout = 0 }");
	int client = slow_client();
	slow_down();
	connection_write(serving.last, pattern(0, MUCH), MUCH);
	connection_close(serving.last);
	for (size_t at = 0; at < MUCH; at += EACH) {
		receive_some(client, at, EACH);
		pass_second();
		pass_second();
	}
	client_expect_end(client);
	close(client);
	STEP_UNTIL(closed_by(CLOSED_BY_SERVICE) == 1);
	serving_end();
}

Test(closes, a_drain_does_not_wait_for_a_closing_connection_whose_peer_does_not_receive)
{
	enum { MUCH = 1 << 20 };
	serve("limits { idle_timeout = 0 }");
	int client = client_new();
	slow_down();
	connection_write(serving.last, pattern(0, MUCH), MUCH);
	connection_close(serving.last);
	workers_drain(serving.workers);
	step_all();
	pass_second();
	for (int i = 0; i <= STALL_SECONDS; i++)
		pass_second();
	cr_assert(workers_drained(serving.workers));
	cr_assert_eq(workers_cut_off(serving.workers), 1);
	cr_assert_gt(workers_unsent_bytes(serving.workers), 0);
	cr_assert_leq(workers_unsent_bytes(serving.workers), MUCH);
	close(client);
	serving_end();
}

Test(closes, a_lingering_connection_with_unsent_bytes_is_counted_as_cut_off)
{
	int client = lingering_client();
	workers_close_connections(serving.workers);
	STEP_UNTIL(workers_drained(serving.workers));
	cr_assert_eq(workers_cut_off(serving.workers), 1);
	cr_assert_gt(workers_unsent_bytes(serving.workers), 0);
	close(client);
	serving_end();
}

static int greet(struct connection *c)
{
	return connection_write(c, pattern(0, ANSWER), ANSWER) < 0 ? -1 : 0;
}

Test(closes, a_reset_before_opened_is_counted_as_an_error)
{
	struct linger reset = {1, 0};
	serving.opened = greet;
	serve("");
	int client = peer_connect(&serving.snapshot->listener[0]->actual);
	MUST(setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(client);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(closed_by(CLOSED_ERROR), 1);
	serving_end();
}
