/* data: rare sequences of reloads, drains, holds and closes lose no connection and no answer. */
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

TestSuite(rare_sequences, .init = fixture_enter, .fini = fixture_leave);

/* Publish a snapshot as commit() in control/reload.c does, while the worker is busy. */
static void publish(struct snapshot *new)
{
	struct snapshot *old = serving.snapshot;
	for (size_t i = 0; i < old->n_listeners; i++)
		if (!snapshot_has(new, old->listener[i]))
			listener_retire(old->listener[i]);
	workers_publish(serving.workers, new);
	serving.snapshot = new;
	snapshot_unref(old);
}

static void reload(const char *conf)
{
	publish(snapshot_of(conf, serving.snapshot));
}

/* Connect to a listener that the worker has not seen: the kernel completes the connection. */
static int connect_to_new_listener(void)
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

Test(rare_sequences, connections_of_a_listener_added_and_removed_while_a_worker_is_busy_are_served)
{
	serve_echo();
	int client = connect_to_new_listener();
	reload("");
	client_expect(client, "x");
	close(client);
	serving_end();
	EXPECT_NOTHING_LEFT();
}

/* Several such listeners, with other reloads in between. */
Test(rare_sequences, connections_of_several_listeners_added_and_removed_during_that_time_are_served)
{
	enum { N = 5 };
	int client[N];
	serve_echo();
	for (size_t i = 0; i < N; i++) {
		client[i] = connect_to_new_listener();
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

Test(rare_sequences, connections_of_a_listener_that_a_worker_never_saw_are_served_by_a_drain)
{
	serve_echo();
	int client = connect_to_new_listener();
	publish(snapshot_without_listeners(serving.snapshot));
	workers_drain(serving.workers);
	client_expect(client, "x");
	close(client);
	serving_end();
	EXPECT_NOTHING_LEFT();
}

/* Untaken snapshots are freed with the last snapshot. */
Test(rare_sequences, untaken_snapshots_are_freed)
{
	serve_echo();
	close(connect_to_new_listener());
	close(connect_to_new_listener());
	reload("");
	serving_end();
	EXPECT_NOTHING_LEFT();
}

static struct connection *held;

static size_t hold_connection(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	held = c;
	connection_hold(c);
	return n;
}

static int serve_held(const char *conf)
{
	int client = serve_one(hold_connection, conf, "x");
	STEP_UNTIL(held);
	return client;
}

Test(rare_sequences, a_held_connection_is_idle_only_after_its_release)
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
	cr_assert_not(workers_drained(serving.workers));
	connection_release(held);
	STEP_UNTIL(workers_drained(serving.workers));
	serving_end();
	EXPECT_NOTHING_LEFT();
}

/* The service prepares an answer although the client has left. */
Test(rare_sequences, a_drain_waits_for_a_held_connection_whose_peer_has_left)
{
	int client = serve_held("");
	workers_drain(serving.workers);
	STEP_UNTIL(serving.n_draining);
	reset(client);
	expect_drained_by_release();
}

Test(rare_sequences, a_drain_waits_for_a_held_connection_whose_peer_left_earlier)
{
	int client = serve_held("");
	reset(client);
	workers_drain(serving.workers);
	expect_drained_by_release();
}

enum { ANSWER = 3000 };

static size_t write_much(struct connection *c, const char *bytes, size_t n)
{
	(void)n;
	if (bytes[0] != 'a')
		return 0;
	connection_write(c, pattern(0, ANSWER), ANSWER);
	return 1;
}

/* The answers to the requests before the one that is too large. */
Test(rare_sequences, answers_are_sent_before_an_overflow_closes_the_connection)
{
	static char bytes[1 << 20];
	char most[4097] = "";
	size_t answered = 0, got = 0;
	ssize_t n;
	memset(most, 'x', sizeof(most) - 1);
	serving.data = write_much;
	serve("limits { buffer = 4096 }");
	int client = client_new();
	slow_down();
	while (!buffered(serving.last->out)) {
		unsigned before = serving.n_data;
		client_send(client, "a");
		STEP_UNTIL(serving.n_data > before);
		answered += ANSWER;
	}
	client_send(client, most);
	for (int64_t until = deadline();;) {
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
	return hold_connection(c, bytes, n);
}

/* A client that sends more during the close gets EOF and no reset, as on TCP. */
Test(rare_sequences, a_close_does_not_reset_a_unix_socket)
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

static void delay_drain(struct worker *w)
{
	(void)w;
	poll(NULL, 0, 2 * GRACE_MS);
	evutil_gettimeofday(&drained_at, NULL);
}

/* The period does not begin with the turn of the loop. */
Test(rare_sequences, the_grace_period_begins_with_the_drain)
{
	enum { TICK_MS = 20 }; /* libevent uses a coarse clock */
	struct timeval until, left;
	int client = serve_one(echo, "", "x");
	client_expect(client, "x");
	serving.drain = delay_drain;
	workers_drain(serving.workers);
	STEP_UNTIL(serving.n_draining);
	cr_assert(event_pending(serving.w->check, EV_TIMEOUT, &until));
	evutil_timersub(&until, &drained_at, &left);
	cr_assert_geq(left.tv_sec * 1000 + left.tv_usec / 1000, GRACE_MS - TICK_MS);
	close(client);
	serving_end();
	EXPECT_NOTHING_LEFT();
}

/* Two daemons of one user start at the same time: with SO_REUSEPORT they would share the port. */
Test(rare_sequences, only_one_of_two_bound_sockets_can_listen)
{
	static const struct listen_config config = {
		.location = {"skeld.conf", 7}, .title = "main", .backlog = 64};
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
