/* data/connections: a drain finishes what was received, and closes the rest. */
#include "fixture.h"
#include "serving.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

TestSuite(drain, .init = fixture_enter, .fini = fixture_leave);

/* No time goes by, however slow this machine is. */
static void begin_drain(void)
{
	plane_drain(serving.plane);
	STEP_UNTIL(serving.n_draining);
	event_del(serving.w->look);
	step_all();
}

/* It comes to its end, since nobody but CLIENT is left. */
static void expect_drained(int client)
{
	client_expect_end(client);
	close(client);
	STEP_UNTIL(plane_drained(serving.plane));
	cr_assert_eq(closed_by(CLOSED_DRAIN), serving.n_opened);
	cr_assert_eq(plane_cut_off(serving.plane), 0);
	serving_end();
}

Test(drain, closes_what_is_idle)
{
	int client = serve_one(echo, "", "x");
	client_expect(client, "x");
	pass_time(2);
	has_news();
	begin_drain();
	cr_assert_eq(serving.n_closed, 1, "at once");
	cr_assert_eq(serving.n_drain, 1);
	cr_assert_eq(serving.n_draining, 1);
	cr_assert(has_news());
	expect_drained(client);
}

/* The drain begins with nothing to read, and the request comes after that. */
Test(drain, answers_what_was_under_way)
{
	int client = serve_one(echo, "", "x");
	client_expect(client, "x");
	begin_drain();
	cr_assert_eq(serving.n_closed, 0);
	client_send(client, "y");
	client_expect(client, "y");
	expect_drained(client);
}

Test(drain, does_not_wait_long_for_what_may_be_under_way)
{
	struct timeval at, now;
	int client = serve_one(echo, "", "x");
	client_expect(client, "x");
	plane_drain(serving.plane);
	STEP_UNTIL(serving.n_draining);
	if (event_pending(serving.w->look, EV_TIMEOUT, &at)) { /* else it has come */
		gettimeofday(&now, NULL);
		timersub(&at, &now, &at);
		cr_assert_lt(at.tv_sec * 1000 + at.tv_usec / 1000, FRESH_MS + 100);
	}
	expect_drained(client);
}

/* What came just before the moment was over is no less received. */
Test(drain, answers_what_came_as_the_moment_ended)
{
	int client = serve_one(echo, "", "x"), received = 0;
	client_expect(client, "x");
	begin_drain();
	client_send(client, "y");
	for (int64_t until = in_ten_seconds(); received < 1 && !is_past(until);)
		MUST(ioctl(serving.last->fd, FIONREAD, &received) == 0);
	connections_look(serving.w);
	client_expect(client, "y");
	expect_drained(client);
}

static struct connection *peers[4];

static void tell_the_next(struct connection *c)
{
	if (c == peers[0])
		connection_write(peers[1], "bye", 3);
}

Test(drain, forgets_nobody_when_one_is_told_of_another)
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
	serving.closed = tell_the_next;
	connections_look(serving.w);
	cr_assert_eq(serving.n_closed, 4);
	for (size_t i = 0; i < 4; i++)
		close(client[i]);
	STEP_UNTIL(plane_drained(serving.plane));
	serving_end();
}

Test(drain, without_a_timeout_it_waits_for_nothing)
{
	int client = serve_one(echo, "drain_timeout = 0", "x");
	client_expect(client, "x");
	begin_drain();
	cr_assert_eq(serving.n_closed, 1);
	expect_drained(client);
}

Test(drain, answers_what_was_received)
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
		client_send(client[i], "before"); /* and nobody has read it */
	plane_drain(serving.plane);
	for (int i = 0; i < 3; i++) {
		client_expect(client[i], "before");
		client_expect_end(client[i]);
		close(client[i]);
	}
	STEP_UNTIL(plane_drained(serving.plane));
	cr_assert_eq(serving.n_draining, 3);
	cr_assert_eq(closed_by(CLOSED_DRAIN), 3);
	serving_end();
}

