/* data/connection_io: limits.memory bounds the buffers of all connections. */
#include "fixture.h"
#include "serving.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(memory, .init = fixture_enter, .fini = fixture_leave);

enum { CLIENTS = 40, LIMIT = 1 << 20, EACH = 60000 };
static int client[CLIENTS];
static struct connection *connections[CLIENTS];

static void serve_clients(void)
{
	int small = 4096;
	serve("limits { memory = 1M }");
	for (size_t i = 0; i < CLIENTS; i++) {
		client[i] = client_new();
		connections[i] = serving.last;
		slow_down();
		MUST(setsockopt(client[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0);
	}
}

static void end_clients(void)
{
	for (size_t i = 0; i < CLIENTS; i++)
		close(client[i]);
	STEP_UNTIL(workers_open_connections(serving.workers) == 0);
	cr_assert_eq(count_of(COUNT_BUFFERED), 0);
	serving_end();
}

static size_t answer_or_keep(struct connection *c, const char *bytes, size_t n)
{
	return bytes[0] == 'a' ? echo(c, bytes, n) : 0;
}

static void expect_served(size_t i)
{
	client_send(client[i], "a");
	client_expect(client[i], "a");
}

Test(memory, unsent_bytes_are_limited_and_the_connection_with_the_most_is_closed)
{
	serving.data = answer_or_keep;
	serve_clients();
	connection_write(connections[7], pattern(0, LIMIT / 2), LIMIT / 2);
	cr_assert_eq(serving.n_closed, 0);
	for (size_t i = 10; i < CLIENTS; i++) {
		connection_write(connections[i], pattern(0, EACH), EACH);
		cr_assert_leq(count_of(COUNT_BUFFERED), LIMIT);
	}
	step_all();
	cr_assert_eq(connection_write(connections[8], "", 0), 0);
	cr_assert_gt(closed_by(CLOSED_MEMORY), 0);
	cr_assert_lt(closed_by(CLOSED_MEMORY), CLIENTS - 10);
	client_expect_pattern(client[CLIENTS - 1], EACH);
	expect_served(8);
	end_clients();
}

Test(memory, unconsumed_bytes_are_limited)
{
	serving.data = answer_or_keep;
	serve_clients();
	for (size_t i = 1; i < CLIENTS; i++) {
		char part[EACH] = "";
		memset(part, 'p', sizeof(part) - 1);
		client_send(client[i], part);
		step_all();
		cr_assert_leq(count_of(COUNT_BUFFERED), LIMIT);
	}
	cr_assert_gt(closed_by(CLOSED_MEMORY), 0);
	expect_served(0);
	end_clients();
}

static size_t write_without_end(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	for (int i = 0; connection_write(c, pattern(0, EACH), EACH) >= 0; i++)
		cr_assert_lt(i, 1000);
	return n;
}

Test(memory, a_callback_that_writes_without_end_is_stopped)
{
	serving.data = write_without_end;
	serve_clients();
	client_send(client[3], "x");
	STEP_UNTIL(closed_by(CLOSED_MEMORY) == 1);
	cr_assert_eq(serving.n_closed, 1);
	end_clients();
}

Test(memory, a_connection_with_unsent_bytes_is_not_read_while_memory_is_short)
{
	enum { PIECE = 20000, MUCH = 180000 };
	serving.data = answer_or_keep;
	serve_clients();
	do { /* more than three quarters of the limit, in the queue of the first connection */
		connection_write(connections[0], pattern(0, PIECE), PIECE);
		step_all();
	} while (count_of(COUNT_BUFFERED) <= LIMIT / 4 * 3 + PIECE);
	connection_write(connections[CLIENTS - 1], pattern(0, MUCH), MUCH);
	step_all();
	cr_assert_eq(serving.n_closed, 0);
	unsigned before = serving.n_data;
	client_send(client[CLIENTS - 1], "a");
	step_all();
	cr_assert_eq(serving.n_data, before);
	client_expect_pattern(client[CLIENTS - 1], MUCH);
	client_expect(client[CLIENTS - 1], "a");
	end_clients();
}

/* 1 TiB is more than a size_t of 32 bits can hold. */
Test(memory, the_largest_limit_closes_no_connection)
{
	enum { MUCH = 2 << 20 };
	serve("limits { memory = 1024G }");
	int one = client_new();
	slow_down();
	connection_write(serving.last, pattern(0, MUCH), MUCH);
	cr_assert_gt(buffered(serving.last->out), MUCH / 2);
	client_expect_pattern(one, MUCH);
	close(one);
	serving_end();
}

static size_t heap(void)
{
	struct mallinfo2 m = mallinfo2();
	return m.uordblks + m.hblkhd;
}

/* One byte would hold the memory of all bytes that were received before it. */
Test(memory, a_small_rest_of_many_bytes_needs_little_memory)
{
	enum { MUCH = 60000, LITTLE = 16384 };
	static char lines[MUCH + 1];
	memset(lines, '\n', MUCH);
	lines[MUCH - 1] = 'x';
	serving.data = echo_lines;
	serve("");
	int one = client_new();
	size_t before = heap();
	for (int i = 0; i < 2; i++) {
		client_send(one, i ? lines : "x");
		STEP_UNTIL(count_of(COUNT_RECEIVED) == (i ? MUCH + 1 : 1));
		step_all();
	}
	cr_assert_eq(buffered(serving.last->in), 1);
	cr_assert_lt(heap(), before + LITTLE, "%zu bytes", heap() - before);
	close(one);
	serving_end();
}
