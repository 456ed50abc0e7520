/* data: at the edges, nothing that was promised is lost: a connection, an answer, a moment. */
#include "fixture.h"
#include "peer.h"
#include "serving.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(edges, .init = fixture_enter, .fini = fixture_leave);

/* As control/reload.c, commit(); the worker is busy and does not look. */
static void publish(struct snapshot *new)
{
	struct snapshot *old = serving.snapshot;
	for (size_t i = 0; i < old->n_listeners; i++)
		if (!snapshot_has(new, old->listener[i]))
			listener_retire(old->listener[i]);
	plane_publish(serving.plane, new);
	serving.snapshot = new;
	snapshot_unref(old);
}

static void reload(const char *conf)
{
	publish(snapshot_of(conf, serving.snapshot));
}

/* Connected to a listener that the worker has not seen, by the kernel alone. */
static int connect_unseen(void)
{
	reload("listen \"more\" { address = \"127.0.0.1:0\" }");
	int client = peer_connect(&serving.snapshot->listener[1]->actual);
	MUST(client >= 0);
	client_send(client, "x");
	return client;
}

static void serve_echo(void)
{
	serving.data = echo;
	serve("");
}

Test(edges, a_listener_that_came_and_went_is_emptied)
{
	serve_echo();
	int client = connect_unseen();
	reload("");
	client_expect(client, "x");
	close(client);
	serving_end();
	EXPECT_NOTHING_LEFT();
}

/* However many there were, and whatever reloads came between. */
Test(edges, so_are_all_of_them)
{
	enum { N = 5 };
	int client[N];
	serve_echo();
	for (size_t i = 0; i < N; i++) {
		client[i] = connect_unseen();
		reload("");
		reload("limits { idle_timeout = 10 }");
	}
	for (size_t i = 0; i < N; i++) {
		client_expect(client[i], "x");
		close(client[i]);
	}
	serving_end();
	EXPECT_NOTHING_LEFT();
}

Test(edges, also_when_a_drain_comes_first)
{
	serve_echo();
	int client = connect_unseen();
	publish(snapshot_without_listeners(serving.snapshot));
	plane_drain(serving.plane);
	client_expect(client, "x");
	close(client);
	serving_end();
	EXPECT_NOTHING_LEFT();
}

/* What a worker never takes is freed with the last one. */
Test(edges, what_was_skipped_is_freed)
{
	serve_echo();
	close(connect_unseen());
	close(connect_unseen());
	reload("");
	serving_end();
	EXPECT_NOTHING_LEFT();
}

static struct connection *held;

static size_t hold_it(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	held = c;
	connection_hold(c);
	return n;
}

static int serve_held(const char *conf)
{
	int client = serve_one(hold_it, conf, "x");
	STEP_UNTIL(held);
	return client;
}

Test(edges, it_is_idle_from_when_it_is_released)
{
	int client = serve_held("limits { idle_timeout = 10 }");
	pass_time(10);
	connection_release(held);
	step_all();
	pass_time(1);
	cr_assert_eq(closed_by(CLOSED_IDLE), 0);
	close(client);
	serving_end();
	EXPECT_NOTHING_LEFT();
}

static void reset(int client)
{
	static const struct linger at_once = {1, 0};
	MUST(setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0);
	close(client);
	STEP_UNTIL(serving.n_closed);
}

static void expect_drained_by_release(void)
{
	step_all();
	cr_assert_not(plane_drained(serving.plane));
	connection_release(held);
	STEP_UNTIL(plane_drained(serving.plane));
	serving_end();
	EXPECT_NOTHING_LEFT();
}

/* The service works on its answer, though nobody waits for it any more. */
Test(edges, a_drain_waits_for_who_is_held_and_gone)
{
	int client = serve_held("");
	plane_drain(serving.plane);
	STEP_UNTIL(serving.n_draining);
	reset(client);
	expect_drained_by_release();
}

Test(edges, also_for_who_was_gone_before)
{
	int client = serve_held("");
	reset(client);
	plane_drain(serving.plane);
	expect_drained_by_release();
}

enum { ANSWER = 3000 };

static size_t answer_much(struct connection *c, const char *bytes, size_t n)
{
	(void)n;
	if (bytes[0] != 'a')
		return 0;
	connection_write(c, pattern(0, ANSWER), ANSWER);
	return 1;
}

