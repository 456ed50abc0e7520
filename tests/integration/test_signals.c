#include "client.h"
#include "observe.h"
#include "trace.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

FIXTURE_SUITE(signals);

Test(signals, arrival_order_survives_a_burst)
{
	if (!trace_allowed() || SANITIZED("thread")) /* the kernel delivers them later, by number */
		cr_skip_test("needs ptrace and signals delivered at once");
	/*
	 * The others arrive while the first is handled. libevent alone would handle SIGHUP first.
	 */
	const int burst[] = {SIGHUP, SIGUSR1, SIGHUP, SIGUSR1, SIGUSR2, SIGHUP, SIGINT};
	const char *const lines[] = {"SIGHUP from pid",	 "SIGUSR1 from pid", "SIGHUP from pid",
				     "SIGUSR1 from pid", "SIGUSR2 from pid", "SIGHUP from pid",
				     "SIGINT from pid"};
	daemon_start(f, BASE);
	trace_burst(f, burst, sizeof(burst) / sizeof(*burst));
	cr_assert_eq(daemon_wait_exit(f), 0);
	log_expect_order(f, lines, sizeof(lines) / sizeof(*lines));
	cr_assert_eq(log_count(f, "SIGHUP from pid"), 3);
	cr_assert_eq(log_count(f, "SIGUSR1 from pid"), 2);
	cr_assert_eq(stats_logged(f, "received", "SIGHUP"), 3);
	expect_signals_logged(f);
}

Test(signals, flood_of_usr1_never_hides_hup_and_int)
{
	enum { FLOOD = 100000 };
	const char *const order[] = {"SIGUSR1", "SIGHUP from pid", "SIGINT from pid"};
	daemon_start(f, BASE);
	int client = client_connect(f, "main");
	pid_t sender = storm(f, SIGUSR1, FLOOD);
	while (waitpid(sender, NULL, WNOHANG) == 0)
		client_echo(f, client, "served all the while\n");
	daemon_signal(f, SIGHUP);
	daemon_signal(f, SIGINT);
	client_expect_eof(f, client);
	cr_assert_eq(daemon_wait_exit(f), 0);

	log_expect_order(f, order, 3);
	long received = stats_logged(f, "received", "SIGUSR1");
	cr_assert(received > 0 && received <= FLOOD, "received %ld", received);
	cr_assert_eq(stats_logged(f, "handled", "SIGHUP"), 1);
	cr_assert_eq(stats_logged(f, "handled", "SIGINT"), 1);
	expect_signals_logged(f);
	cr_assert_not_null(strstr(f->notices.bytes, "RELOADING=1"));
}

Test(signals, a_flood_of_reloads_is_accounted_for)
{
	daemon_start(f, BASE);
	int client = client_connect(f, "main");
	pid_t sender = storm(f, SIGHUP, 20000);
	while (waitpid(sender, NULL, WNOHANG) == 0) {
		client_echo(f, client, "served all the while\n");
		read_notices(f);
	}
	expect_signals_accounted(f);
	cr_assert_geq(stats_value(f, "skeld_signals_received_total{signal=\"SIGHUP\"}"), 1);
	await(f, strcmp(status_get(f, "state"), "running") == 0);
	expect_status(f, "last_reload", "ok");
	daemon_finish(f);
	expect_signals_logged(f);
}

Test(signals, a_flood_during_the_stop_is_accounted_for)
{
	daemon_start(f, BASE);
	pid_t sender = storm(f, SIGUSR1, 1000000000);
	await(f, log_count(f, "SIGUSR1") > 10);
	daemon_signal(f, SIGINT);
	await_fd(f, f->pidfd, POLLIN, deadline(), "the end under fire");
	MUST(kill(sender, SIGKILL) == 0 && waitpid(sender, NULL, 0) == sender);
	cr_assert_eq(daemon_wait_exit(f), 0);
	expect_signals_logged(f);
}

Test(signals, the_log_names_the_sender)
{
	char expected[128];
	const struct passwd *user = getpwuid(getuid());
	prctl(PR_SET_NAME, "the sender");
	daemon_start(f, BASE);
	daemon_reload_and_wait(f);
	/* 65534 is the uid of all unmapped users, so no name is logged. */
	bool named = user && getuid() != 65534;
	snprintf(expected, sizeof(expected), "SIGHUP from pid %d (the sender), %s%s", (int)getpid(),
		 named ? "user " : "", named ? user->pw_name : "");
	cr_assert(log_contains(f, expected), "\"%s\" is not in\n%s", expected, log_text(f));
	daemon_finish(f);
	snprintf(expected, sizeof(expected), "SIGINT from pid %d (the sender)", (int)getpid());
	cr_assert(log_contains(f, expected), "\"%s\" is not in\n%s", expected, log_text(f));
}

