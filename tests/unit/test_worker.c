/* data/worker_loop, data/acceptor and data/connection_list: limits, timeouts, reload and stop. */
#include "fixture.h"
#include "peer.h"
#include "serving.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(worker, .init = fixture_enter, .fini = fixture_leave);

Test(worker, idle_connections_are_closed)
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

/* A byte now and then does not keep a connection open. */
Test(worker, a_connection_with_an_unfinished_request_is_idle)
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

Test(worker, idle_timeout_0_closes_no_connection)
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
	cr_assert_eq(workers_open_connections(serving.workers), 2);
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

static const char *configured_greeting(void)
{
	return *(char *const *)worker_config(serving.w);
}

Test(worker, a_reload_reaches_the_service)
{
	serve("");
	int client = client_new();
	cr_assert_str_eq(configured_greeting(), "hello");
	cr_assert_eq(workers_behind(serving.workers, 1, NULL), 0);
	cr_assert_eq(workers_behind(serving.workers, 2, NULL), 1);
	serving_publish("test { greeting = \"moin\" }");
	cr_assert(has_progress());
	cr_assert_eq(serving.n_reloaded, 1);
	cr_assert_str_eq(configured_greeting(), "moin");
	cr_assert_eq(serving.n_closed, 0);
	cr_assert_eq(serving.w->snapshot->generation, 2);
	close(client);
	serving_end();
}

/* A reload that removes the listener. */
static void remove_listener(void)
{
	struct snapshot *old = serving.snapshot, *new = snapshot_without_listeners(old);
	MUST(new);
	listener_retire(old->listener[0]);
	new->generation = 2;
	workers_publish(serving.workers, new);
	serving.snapshot = new;
	snapshot_unref(old);
	STEP_UNTIL(workers_behind(serving.workers, 2, NULL) == 0);
}

Test(worker, a_removed_listener_is_emptied)
{
	int early[3];
	serving.data = echo;
	serve("");
	struct address a = serving.snapshot->listener[0]->actual;
	for (int i = 0; i < 3; i++)
		MUST((early[i] = peer_connect(&a)) >= 0);
	remove_listener();
	cr_assert_eq(peer_connect(&a), -1, "it is still open");
	for (int i = 0; i < 3; i++) {
		client_send(early[i], "x");
		client_expect(early[i], "x");
		close(early[i]);
	}
	serving_end();
}

Test(worker, a_half_done_handshake_with_a_removed_listener_is_served)
{
	serving.data = echo;
	serve("");
	int client = peer_connect_half(&serving.snapshot->listener[0]->actual);
	remove_listener();
	cr_assert_eq(serving.n_opened, 0);
	client_send(client, "x");
	client_expect(client, "x");
	close(client);
	serving_end();
}

Test(worker, a_removed_listener_is_closed_after_the_last_handshake)
{
	serve("");
	struct listener *l = listener_ref(serving.snapshot->listener[0]);
	remove_listener();
	has_progress();
	cr_assert_gt(l->refs, 1);
	while (l->refs > 1) /* the only timer of the loop ends this */
		MUST(event_base_loop(serving.w->base, EVLOOP_ONCE) == 0);
	cr_assert(has_progress());
	listener_unref(l);
	serving_end();
}

Test(worker, a_forced_stop_closes_all_connections)
{
	serve("");
	worker_hold(serving.w);
	workers_close_connections(serving.workers);
	STEP_UNTIL(workers_drained(serving.workers));
	worker_release(serving.w); /* after the close: no effect */
	cr_assert_eq(serving.w->holds, 0);
	serving_end();
}

Test(worker, pings_are_answered)
{
	serve("");
	cr_assert_eq(workers_lag(serving.workers, 0, 100), 0);
	workers_ping(serving.workers, 100);
	cr_assert_eq(workers_lag(serving.workers, 0, 107), 7);
	workers_ping(serving.workers, 105); /* a ping is unanswered already */
	cr_assert_eq(workers_lag(serving.workers, 0, 107), 7);
	has_progress();
	step_all();
	cr_assert_eq(workers_lag(serving.workers, 0, 107), 0);
	cr_assert(has_progress());
	serving_end();
}
