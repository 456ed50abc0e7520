/* data/connection_list: a drain finishes received requests and closes the other connections. */
#include "fixture.h"
#include "serving.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

TestSuite(drain, .init = fixture_enter, .fini = fixture_leave);

/* Stop the timer of the grace period, so that the speed of the machine does not matter. */
static void begin_drain(void)
{
	workers_drain(serving.workers);
	STEP_UNTIL(serving.n_draining);
	event_del(serving.w->check);
	step_all();
}

/* The drain ends with CLIENT, the last connection. */
static void expect_drained(int client)
{
	client_expect_end(client);
	close(client);
	STEP_UNTIL(workers_drained(serving.workers));
	cr_assert_eq(closed_by(CLOSED_DRAIN), serving.n_opened);
	cr_assert_eq(workers_cut_off(serving.workers), 0);
	serving_end();
}

Test(drain, drain_closes_idle_connections)
{
	int client = serve_one(echo, "", "x");
	client_expect(client, "x");
	pass_time(2);
	has_progress();
	begin_drain();
	cr_assert_eq(serving.n_closed, 1, "at once");
	cr_assert_eq(serving.n_drain, 1);
	cr_assert_eq(serving.n_draining, 1);
	cr_assert(has_progress());
	expect_drained(client);
}

/* The request arrives after the drain has begun. */
Test(drain, drain_answers_a_request_within_the_grace_period)
{
	int client = serve_one(echo, "", "x");
	client_expect(client, "x");
	begin_drain();
	cr_assert_eq(serving.n_closed, 0);
	client_send(client, "y");
	client_expect(client, "y");
	expect_drained(client);
}

Test(drain, drain_closes_a_silent_connection_after_the_grace_period)
{
	struct timeval at, now;
	int client = serve_one(echo, "", "x");
	client_expect(client, "x");
	workers_drain(serving.workers);
	STEP_UNTIL(serving.n_draining);
	if (event_pending(serving.w->check, EV_TIMEOUT, &at)) { /* the request has arrived */
		gettimeofday(&now, NULL);
		timersub(&at, &now, &at);
		cr_assert_lt(at.tv_sec * 1000 + at.tv_usec / 1000, GRACE_MS + 100);
	}
	expect_drained(client);
}

/* A request that arrives just before the end of the grace period is answered. */
Test(drain, drain_answers_a_request_that_arrives_as_the_grace_period_ends)
{
	int client = serve_one(echo, "", "x"), received = 0;
	client_expect(client, "x");
	begin_drain();
	client_send(client, "y");
	for (int64_t until = deadline(); received < 1 && !is_past(until);)
		MUST(ioctl(serving.last->fd, FIONREAD, &received) == 0);
	connection_list_check(serving.w);
	client_expect(client, "y");
	expect_drained(client);
}

static struct connection *peers[4];

static void write_to_next_connection(struct connection *c)
{
	if (c == peers[0])
		connection_write(peers[1], "bye", 3);
}

Test(drain, drain_reaches_every_connection_when_a_callback_uses_another_one)
{
	int client[4];
	serving.data = echo;
	serve("");
	for (size_t i = 0; i < 4; i++) {
		client[i] = client_new();
		peers[i] = serving.last;
	}
	begin_drain();
	serving.w->now++;
	serving.closed = write_to_next_connection;
	connection_list_check(serving.w);
	cr_assert_eq(serving.n_closed, 4);
	for (size_t i = 0; i < 4; i++)
		close(client[i]);
	STEP_UNTIL(workers_drained(serving.workers));
	serving_end();
}

Test(drain, drain_with_timeout_0_has_no_grace_period)
{
	int client = serve_one(echo, "drain_timeout = 0", "x");
	client_expect(client, "x");
	begin_drain();
	cr_assert_eq(serving.n_closed, 1);
	expect_drained(client);
}

Test(drain, drain_answers_received_requests)
{
	serving.data = echo;
	serve("");
	int client[3];
	for (int i = 0; i < 3; i++) {
		client[i] = client_new();
		client_send(client[i], "x");
		client_expect(client[i], "x");
	}
	for (int i = 0; i < 3; i++)
		client_send(client[i], "before"); /* not yet read */
	workers_drain(serving.workers);
	for (int i = 0; i < 3; i++) {
		client_expect(client[i], "before");
		client_expect_end(client[i]);
		close(client[i]);
	}
	STEP_UNTIL(workers_drained(serving.workers));
	cr_assert_eq(serving.n_draining, 3);
	cr_assert_eq(closed_by(CLOSED_DRAIN), 3);
	serving_end();
}

