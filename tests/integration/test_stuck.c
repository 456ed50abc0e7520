/* The control plane never waits for a worker: the test freezes a worker, as if it were stuck. */
#include "client.h"
#include "observe.h"
#include "trace.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct fixture *f;

static void setup(void)
{
	f = fixture_new();
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
}

static void teardown(void)
{
	fixture_free(f);
}

TestSuite(stuck, .init = setup, .fini = teardown);

#define TWO "workers = 2\nadmin { address = \"\" }\ndrain_timeout = 1\n" LISTEN_MAIN

Test(stuck, a_stuck_worker_delays_no_dump)
{
	daemon_start(f, TWO);
	pid_t worker = trace_freeze(f, 1);
	stats_dump(f);
	cr_assert_eq(skeld_run(f, "-r", f->runtime, "-s", "stats", NULL), 0, "%s", f->err.bytes);
	cr_assert_eq(skeld_run(f, "-r", f->runtime, "-s", "status", NULL), 0, "%s", f->err.bytes);
	expect_signals_accounted(f);
	trace_thaw(f, worker);
	daemon_finish(f);
}

Test(stuck, a_stuck_worker_delays_no_reload_of_the_others)
{
	daemon_start(f, TWO "echo { banner = \"one\\n\" }\n");
	pid_t worker = trace_freeze(f, 1);
	config_write(f, TWO "echo { banner = \"two\\n\" }\n");
	daemon_reload_and_wait(f); /* READY=1 arrives although the worker is frozen */
	stats_dump(f);
	config_write(f, "nonsense\n");
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "rejected");
	trace_thaw(f, worker);
	config_write(f, TWO "echo { banner = \"three\\n\" }\n");
	daemon_reload_and_wait(f);
	for (int i = 0; i < 16; i++) {
		int client = client_connect(f, "main");
		client_expect(f, client, "three\n", 6);
		client_close(f, client);
	}
	daemon_finish(f);
}

Test(stuck, a_stuck_worker_cannot_prevent_a_stop)
{
	daemon_start(f, TWO);
	pid_t worker = trace_freeze(f, 1);
	daemon_signal(f, SIGTERM);
	notify_wait(f, "STOPPING=1");
	trace_bury(f, worker);
	cr_assert_eq(daemon_wait_exit(f), 1);
	cr_assert(!runtime_file_exists(f, "skeld.pid") && !runtime_file_exists(f, "status"));
	cr_assert(log_contains(f, "did not end"), "%s", log_text(f));
}

Test(stuck, a_stuck_worker_cannot_prevent_a_forced_stop)
{
	daemon_start(f,
		     "workers = 2\nadmin { address = \"\" }\ndrain_timeout = 3600\n" LISTEN_MAIN);
	pid_t worker = trace_freeze(f, 0);
	daemon_signal(f, SIGINT);
	notify_wait(f, "STOPPING=1");
	daemon_signal(f, SIGINT);
	trace_bury(f, worker);
	cr_assert_eq(daemon_wait_exit(f), 1);
}

/* The same is true for a check that fails. */
Test(stuck, the_harness_ends_a_test_with_a_frozen_worker)
{
	daemon_start(f, TWO);
	trace_freeze(f, 1);
}