Test(drain, reads_all_that_was_received)
{
	enum { N = 150000 }; /* takes more than one read */
	serving.data = echo;
	serve("");
	int client = client_new(), received = 0, large = 4 * N;
	MUST(setsockopt(serving.last->fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large)) == 0);
	MUST(send(client, pattern(0, N), N, 0) == N);
	for (int64_t until = in_ten_seconds(); received < N && !is_past(until);)
		MUST(ioctl(serving.last->fd, FIONREAD, &received) == 0);
	cr_assert_eq(received, N);
	plane_drain(serving.plane);
	client_expect_pattern(client, N);
	expect_drained(client);
}

Test(drain, waits_for_the_rest_of_a_request)
{
	int client = serve_one(echo_lines, "", "first ");
	STEP_UNTIL(serving.n_data == 1);
	begin_drain();
	cr_assert_not(plane_drained(serving.plane));
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

Test(drain, waits_for_what_is_held)
{
	int client = serve_one(hold_forever, "", "x");
	STEP_UNTIL(serving.n_data == 1);
	begin_drain();
	cr_assert_eq(serving.n_closed, 0);
	cr_assert_not(plane_drained(serving.plane));
	connection_write(serving.last, "answer", 6);
	connection_release(serving.last);
	client_expect(client, "answer");
	expect_drained(client);
}

Test(drain, waits_for_what_is_queued)
{
	enum { N = 1 << 20 };
	serve("");
	int client = client_new();
	slow_down();
	connection_write(serving.last, pattern(0, N), N);
	begin_drain();
	cr_assert_not(plane_drained(serving.plane));
	client_expect_pattern(client, N);
	expect_drained(client);
}

/* The moment that one is given is another one's to wait for, too: it changes nothing for it. */
Test(drain, the_moment_goes_by_for_who_has_something_to_wait_for)
{
	serving.data = echo_lines;
	serve("");
	int client = client_new(), other = client_new();
	client_send(other, "half");
	STEP_UNTIL(serving.n_data == 1);
	plane_drain(serving.plane);
	client_expect_end(client);
	cr_assert_eq(serving.n_closed, 1);
	client_send(other, " and half\n");
	client_expect(other, "half and half\n");
	close(client);
	expect_drained(other);
}

/* Its peer still speaks: it lingers, and is closed with the others. */
Test(drain, what_lingers_is_not_cut_off)
{
	int client = serve_one(hold_forever, "", "x");
	STEP_UNTIL(serving.n_data == 1);
	client_send(client, "is not heard any more");
	connection_close(serving.last);
	connection_release(serving.last);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(plane_open(serving.plane), 1);
	plane_close(serving.plane);
	STEP_UNTIL(plane_drained(serving.plane));
	cr_assert_eq(plane_open(serving.plane), 0);
	cr_assert_eq(plane_cut_off(serving.plane), 0);
	cr_assert_eq(closed_by(CLOSED_BY_SERVICE), 1);
	close(client);
	serving_end();
}

Test(drain, what_is_not_finished_is_cut_off_in_the_end)
{
	serving.data = hold_forever;
	serve("");
	int client = client_new();
	struct connection *held = serving.last;
	int idle = client_new();
	client_send(client, "x");
	STEP_UNTIL(serving.n_data == 1);
	plane_drain(serving.plane);
	client_expect_end(idle);
	cr_assert_not(plane_drained(serving.plane));
	plane_close(serving.plane);
	STEP_UNTIL(plane_drained(serving.plane));
	cr_assert_eq(closed_by(CLOSED_DEADLINE), 1);
	cr_assert_eq(plane_cut_off(serving.plane), 1);
	cr_assert_eq(plane_open(serving.plane), 0);
	connection_release(held);
	close(client);
	close(idle);
	serving_end();
}

static void hold_worker(struct worker *w)
{
	worker_hold(w);
}

Test(drain, waits_for_a_worker_that_is_held)
{
	serving.drain = hold_worker;
	serve("");
	worker_hold(serving.w);
	plane_drain(serving.plane);
	STEP_UNTIL(serving.n_drain == 1);
	step_all();
	cr_assert_not(plane_drained(serving.plane));
	worker_release(serving.w);
	cr_assert_not(plane_drained(serving.plane));
	has_news();
	worker_release(serving.w);
	cr_assert(plane_drained(serving.plane));
	cr_assert(has_news());
	serving_end();
}
