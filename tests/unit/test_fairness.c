/* data: no client gets more than its share of a worker. */
#include "base/clock.h"
#include "fixture.h"
#include "peer.h"
#include "serving.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(fairness, .init = fixture_enter, .fini = fixture_leave);

enum { PEERS = 5, READS = 3, MUCH = READS * SCRATCH_SIZE, WAITING = 300, TURN = 64 };

static struct connection *peers[PEERS];
static char order[PEERS * READS * 2]; /* the order in which the connections were read, "abcab..." */

static size_t note_order(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	for (size_t i = 0; i < PEERS; i++)
		if (peers[i] == c && strlen(order) < sizeof(order) - 1)
			order[strlen(order)] = (char)('a' + i);
	return n;
}

/* The kernel has all bytes before the worker reads the first. */
static void send_all(int client, const struct connection *c, int n)
{
	int received = 0, large = 4 * n;
	MUST(setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large)) == 0);
	MUST(send(client, pattern(0, (size_t)n), (size_t)n, 0) == n);
	for (int64_t until = deadline(); received < n && !is_past(until);)
		MUST(ioctl(c->fd, FIONREAD, &received) == 0);
	cr_assert_eq(received, n);
}

/* No connection is ever ahead of another one by more than MARGIN reads. */
static void check_ahead_by_at_most(size_t most)
{
	size_t reads[PEERS] = {0};
	for (const char *at = order; *at; at++) {
		size_t now = ++reads[*at - 'a'];
		for (size_t i = 0; i < PEERS; i++)
			cr_assert_leq(now, reads[i] + most, "%s", order);
	}
}

/* If the kernel's clock ticks during a turn, the loop polls for wake-ups and other events: one
 * connection may then be read twice before the others. Without a tick that never happens. */
Test(fairness, each_connection_is_read_once_before_any_is_read_twice)
{
	int client[PEERS];
	bool ticked = true;
	serving.data = note_order;
	serve("");
	for (size_t i = 0; i < PEERS; i++) {
		client[i] = client_new();
		peers[i] = serving.last;
	}
	for (int64_t until = deadline(); ticked;) {
		cr_assert(!is_past(until), "no round without a tick");
		for (size_t i = 0; i < PEERS; i++)
			send_all(client[i], peers[i], MUCH);
		memset(order, 0, sizeof(order));
		uint64_t all = count_of(COUNT_RECEIVED) + PEERS * MUCH;
		double began = clock_seconds(CLOCK_MONOTONIC_COARSE);
		STEP_UNTIL(count_of(COUNT_RECEIVED) == all);
		ticked = clock_seconds(CLOCK_MONOTONIC_COARSE) > began;
		check_ahead_by_at_most(ticked ? 2 : 1);
	}
	for (size_t i = 0; i < PEERS; i++)
		close(client[i]);
	serving_end();
}

static unsigned opened_before;

static size_t note_opened(struct connection *c, const char *bytes, size_t n)
{
	(void)c, (void)bytes;
	opened_before = serving.n_opened;
	return n;
}

Test(fairness, new_connections_do_not_delay_requests)
{
	int waiting[WAITING];
	serving.data = note_opened;
	serve("");
	int client = client_new();
	send_all(client, serving.last, 1);
	for (size_t i = 0; i < WAITING; i++) {
		waiting[i] = peer_connect(&serving.snapshot->listener[0]->actual);
		MUST(waiting[i] >= 0);
	}
	STEP_UNTIL(serving.n_opened == 1 + WAITING && serving.n_data);
	cr_assert_leq(opened_before, 1 + TURN);
	for (size_t i = 0; i < WAITING; i++)
		close(waiting[i]);
	close(client);
	serving_end();
}
