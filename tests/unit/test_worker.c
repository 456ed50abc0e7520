/* data/worker, data/acceptor and data/connections: limits, time, reload and stop. */
#include "fixture.h"
#include "peer.h"
#include "serving.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(worker, .init = fixture_enter, .fini = fixture_leave);

Test(worker, what_is_idle_for_too_long_is_closed)
{
	serving.data = echo;
	serve("limits { idle_timeout = 10 }");
	int idle = client_new(), receives = client_new();
	pass_time(10);
	cr_assert_eq(serving.n_closed, 0);
	client_send(receives, "x");
	client_expect(receives, "x");
	pass_time(1);
	cr_assert_eq(serving.n_closed, 1);
	cr_assert_eq(closed_by(CLOSED_IDLE), 1);
	client_expect_end(idle);
	pass_time(9);
	cr_assert_eq(serving.n_closed, 1);
	connection_write(serving.last, "y", 1);
	client_expect(receives, "y");
	pass_time(10);
	cr_assert_eq(serving.n_closed, 1);
	pass_time(1);
	cr_assert_eq(serving.n_closed, 2);
	client_expect_end(receives);
	close(idle);
	close(receives);
	serving_end();
}

/* A byte now and then keeps no place. */
Test(worker, a_request_that_only_grows_is_idle)
{
	serving.data = echo_lines;
	serve("limits { idle_timeout = 10 }");
	int grows = client_new(), ends = client_new();
	for (unsigned i = 1; i <= 3; i++) {
		client_send(grows, "x");
		client_send(ends, "x\n");
		client_expect(ends, "x\n");
		STEP_UNTIL(serving.n_data == 2 * i);
		cr_assert_eq(serving.n_closed, 0);
		pass_time(4);
	}
	cr_assert_eq(serving.n_closed, 1);
	cr_assert_eq(closed_by(CLOSED_IDLE), 1);
	client_expect_end(grows);
	client_send(ends, "y\n");
	client_expect(ends, "y\n");
	close(grows);
	close(ends);
	serving_end();
}

Test(worker, a_timeout_of_0_is_none)
{
	serve("limits { idle_timeout = 0 }");
	int client = client_new();
	pass_time(100000);
	cr_assert_eq(serving.n_closed, 0);
	serving_publish("limits { idle_timeout = 60 }");
	pass_time(1);
	cr_assert_eq(closed_by(CLOSED_IDLE), 1);
	close(client);
	serving_end();
}

Test(worker, connections_have_a_limit)
{
	serving.data = echo;
	serve("limits { connections = 2 }");
	int client[2] = {client_new(), client_new()};
	int third = peer_connect(&serving.snapshot->listener[0]->actual);
	STEP_UNTIL(count_of(COUNT_ACCEPTED) == 3);
	client_expect_end(third);
	cr_assert_eq(closed_by(CLOSED_LIMIT), 1);
	cr_assert_eq(serving.n_opened, 2);
	cr_assert_eq(plane_open(serving.plane), 2);
	close(third);
	client_send(client[0], "x");
	client_expect(client[0], "x");
	close(client[0]);
	STEP_UNTIL(serving.n_closed == 1);
	client[0] = client_new();
	client_send(client[0], "y");
	client_expect(client[0], "y");
	close(client[0]);
	close(client[1]);
	serving_end();
}

static const char *greeting(void)
{
	return *(char *const *)worker_config(serving.w);
}

Test(worker, a_reload_reaches_the_service)
{
	serve("");
	int client = client_new();
	cr_assert_str_eq(greeting(), "hello");
	cr_assert_eq(plane_behind(serving.plane, 1, NULL), 0);
	cr_assert_eq(plane_behind(serving.plane, 2, NULL), 1);
	serving_publish("test { greeting = \"moin\" }");
	cr_assert(has_news());
	cr_assert_eq(serving.n_reloaded, 1);
	cr_assert_str_eq(greeting(), "moin");
	cr_assert_eq(serving.n_closed, 0);
	cr_assert_eq(serving.w->snapshot->generation, 2);
	close(client);
	serving_end();
}

Test(worker, a_removed_listener_is_emptied)
{
	int early[3];
	struct snapshot *old, *new;
	serving.data = echo;
	serve("");
	old = serving.snapshot;
	struct address a = old->listener[0]->actual;
	for (int i = 0; i < 3; i++)
		MUST((early[i] = peer_connect(&a)) >= 0);
	listener_retire(old->listener[0]);
	new = snapshot_without_listeners(old);
	MUST(new);
	new->generation = 2;
	plane_publish(serving.plane, new);
	serving.snapshot = new;
	snapshot_unref(old);
	STEP_UNTIL(plane_behind(serving.plane, 2, NULL) == 0);
	cr_assert_eq(serving.n_opened, 3);
	cr_assert_eq(peer_connect(&a), -1, "it is still open");
	for (int i = 0; i < 3; i++) {
		client_send(early[i], "x");
		client_expect(early[i], "x");
		close(early[i]);
	}
	serving_end();
}

Test(worker, a_stop_waits_for_nobody)
{
	serve("");
	worker_hold(serving.w);
	plane_close(serving.plane);
	STEP_UNTIL(plane_drained(serving.plane));
	worker_release(serving.w); /* too late, and harmless */
	cr_assert_eq(serving.w->holds, 0);
	serving_end();
}

Test(worker, whoever_asks_gets_an_answer)
{
	serve("");
	cr_assert_eq(plane_lag(serving.plane, 0, 100), 0);
	plane_ask(serving.plane, 100);
	cr_assert_eq(plane_lag(serving.plane, 0, 107), 7);
	plane_ask(serving.plane, 105); /* it owes one already */
	cr_assert_eq(plane_lag(serving.plane, 0, 107), 7);
	has_news();
	step_all();
	cr_assert_eq(plane_lag(serving.plane, 0, 107), 0);
	cr_assert(has_news());
	serving_end();
}
