/* Lame duck: the daemon is not ready, but accepts and serves, so that a balancer notices the stop
 * first. */
/* test: NEEDS ADMIN */
#include "client.h"
#include "http.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

DAEMON_SUITE(lame_duck);

#define WITH_ADMIN "workers = 1\nadmin { address = \"127.0.0.1:0\" }\n" LISTEN_MAIN
#define LONG	   "lame_duck = 3600\n"

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void become_a_lame_duck(int signo)
{
	daemon_signal(signo);
	notify_wait("STOPPING=1");
	AWAIT(strcmp(status_get("state"), "lame_duck") == 0);
}

Test(lame_duck, lame_duck_is_not_ready_but_serves)
{
	daemon_start(WITH_ADMIN LONG "drain_timeout = 7\n");
	int client = client_connect("main");
	client_echo(client, "before\n");
	cr_assert_eq(http_get("/readyz"), 200);
	daemon_signal(SIGTERM);
	const char *lines = notify_wait("STOPPING=1");
	cr_assert(strstr(lines, "EXTEND_TIMEOUT_USEC=3612000000"), "%s", lines);
	notify_wait("STATUS=lame_duck, generation 1, 1 connection");
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(http_get("/readyz"), 503);
		cr_assert_str_eq(http_body(), "lame_duck\n");
		cr_assert_eq(http_get("/livez"), 200);
		cr_assert_eq(http_get("/metrics"), 200);
		cr_assert_eq(http_metric("skeld_state{state=\"lame_duck\"}"), 1);
		cr_assert_eq(http_metric("skeld_state{state=\"draining\"}"), 0);
		expect_status("state", "lame_duck");
		client_echo(client, "still there\n");
		client_echo(client_connect("main"), "a new client\n");
	}
	cr_assert_eq(daemon_stop(SIGTERM), 1);
}

Test(lame_duck, lame_duck_ends_with_a_drain)
{
	enum { BYTES = 20000 };
	static char bytes[BYTES];
	memset(bytes, 'x', BYTES);
	daemon_start(BASE "lame_duck = 2\ndrain_timeout = 3600\n");
	int idle = client_connect("main"), asks = client_connect("main");
	client_echo(idle, "before\n");
	double began = seconds();
	daemon_signal(SIGINT);
	notify_wait("EXTEND_TIMEOUT_USEC=3607000000");
	client_echo(asks, "in its time\n");
	notify_wait("STATUS=draining, generation 1, 2 connections");
	double took = seconds() - began;
	cr_assert_geq(took, 1.99, "%.3f s", took);
	client_expect_eof(idle);
	client_expect_eof(asks);
	cr_assert_eq(daemon_wait_exit(), 0);
	static const char *const lines[] = {"lame duck: not ready, serving for 2 s",
					    "draining: connections=2 timeout_s=3600;",
					    "drained: cut_off=0\n"};
	log_expect_order(lines, 3);
	cr_assert_null(strstr(strstr(notices.bytes, "STOPPING=1") + 1, "STOPPING=1"));
}

Test(lame_duck, without_lame_duck_a_stop_drains_at_once)
{
	daemon_start(BASE "drain_timeout = 7\n");
	daemon_signal(SIGTERM);
	notify_wait("EXTEND_TIMEOUT_USEC=12000000");
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert_null(strstr(notices.bytes, "lame_duck"));
}

Test(lame_duck, second_sigint_during_lame_duck_stops_at_once)
{
	daemon_start(BASE LONG);
	become_a_lame_duck(SIGTERM);
	cr_assert_eq(daemon_stop(SIGINT), 1);
	cr_assert(!runtime_file_exists("skeld.pid") && !runtime_file_exists("status"));
	expect_signals_logged();
}

Test(lame_duck, sigquit_during_lame_duck_stops_at_once)
{
	daemon_start(BASE LONG);
	become_a_lame_duck(SIGINT);
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
	cr_assert_null(strstr(strstr(notices.bytes, "STOPPING=1") + 1, "STOPPING=1"));
}

Test(lame_duck, sighup_during_lame_duck_only_reopens_the_log)
{
	daemon_start(BASE LONG);
	become_a_lame_duck(SIGTERM);
	config_write(BASE "lame_duck = 0\n");
	daemon_signal(SIGHUP);
	AWAIT(log_contains("reopen the log file"));
	expect_status("state", "lame_duck");
	expect_status("last_reload", "none");
	cr_assert_eq(skeld_run("-r", runtime_dir, "-s", "reload", NULL), 1);
	cr_assert(strstr(command_err.bytes, "is stopping: not reloaded"), "%s", command_err.bytes);
	cr_assert_null(strstr(notices.bytes, "RELOADING=1"));
	cr_assert_eq(daemon_stop(SIGTERM), 1);
}

Test(lame_duck, sigusr1_and_sigusr2_work_during_lame_duck)
{
	daemon_start(BASE LONG);
	become_a_lame_duck(SIGTERM);
	expect_signals_accounted();
	cr_assert_eq(stats_value("skeld_state{state=\"lame_duck\"}"), 1);
	daemon_signal(SIGUSR2);
	AWAIT(log_contains("SIGUSR2 from pid"));
	int fd = -1; /* the log line of a new connection shows that the signal was handled */
	AWAIT((client_close(fd), fd = client_connect("main"), client_echo(fd, "hello\n"),
	       log_contains(" by worker 0")));
	expect_status("state", "lame_duck");
	cr_assert_eq(daemon_stop(SIGTERM), 1);
}

Test(lame_duck, a_reload_changes_lame_duck)
{
	daemon_start(BASE);
	expect_status("lame_duck", "0");
	config_write(BASE LONG);
	daemon_reload_and_wait();
	cr_assert(log_contains("lame_duck: 0 -> 3600\n"), "%s", log_text());
	expect_status("lame_duck", "3600");
	become_a_lame_duck(SIGTERM);
	cr_assert_eq(daemon_stop(SIGTERM), 1);
}

Test(lame_duck, lame_duck_can_begin_during_a_reload)
{
	daemon_start(BASE "lame_duck = 1\n");
	for (int i = 0; i < 20; i++)
		daemon_signal(SIGHUP);
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	cr_assert(log_contains("lame duck: "), "%s", log_text());
	expect_signals_logged();
}

Test(lame_duck, the_self_test_ignores_lame_duck)
{
	config_write(WITH_ADMIN LONG);
	cr_assert_eq(skeld_run("-c", config_path, "--self-test=order", NULL), 0, "%s",
		     command_out.bytes);
}
