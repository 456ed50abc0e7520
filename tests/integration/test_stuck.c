/* The control plane never waits for a worker: the test freezes a worker, as if it were stuck. */
#include "client.h"
#include "observe.h"
#include "trace.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void setup(void)
{
	daemon_fixture_enter();
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
}

TestSuite(stuck, .init = setup, .fini = daemon_fixture_leave);

#define TWO "workers = 2\nadmin { address = \"\" }\ndrain_timeout = 1\n" LISTEN_MAIN

Test(stuck, a_stuck_worker_delays_no_dump)
{
	daemon_start(TWO);
	pid_t worker = trace_freeze(1);
	stats_dump();
	cr_assert_eq(skeld_run("-r", runtime_dir, "-s", "stats", NULL), 0, "%s", command_err.bytes);
	cr_assert_eq(skeld_run("-r", runtime_dir, "-s", "status", NULL), 0, "%s",
		     command_err.bytes);
	expect_signals_accounted();
	trace_thaw(worker);
	daemon_finish();
}

Test(stuck, a_stuck_worker_delays_no_reload_of_the_others)
{
	daemon_start(TWO "echo { banner = \"one\\n\" }\n");
	pid_t worker = trace_freeze(1);
	config_write(TWO "echo { banner = \"two\\n\" }\n");
	daemon_reload_and_wait(); /* READY=1 arrives although the worker is frozen */
	stats_dump();
	config_write("nonsense\n");
	daemon_reload_and_wait();
	expect_status("last_reload", "rejected");
	trace_thaw(worker);
	config_write(TWO "echo { banner = \"three\\n\" }\n");
	daemon_reload_and_wait();
	for (int i = 0; i < 16; i++) {
		int client = client_connect("main");
		client_expect_bytes(client, "three\n", 6);
		client_close(client);
	}
	daemon_finish();
}

Test(stuck, a_stuck_worker_cannot_prevent_a_stop)
{
	daemon_start(TWO);
	pid_t worker = trace_freeze(1);
	daemon_signal(SIGTERM);
	notify_wait("STOPPING=1");
	trace_bury(worker);
	cr_assert_eq(daemon_wait_exit(), 1);
	cr_assert(!runtime_file_exists("skeld.pid") && !runtime_file_exists("status"));
	cr_assert(log_contains("did not end"), "%s", log_text());
}

Test(stuck, a_stuck_worker_cannot_prevent_a_forced_stop)
{
	daemon_start("workers = 2\nadmin { address = \"\" }\ndrain_timeout = 3600\n" LISTEN_MAIN);
	pid_t worker = trace_freeze(0);
	daemon_signal(SIGINT);
	notify_wait("STOPPING=1");
	daemon_signal(SIGINT);
	trace_bury(worker);
	cr_assert_eq(daemon_wait_exit(), 1);
}

/* Move the listener while worker 1 is frozen, with connections in the queue of each worker. */
Test(stuck, a_stuck_worker_keeps_no_client_of_a_moved_listener_waiting)
{
	enum { CLIENTS = 16, MOVES = 3 };
	static const char *const hosts[MOVES] = {"127.0.0.2", "0.0.0.0", "127.0.0.2"};
	int clients[CLIENTS];
	char address[128];
	daemon_start(TWO);
	snprintf(address, sizeof(address), "%s", listener_address("main"));
	pid_t worker = trace_freeze(1);
	for (int i = 0; i < CLIENTS; i++)
		MUST((clients[i] = client_try(address)) >= 0);
	for (int i = 0; i < MOVES; i++) {
		config_write("workers = 2\nadmin { address = \"\" }\ndrain_timeout = 1\n"
			     "listen \"main\" { address = \"%s%s\" }\n",
			     hosts[i], strchr(address, ':'));
		daemon_reload_and_wait();
		expect_status("last_reload", "ok");
		int client = client_try(address);
		if (i % 2 == 0)
			cr_assert_lt(client, 0, "%s accepts", address);
		else
			cr_assert_geq(client, 0, "%s refuses", address);
		if (client >= 0)
			client_close(client);
	}
	for (int i = 0; i < CLIENTS; i++)
		client_echo(clients[i], "early\n");
	trace_thaw(worker);
	daemon_finish();
}

/* The same is true for a check that fails. */
Test(stuck, the_harness_ends_a_test_with_a_frozen_worker)
{
	daemon_start(TWO);
	trace_freeze(1);
}
