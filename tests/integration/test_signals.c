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

DAEMON_SUITE(signals);

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
	daemon_start(BASE);
	trace_burst(burst, sizeof(burst) / sizeof(*burst));
	cr_assert_eq(daemon_wait_exit(), 0);
	log_expect_order(lines, sizeof(lines) / sizeof(*lines));
	cr_assert_eq(log_count("SIGHUP from pid"), 3);
	cr_assert_eq(log_count("SIGUSR1 from pid"), 2);
	cr_assert_eq(stats_logged("received", "SIGHUP"), 3);
	expect_signals_logged();
}

Test(signals, flood_of_usr1_never_hides_hup_and_int)
{
	enum { FLOOD = 100000 };
	const char *const order[] = {"SIGUSR1", "SIGHUP from pid", "SIGINT from pid"};
	daemon_start(BASE);
	int client = client_connect("main");
	pid_t sender = storm(SIGUSR1, FLOOD);
	while (waitpid(sender, NULL, WNOHANG) == 0)
		client_echo(client, "served all the while\n");
	daemon_signal(SIGHUP);
	daemon_signal(SIGINT);
	client_expect_eof(client);
	cr_assert_eq(daemon_wait_exit(), 0);

	log_expect_order(order, 3);
	long received = stats_logged("received", "SIGUSR1");
	cr_assert(received > 0 && received <= FLOOD, "received %ld", received);
	cr_assert_eq(stats_logged("handled", "SIGHUP"), 1);
	cr_assert_eq(stats_logged("handled", "SIGINT"), 1);
	expect_signals_logged();
	cr_assert_not_null(strstr(notices.bytes, "RELOADING=1"));
}

Test(signals, a_flood_of_reloads_is_accounted_for)
{
	daemon_start(BASE);
	int client = client_connect("main");
	pid_t sender = storm(SIGHUP, 20000);
	while (waitpid(sender, NULL, WNOHANG) == 0) {
		client_echo(client, "served all the while\n");
		read_notices();
	}
	expect_signals_accounted();
	cr_assert_geq(stats_value("skeld_signals_received_total{signal=\"SIGHUP\"}"), 1);
	AWAIT(strcmp(status_get("state"), "running") == 0);
	expect_status("last_reload", "ok");
	daemon_finish();
	expect_signals_logged();
}

Test(signals, a_flood_during_the_stop_is_accounted_for)
{
	daemon_start(BASE);
	pid_t sender = storm(SIGUSR1, 1000000000);
	AWAIT(log_count("SIGUSR1") > 10);
	daemon_signal(SIGINT);
	await_fd(daemon_pidfd, POLLIN, deadline(), "the end under fire");
	MUST(kill(sender, SIGKILL) == 0 && waitpid(sender, NULL, 0) == sender);
	cr_assert_eq(daemon_wait_exit(), 0);
	expect_signals_logged();
}

Test(signals, the_log_names_the_sender)
{
	char expected[128];
	const struct passwd *user = getpwuid(getuid());
	prctl(PR_SET_NAME, "the sender");
	daemon_start(BASE);
	daemon_reload_and_wait();
	/* 65534 is the uid of all unmapped users, so no name is logged. */
	bool named = user && getuid() != 65534;
	snprintf(expected, sizeof(expected), "SIGHUP from pid %d (the sender), %s%s", (int)getpid(),
		 named ? "user " : "", named ? user->pw_name : "");
	cr_assert(log_contains(expected), "\"%s\" is not in\n%s", expected, log_text());
	daemon_finish();
	snprintf(expected, sizeof(expected), "SIGINT from pid %d (the sender)", (int)getpid());
	cr_assert(log_contains(expected), "\"%s\" is not in\n%s", expected, log_text());
}

