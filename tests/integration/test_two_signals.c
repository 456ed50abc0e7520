/* Two signals of one kind from one sender: those that mean more together are not merged. */
#include "client.h"
#include "observe.h"
#include "trace.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

FIXTURE_SUITE(two_signals, if (!trace_allowed() || SANITIZED("thread"))
				   cr_skip_test("needs ptrace and signals delivered at once"));

/* Both arrive while SIGUSR1 is handled. Returns the exit code. */
static void send_two(int signal)
{
	const int burst[] = {SIGUSR1, signal, signal};
	config_write(f, BASE LISTEN_BUSY "drain_timeout = 3600\n", f->dir);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
	client_stubborn(f);
	trace_burst(f, burst, 3);
}

static void expect_forced_stop(const char *name)
{
	char line[64];
	cr_assert_eq(daemon_wait_exit(f), 1, "%s", log_text(f));
	snprintf(line, sizeof(line), "%s from pid", name);
	cr_assert_eq(log_count(f, line), 2, "%s", log_text(f));
	cr_assert_eq(stats_logged(f, "handled", name), 2);
	expect_signals_logged(f);
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
	await(f, log_contains(f, "debug logging off"));
	cr_assert(log_contains(f, "debug logging on"));
	cr_assert_eq(daemon_stop(f, SIGQUIT), 1);
	expect_signals_logged(f);
}

Test(two_signals, two_sighup_at_once_are_one_reload)
{
	send_two(SIGHUP);
	notify_wait(f, "READY=1");
	cr_assert(log_contains(f, "SIGHUP (2 times) from pid"), "%s", log_text(f));
	expect_status(f, "generation", "2");
	cr_assert_eq(daemon_stop(f, SIGQUIT), 1);
	expect_signals_logged(f);
}