Test(drain, drain_reads_all_received_bytes)
{
	enum { N = 150000 }; /* takes more than one read */
	serving.data = echo;
	serve("");
	int client = client_new(), received = 0, large = 4 * N;
	MUST(setsockopt(serving.last->fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large)) == 0);
	MUST(send(client, pattern(0, N), N, 0) == N);
	for (int64_t until = deadline(); received < N && !is_past(until);)
		MUST(ioctl(serving.last->fd, FIONREAD, &received) == 0);
	cr_assert_eq(received, N);
	workers_drain(serving.workers);
	client_expect_pattern(client, N);
	expect_drained(client);
}

Test(drain, drain_waits_for_the_rest_of_a_request)
{
	int client = serve_one(echo_lines, "", "first ");
	STEP_UNTIL(serving.n_data == 1);
	begin_drain();
	cr_assert_not(workers_drained(serving.workers));
	client_send(client, "rest\n");
	client_expect(client, "first rest\n");
	expect_drained(client);
}

static size_t hold_forever(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	connection_hold(c);
	return n;
}

Test(drain, drain_waits_for_held_connections)
{
	int client = serve_one(hold_forever, "", "x");
	STEP_UNTIL(serving.n_data == 1);
	begin_drain();
	cr_assert_eq(serving.n_closed, 0);
	cr_assert_not(workers_drained(serving.workers));
	connection_write(serving.last, "answer", 6);
	connection_release(serving.last);
	client_expect(client, "answer");
	expect_drained(client);
}

Test(drain, drain_waits_for_queued_bytes)
{
	enum { N = 1 << 20 };
	serve("");
	int client = client_new();
	slow_down();
	connection_write(serving.last, pattern(0, N), N);
	begin_drain();
	cr_assert_not(workers_drained(serving.workers));
	client_expect_pattern(client, N);
	expect_drained(client);
}

/* The timer of the grace period is shared: it must not change a busy connection. */
Test(drain, the_grace_period_does_not_close_busy_connections)
{
	serving.data = echo_lines;
	serve("");
	int client = client_new(), other = client_new();
	client_send(other, "half");
	STEP_UNTIL(serving.n_data == 1);
	workers_drain(serving.workers);
	client_expect_end(client);
	cr_assert_eq(serving.n_closed, 1);
	client_send(other, " and half\n");
	client_expect(other, "half and half\n");
	close(client);
	expect_drained(other);
}

/* Its peer still sends: the connection lingers, and is closed with the others. */
Test(drain, lingering_connections_are_not_counted_as_cut_off)
{
	int client = serve_one(hold_forever, "", "x");
	STEP_UNTIL(serving.n_data == 1);
	client_send(client, "is not heard any more");
	connection_close(serving.last);
	connection_release(serving.last);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(workers_open_connections(serving.workers), 1);
	workers_close_connections(serving.workers);
	STEP_UNTIL(workers_drained(serving.workers));
	cr_assert_eq(workers_open_connections(serving.workers), 0);
	cr_assert_eq(workers_cut_off(serving.workers), 0);
	cr_assert_eq(closed_by(CLOSED_BY_SERVICE), 1);
	close(client);
	serving_end();
}

Test(drain, unfinished_connections_are_cut_off_at_the_deadline)
{
	serving.data = hold_forever;
	serve("");
	int client = client_new();
	struct connection *held = serving.last;
	int idle = client_new();
	client_send(client, "x");
	STEP_UNTIL(serving.n_data == 1);
	workers_drain(serving.workers);
	client_expect_end(idle);
	cr_assert_not(workers_drained(serving.workers));
	workers_close_connections(serving.workers);
	STEP_UNTIL(workers_drained(serving.workers));
	cr_assert_eq(closed_by(CLOSED_DEADLINE), 1);
	cr_assert_eq(workers_cut_off(serving.workers), 1);
	cr_assert_eq(workers_open_connections(serving.workers), 0);
	connection_release(held);
	close(client);
	close(idle);
	serving_end();
}

static void hold_worker(struct worker *w)
{
	worker_hold(w);
}

Test(drain, drain_waits_for_a_held_worker)
{
	serving.drain = hold_worker;
	serve("");
	worker_hold(serving.w);
	workers_drain(serving.workers);
	STEP_UNTIL(serving.n_drain == 1);
	step_all();
	cr_assert_not(workers_drained(serving.workers));
	worker_release(serving.w);
	cr_assert_not(workers_drained(serving.workers));
	has_progress();
	worker_release(serving.w);
	cr_assert(workers_drained(serving.workers));
	cr_assert(has_progress());
	serving_end();
}