Test(signals, an_exited_sender_is_logged_with_its_pid)
{
	char expected[64];
	daemon_start(BASE);
	MUST(kill(daemon_pid, SIGSTOP) == 0); /* the daemon looks after the sender has exited */
	pid_t sender = storm(SIGHUP, 1);
	reap(sender);
	MUST(kill(daemon_pid, SIGCONT) == 0);
	notify_wait("RELOADING=1");
	notify_wait("READY=1");
	snprintf(expected, sizeof(expected), "SIGHUP from pid %d", (int)sender);
	cr_assert(log_contains(expected), "\"%s\" is not in\n%s", expected, log_text());
	daemon_finish();
}

Test(signals, a_sender_cannot_forge_log_lines)
{
	prctl(PR_SET_NAME, "x\nERR\x1b[31mroot");
	daemon_start(BASE);
	daemon_reload_and_wait();
	daemon_finish();
	cr_assert(log_contains("SIGHUP from pid") && log_contains("(x"), "%s", log_text());
	cr_assert(!log_contains("\nERR") && !log_contains("\x1b"), "%s", log_text());
}

static void block_all(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

Test(signals, inherited_blocked_signals_are_unblocked)
{
	daemon_prepare = block_all;
	daemon_start(BASE);
	daemon_reload_and_wait();
	stats_dump();
	daemon_finish();
}

static void ignore_all(void)
{
	static const int ignored[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD};
	for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
		signal(ignored[i], SIG_IGN);
}

Test(signals, inherited_ignored_signals_are_handled)
{
	daemon_prepare = ignore_all;
	daemon_start(BASE);
	daemon_reload_and_wait();
	stats_dump();
	cr_assert_eq(daemon_stop(SIGTERM), 0);
}

/* SIGTTOU, the third ignored signal, stops only jobs of a shell: see test_terminal.c. */
Test(signals, sigpipe_and_sigxfsz_are_ignored)
{
	daemon_start(BASE);
	daemon_signal(SIGPIPE);
	daemon_signal(SIGXFSZ);
	client_echo(client_connect("main"), "still here\n");
	daemon_reload_and_wait();
	daemon_finish();
}

Test(signals, sigusr1_dumps_at_every_log_level)
{
	daemon_start("log { level = \"error\" }\n" BASE);
	stats_dump();
	AWAIT(log_contains("stats signals: received_sigusr1=1"));
	expect_signals_accounted();
	cr_assert_eq(stats_value("skeld_config_generation"), 1);
	daemon_finish();
}

Test(signals, sigusr2_toggles_debug_and_a_reload_restores_it)
{
	daemon_start(BASE);
	cr_assert(!log_contains(" debug "));
	daemon_signal(SIGUSR2);
	AWAIT(log_contains("debug logging on"));
	client_echo(client_connect("main"), "one\n");
	stats_dump();
	AWAIT(log_contains(" debug "));

	daemon_signal(SIGUSR2);
	AWAIT(log_contains("debug logging off")); /* also for the connection of the first client */
	size_t quiet = log_count(" debug ");
	client_echo(client_connect("main"), "two\n");
	stats_dump();
	cr_assert_eq(log_count(" debug "), quiet);

	daemon_signal(SIGUSR2);
	AWAIT(log_count("debug logging on") == 2);
	daemon_reload_and_wait();
	quiet = log_count(" debug ");
	client_echo(client_connect("main"), "three\n");
	stats_dump();
	cr_assert_eq(log_count(" debug "), quiet);
	daemon_finish();
}

Test(signals, sighup_during_the_start_never_kills)
{
	enum { NEVER = 1000000, STARTS = 30 };
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
	config_write("%s", BASE);
	int stops = trace_start(NEVER);
	cr_assert_gt(stops, 10);
	daemon_finish();
	for (int stop = 1; stop <= stops; stop += 1 + stops / STARTS) {
		if (trace_start(stop) < stop) /* the number of calls of a start varies */
			daemon_signal(SIGHUP);
		notify_wait("READY=1");
		notify_wait("RELOADING=1");
		notify_wait("READY=1");
		expect_status("reloads_ok", "1");
		expect_status("generation", "2");
		int code = daemon_stop(SIGINT);
		if (code != 0)
			fail_test("SIGHUP at stop %d of %d: exit %d", stop, stops, code);
		expect_signals_logged();
	}
}
