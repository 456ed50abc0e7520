/* data: places in limits.connections, unbalanced releases, and options of accepted sockets. */
#include "fixture.h"
#include "peer.h"
#include "serving.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(places, .init = fixture_enter, .fini = fixture_leave);

static size_t hold_it(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	connection_hold(c);
	return n;
}

Test(places, a_held_connection_keeps_its_place_when_its_peer_has_left)
{
	struct linger reset = {1, 0};
	int client = serve_one(hold_it, "limits { connections = 1 }", "x");
	STEP_UNTIL(serving.n_data == 1);
	struct connection *held = serving.last;
	MUST(setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(client);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(workers_open_connections(serving.workers), 1);
	int second = peer_connect(&serving.snapshot->listener[0]->actual);
	STEP_UNTIL(count_of(COUNT_ACCEPTED) == 2);
	client_expect_end(second);
	cr_assert_eq(closed_by(CLOSED_LIMIT), 1);
	close(second);
	connection_release(held);
	STEP_UNTIL(workers_open_connections(serving.workers) == 0);
	close(client_new());
	serving_end();
}

Test(places, a_forced_stop_does_not_wait_for_a_held_connection)
{
	int client = serve_one(hold_it, "", "x");
	STEP_UNTIL(serving.n_data == 1);
	workers_close_connections(serving.workers);
	STEP_UNTIL(workers_drained(serving.workers));
	cr_assert_eq(workers_open_connections(serving.workers), 0);
	connection_release(serving.last);
	step_all();
	cr_assert_eq(workers_open_connections(serving.workers), 0);
	close(client);
	serving_end();
}

Test(places, a_release_without_a_hold_is_ignored_and_logged)
{
	serve("");
	int client = client_new();
	connection_release(serving.last);
	cr_assert_eq(serving.last->holds, 0);
	cr_assert_neq(serving.workers->warning[WARN_RELEASE].not_before, 0);
	close(client);
	STEP_UNTIL(serving.n_closed == 1);
	step_all();
	cr_assert_eq(workers_open_connections(serving.workers), 0);
	serving_end();
}

Test(places, a_release_of_a_worker_without_a_hold_is_ignored_and_logged)
{
	serve("");
	worker_release(serving.w);
	cr_assert_neq(serving.workers->warning[WARN_RELEASE].not_before, 0);
	worker_hold(serving.w);
	workers_drain(serving.workers);
	step_all();
	cr_assert_not(workers_drained(serving.workers), "the hold counts");
	worker_release(serving.w);
	cr_assert(workers_drained(serving.workers));
	serving_end();
}

static int option(int level, int name)
{
	int value = 0;
	socklen_t n = sizeof(value);
	MUST(getsockopt(serving.last->fd, level, name, &value, &n) == 0);
	return value;
}

Test(places, accepted_sockets_have_keepalive)
{
	serve("");
	int client = client_new();
	cr_assert_eq(option(SOL_SOCKET, SO_KEEPALIVE), 1);
	close(client);
	serving_end();
}

Test(places, a_connection_with_unsent_bytes_has_a_user_timeout)
{
	serve("limits { idle_timeout = 7 }");
	int client = client_new();
	slow_down();
	cr_assert_eq(option(IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
	connection_write(serving.last, pattern(0, 1 << 20), 1 << 20);
	step_all();
	cr_assert_eq(option(IPPROTO_TCP, TCP_USER_TIMEOUT), 7000);
	close(client);
	serving_end();
}

/* The kernel takes milliseconds as an int. */
Test(places, the_user_timeout_of_a_year_is_the_longest_one)
{
	serve("limits { idle_timeout = 31536000 }");
	int client = client_new();
	slow_down();
	connection_write(serving.last, pattern(0, 1 << 20), 1 << 20);
	step_all();
	cr_assert_eq(option(IPPROTO_TCP, TCP_USER_TIMEOUT), INT_MAX);
	close(client);
	serving_end();
}