/* Of the requests before the one that is too large. */
Test(edges, answers_are_sent_before_an_overflow_closes)
{
	static char bytes[1 << 20];
	char most[4097] = "";
	size_t answered = 0, got = 0;
	ssize_t n;
	memset(most, 'x', sizeof(most) - 1);
	serving.data = answer_much;
	serve("limits { buffer = 4096 }");
	int client = client_new();
	slow_down();
	while (!queued(serving.last->out)) {
		unsigned before = serving.n_data;
		client_send(client, "a");
		STEP_UNTIL(serving.n_data > before);
		answered += ANSWER;
	}
	client_send(client, most);
	for (int64_t until = in_ten_seconds();;) {
		cr_assert(!is_past(until), "no end");
		step();
		n = recv(client, bytes, sizeof(bytes), MSG_DONTWAIT);
		got += n > 0 ? (size_t)n : 0;
		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
	}
	cr_assert_eq(got, answered);
	cr_assert_eq(n, 0, "%s", strerror(errno));
	close(client);
	STEP_UNTIL(closed_by(CLOSED_OVERFLOW));
	serving_end();
	EXPECT_NOTHING_LEFT();
}

static size_t hold_and_close(struct connection *c, const char *bytes, size_t n)
{
	connection_write(c, "bye", 3);
	connection_close(c);
	return hold_it(c, bytes, n);
}

/* Who has said more meanwhile gets an end, and no reset, as on TCP. */
Test(edges, an_end_is_no_reset_on_a_unix_socket)
{
	char conf[256], path[PATH_IN_MAX], byte;
	snprintf(conf, sizeof(conf), "listen \"u\" { address = \"unix:%s\" }",
		 path_in("sock", path));
	serving.data = hold_and_close;
	serve(conf);
	int client = peer_connect(&serving.snapshot->listener[1]->actual);
	client_send(client, "x");
	STEP_UNTIL(held);
	client_send(client, "more");
	connection_release(held);
	step_all();
	client_expect(client, "bye");
	cr_assert_eq(recv(client, &byte, 1, MSG_DONTWAIT), 0, "%s", strerror(errno));
	close(client);
	serving_end();
	EXPECT_NOTHING_LEFT();
}

static struct timeval drained_at;

static void take_long(struct worker *w)
{
	(void)w;
	poll(NULL, 0, 2 * FRESH_MS);
	evutil_gettimeofday(&drained_at, NULL);
}

/* Not from when the turn of the loop began. */
Test(edges, the_moment_of_a_drain_begins_when_it_is_given)
{
	enum { TICK_MS = 20 }; /* libevent's clock is a coarse one */
	struct timeval until, left;
	int client = serve_one(echo, "", "x");
	client_expect(client, "x");
	serving.drain = take_long;
	plane_drain(serving.plane);
	STEP_UNTIL(serving.n_draining);
	cr_assert(event_pending(serving.w->look, EV_TIMEOUT, &until));
	evutil_timersub(&until, &drained_at, &left);
	cr_assert_geq(left.tv_sec * 1000 + left.tv_usec / 1000, FRESH_MS - TICK_MS);
	close(client);
	serving_end();
	EXPECT_NOTHING_LEFT();
}

/* Two daemons of one user that start at the same moment: the kernel would share the port. */
Test(edges, of_two_that_are_bound_one_listens)
{
	static const struct listen_config config = {
		.place = {"skeld.conf", 7}, .title = "main", .backlog = 64};
	struct errors e = {0};
	struct address any = address_of("127.0.0.1:0");
	struct listener *one = listener_open(&config, &any, 2, false, &e);
	cr_assert(one, "%s", errors_text(&e, 0));
	struct listener *other = listener_open(&config, &one->actual, 2, false, &e);
	if (other) {
		cr_assert_eq(listener_listen(other, &config, &e), 0);
		cr_assert_eq(listener_listen(one, &config, &e), -1);
		listener_unref(other);
	} else {
		cr_assert_eq(listener_listen(one, &config, &e), 0);
	}
	cr_assert_eq(e.n, 1);
	cr_assert(strstr(errors_text(&e, 0), "Address already in use"), "%s", errors_text(&e, 0));
	errors_clear(&e);
	listener_unref(one);
	EXPECT_NOTHING_LEFT();
}
