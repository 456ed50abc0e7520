/* data/connection_io: the bytes written in one turn of the loop are sent in one piece. */
#include "fixture.h"
#include "serving.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(one_send, .init = fixture_enter, .fini = fixture_leave);

/* Segments with data that C has sent. The loopback interface takes 64 KiB in one. */
static unsigned segments(const struct connection *c)
{
	struct tcp_info info = {0};
	socklen_t n = sizeof(info);
	MUST(getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0);
	return info.tcpi_data_segs_out;
}

static size_t answer_each_byte(struct connection *c, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		cr_assert_eq(connection_write(c, "<", 1), 0);
		cr_assert_eq(connection_write(c, bytes + i, 1), 0);
		cr_assert_eq(connection_write(c, ">", 1), 0);
	}
	return n;
}

Test(one_send, writes_of_one_callback_are_sent_together)
{
	int client = serve_one(answer_each_byte, "", "abc");
	client_expect(client, "<a><b><c>");
	cr_assert_eq(segments(serving.last), 1);
	close(client);
	serving_end();
}

Test(one_send, writes_outside_of_a_callback_are_sent_together_at_the_end_of_the_turn)
{
	serve("");
	int first = client_new();
	struct connection *a = serving.last;
	int second = client_new();
	struct connection *b = serving.last;
	for (int i = 0; i < 5; i++) {
		cr_assert_eq(connection_write(a, "tick ", 5), 0);
		cr_assert_eq(connection_write(b, "tock ", 5), 0);
	}
	client_expect(first, "tick tick tick tick tick ");
	client_expect(second, "tock tock tock tock tock ");
	cr_assert_eq(segments(a), 1);
	cr_assert_eq(segments(b), 1);
	cr_assert_null(a->out, "an idle connection owns no buffer");
	close(first);
	close(second);
	serving_end();
}

static struct connection *others[2];

static size_t broadcast(struct connection *c, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		connection_write(others[0], bytes + i, 1);
		connection_write(c, ".", 1);
		connection_write(others[1], bytes + i, 1);
	}
	return n;
}

Test(one_send, a_callback_that_writes_to_other_connections_causes_one_send_for_each)
{
	int client[3];
	serving.data = broadcast;
	serve("");
	for (size_t i = 0; i < 3; i++) {
		client[i] = client_new();
		if (i < 2)
			others[i] = serving.last;
	}
	client_send(client[2], "hello");
	client_expect(client[0], "hello");
	client_expect(client[1], "hello");
	client_expect(client[2], ".....");
	for (size_t i = 0; i < 2; i++)
		cr_assert_eq(segments(others[i]), 1);
	cr_assert_eq(segments(serving.last), 1);
	for (size_t i = 0; i < 3; i++)
		close(client[i]);
	serving_end();
}

enum { HEAD = 256, BODY = 20000, TAIL = 3 };

static size_t answer_with_body(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	cr_assert_eq(connection_write(c, pattern(0, HEAD), HEAD), 0);
	cr_assert_eq(connection_write(c, pattern(HEAD, BODY), BODY), 0);
	cr_assert_eq(connection_write(c, pattern(HEAD + BODY, TAIL), TAIL), 0);
	return n;
}

Test(one_send, a_large_piece_is_sent_together_with_the_bytes_before_it)
{
	int client = serve_one(answer_with_body, "", "x");
	client_expect_pattern(client, HEAD + BODY + TAIL);
	cr_assert_eq(segments(serving.last), 2, "the last bytes follow alone");
	close(client);
	serving_end();
}

/* Bytes of all sizes arrive in order, also when the socket takes only some of them. */
static size_t answer_in_odd_pieces(struct connection *c, const char *bytes, size_t n)
{
	static size_t at;
	(void)bytes;
	for (size_t size = 1; size < 70000; size = size * 3 + 1) {
		connection_write(c, pattern(at, size), size);
		at += size;
	}
	return n;
}

Test(one_send, pieces_of_all_sizes_arrive_in_order_at_a_slow_reader)
{
	size_t sum = 0;
	for (size_t size = 1; size < 70000; size = size * 3 + 1)
		sum += size;
	serving.data = answer_in_odd_pieces;
	serve("limits { buffer = 16M }");
	int client = client_new();
	slow_down();
	for (int i = 0; i < 20; i++) {
		unsigned before = serving.n_data;
		client_send(client, "x");
		STEP_UNTIL(serving.n_data > before);
	}
	cr_assert_gt(buffered(serving.last->out), 0);
	client_expect_pattern(client, 20 * sum);
	cr_assert_eq(count_of(COUNT_SENT), 20 * sum);
	close(client);
	serving_end();
}

static struct linger reset = {1, 0};

/* The write returns 0, because nothing was sent yet; `closed` follows. */
Test(one_send, a_write_to_a_connection_that_was_reset_is_followed_by_closed)
{
	serve("");
	int client = client_new();
	MUST(setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(client);
	cr_assert_eq(connection_write(serving.last, "x", 1), 0);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(closed_by(CLOSED_ERROR), 1);
	serving_end();
}