Test(signals, an_exited_sender_is_logged_with_its_pid)
{
	char expected[64];
	daemon_start(f, BASE);
	MUST(kill(f->pid, SIGSTOP) == 0); /* the daemon looks after the sender has exited */
	pid_t sender = storm(f, SIGHUP, 1);
	reap(f, sender);
	MUST(kill(f->pid, SIGCONT) == 0);
	notify_wait(f, "RELOADING=1");
	notify_wait(f, "READY=1");
	snprintf(expected, sizeof(expected), "SIGHUP from pid %d", (int)sender);
	cr_assert(log_contains(f, expected), "\"%s\" is not in\n%s", expected, log_text(f));
	daemon_finish(f);
}

Test(signals, a_sender_cannot_forge_log_lines)
{
	prctl(PR_SET_NAME, "x\nERR\x1b[31mroot");
	daemon_start(f, BASE);
	daemon_reload_and_wait(f);
	daemon_finish(f);
	cr_assert(log_contains(f, "SIGHUP from pid") && log_contains(f, "(x"), "%s", log_text(f));
	cr_assert(!log_contains(f, "\nERR") && !log_contains(f, "\x1b"), "%s", log_text(f));
}

static void block_all(struct fixture *fixture)
{
	sigset_t all;
	(void)fixture;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

Test(signals, inherited_blocked_signals_are_unblocked)
{
	f->prepare = block_all;
	daemon_start(f, BASE);
	daemon_reload_and_wait(f);
	stats_dump(f);
	daemon_finish(f);
}

static void ignore_all(struct fixture *fixture)
{
	static const int ignored[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD};
	(void)fixture;
	for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
		signal(ignored[i], SIG_IGN);
}

Test(signals, inherited_ignored_signals_are_handled)
{
	f->prepare = ignore_all;
	daemon_start(f, BASE);
	daemon_reload_and_wait(f);
	stats_dump(f);
	cr_assert_eq(daemon_stop(f, SIGTERM), 0);
}

Test(signals, sigpipe_changes_nothing)
{
	daemon_start(f, BASE);
	daemon_signal(f, SIGPIPE);
	int client = client_connect(f, "main");
	client_echo(f, client, "still here\n");
	daemon_reload_and_wait(f);
	daemon_finish(f);
}

Test(signals, sigusr1_dumps_at_every_log_level)
{
	daemon_start(f, "log { level = \"error\" }\n" BASE);
	stats_dump(f);
	await(f, log_contains(f, "stats signals: received SIGUSR1 1"));
	expect_signals_accounted(f);
	cr_assert_eq(stats_value(f, "skeld_config_generation"), 1);
	daemon_finish(f);
}

Test(signals, sigusr2_toggles_debug_and_a_reload_restores_it)
{
	daemon_start(f, BASE);
	cr_assert(!log_contains(f, " debug "));
	daemon_signal(f, SIGUSR2);
	await(f, log_contains(f, "debug logging on"));
	client_echo(f, client_connect(f, "main"), "one\n");
	stats_dump(f);
	await(f, log_contains(f, " debug "));

	daemon_signal(f, SIGUSR2);
	await(f, log_contains(
			 f, "debug logging off")); /* also for the connection of the first client */
	size_t quiet = log_count(f, " debug ");
	client_echo(f, client_connect(f, "main"), "two\n");
	stats_dump(f);
	cr_assert_eq(log_count(f, " debug "), quiet);

	daemon_signal(f, SIGUSR2);
	await(f, log_count(f, "debug logging on") == 2);
	daemon_reload_and_wait(f);
	quiet = log_count(f, " debug ");
	client_echo(f, client_connect(f, "main"), "three\n");
	stats_dump(f);
	cr_assert_eq(log_count(f, " debug "), quiet);
	daemon_finish(f);
}

Test(signals, sighup_during_the_start_never_kills)
{
	enum { NEVER = 1000000, STARTS = 100 };
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
	config_write(f, "%s", BASE);
	int stops = trace_start(f, NEVER);
	cr_assert_gt(stops, 10);
	daemon_finish(f);
	for (int stop = 1; stop <= stops; stop += 1 + stops / STARTS) {
		if (trace_start(f, stop) < stop) /* the number of calls of a start varies */
			daemon_signal(f, SIGHUP);
		notify_wait(f, "READY=1");
		notify_wait(f, "RELOADING=1");
		notify_wait(f, "READY=1");
		expect_status(f, "reloads_ok", "1");
		expect_status(f, "generation", "2");
		int code = daemon_stop(f, SIGINT);
		if (code != 0)
			fail_test(f, "SIGHUP at stop %d of %d: exit %d", stop, stops, code);
		expect_signals_logged(f);
	}
}
