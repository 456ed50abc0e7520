/* Two signals of one kind from one sender: those that mean more together are not merged. */
#include "client.h"
#include "observe.h"
#include "trace.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

DAEMON_SUITE(two_signals, if (!trace_allowed() || SANITIZED("thread"))
				  cr_skip_test("needs ptrace and signals delivered at once"));

/* Both arrive while SIGUSR1 is handled. Returns the exit code. */
static void send_two(int signal)
{
	const int burst[] = {SIGUSR1, signal, signal};
	config_write(BASE LISTEN_BUSY "limits { buffer = 1M }\ndrain_timeout = 3600\n", test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	client_connect_busy();
	trace_burst(burst, 3);
}

static void expect_forced_stop(const char *name)
{
	char line[64];
	cr_assert_eq(daemon_wait_exit(), 1, "%s", log_text());
	snprintf(line, sizeof(line), "%s from pid", name);
	cr_assert_eq(log_count(line), 2, "%s", log_text());
	cr_assert_eq(stats_logged("handled", name), 2);
	expect_signals_logged();
}

Test(two_signals, two_sigterm_at_once_stop_now)
{
	send_two(SIGTERM);
	expect_forced_stop("SIGTERM");
}

Test(two_signals, two_sigint_at_once_stop_now)
{
	send_two(SIGINT);
	expect_forced_stop("SIGINT");
}

Test(two_signals, two_sigusr2_at_once_toggle_twice)
{
	send_two(SIGUSR2);
	AWAIT(log_contains("debug logging off"));
	cr_assert(log_contains("debug logging on"));
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
	expect_signals_logged();
}

Test(two_signals, two_sighup_at_once_are_one_reload)
{
	send_two(SIGHUP);
	notify_wait("READY=1");
	cr_assert(log_contains("SIGHUP (2 times) from pid"), "%s", log_text());
	expect_status("generation", "2");
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
	expect_signals_logged();
}
