/* Drain, its deadline, and forced stops. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

DAEMON_SUITE(stop);

/* Start a daemon with a client that delays the end of a drain. */
static int start_busy(const char *more)
{
	config_write(BASE LISTEN_BUSY "limits { buffer = 1M }\n%s", test_dir, more);
	daemon_spawn();
	notify_wait("READY=1");
	return client_connect_busy();
}

static void start_draining(void)
{
	daemon_signal(SIGINT);
	notify_wait("STOPPING=1");
	AWAIT(strcmp(status_get("state"), "draining") == 0);
}

Test(stop, the_manager_is_notified_of_the_timeout_and_the_connections)
{
	config_write(BASE LISTEN_BUSY "drain_timeout = 7\n", test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	int client = client_connect("busy");
	notify_wait("STATUS=running, generation 1, 1 connection");
	client_close(client);
	daemon_signal(SIGTERM);
	notify_wait("EXTEND_TIMEOUT_USEC=12000000"); /* and five seconds for the other steps */
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(stop, sigint_and_sigterm_exit_with_0)
{
	daemon_start(BASE);
	cr_assert_eq(daemon_stop(SIGINT), 0);
	daemon_start(BASE);
	cr_assert_eq(daemon_stop(SIGTERM), 0);
}

Test(stop, an_idle_connection_is_closed_at_once)
{
	daemon_start(BASE "drain_timeout = 3600\n");
	int client = client_connect("main");
	client_echo(client, "hello\n");
	int silent = client_connect("main");
	daemon_signal(SIGINT);
	client_expect_eof(client);
	client_expect_eof(silent);
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(stop, drain_answers_the_received_requests)
{
	enum { BYTES = 40000 }; /* fits the first window: all of it is received */
	char *bytes = malloc(BYTES);
	MUST(bytes);
	for (size_t i = 0; i < BYTES; i++)
		bytes[i] = (char)('a' + i % 26);
	daemon_start(BASE);
	int client = client_connect("main");
	client_echo(client, "hello\n");
	client_send_bytes(client, bytes, BYTES);
	daemon_signal(SIGINT);
	client_expect_bytes(client, bytes, BYTES);
	client_expect_eof(client);
	free(bytes);
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(stop, a_busy_connection_ends_the_drain_when_it_is_done)
{
	int client = start_busy("drain_timeout = 3600\n");
	start_draining();
	AWAIT(log_contains("draining: connections=1 timeout_s=3600;"));
	client_read_busy(client);
	client_expect_eof(client);
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(stop, drain_deadline_exits_0)
{
	int client = start_busy("drain_timeout = 1\n");
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	client_close(client);
	const char *line = log_line_with(" warning drained: cut_off=1 unsent_bytes=");
	cr_assert(line && !strstr(line, "unsent_bytes=0"), "%s", log_text());
}

Test(stop, drain_timeout_0_closes_at_once)
{
	int client = start_busy("drain_timeout = 0\n");
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	client_close(client);
}

Test(stop, no_connection_is_accepted_while_draining)
{
	char address[128];
	int client = start_busy("drain_timeout = 3600\n");
	snprintf(address, sizeof(address), "%s", listener_address("main"));
	start_draining();
	/* The queues of the listeners are emptied, then closed: a new connection is refused. */
	int fd = -1;
	AWAIT((client_close(fd), fd = client_try(address)) < 0);
	client_read_busy(client);
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(stop, second_sigint_forces_exit_1)
{
	start_busy("drain_timeout = 3600\n");
	start_draining();
	cr_assert_eq(daemon_stop(SIGINT), 1);
	cr_assert(log_contains("stats signals: "));
	cr_assert(!runtime_file_exists("skeld.pid") && !runtime_file_exists("status"));
}

Test(stop, sigterm_after_sigint_forces_exit_1)
{
	start_busy("drain_timeout = 3600\n");
	start_draining();
	cr_assert_eq(daemon_stop(SIGTERM), 1);
}

Test(stop, sigquit_stops_now_with_1)
{
	start_busy("drain_timeout = 3600\n");
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
	expect_signals_logged();
	cr_assert(!runtime_file_exists("skeld.pid") && !runtime_file_exists("status"));
}

Test(stop, sigquit_while_draining_stops_now_with_1)
{
	start_busy("drain_timeout = 3600\n");
	start_draining();
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
}

Test(stop, sighup_while_draining_only_reopens_the_log)
{
	int client = start_busy("drain_timeout = 3600\n");
	start_draining();
	config_write("nonsense\n");
	daemon_signal(SIGHUP);
	AWAIT(log_contains("reopen the log file"));
	cr_assert_not_null(strstr(log_line_with("reopen the log"), "SIGHUP from pid"), "%s",
			   last_value);
	expect_status("state", "draining");
	expect_status("last_reload", "none");
	client_read_busy(client);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert_null(strstr(notices.bytes, "RELOADING=1"));
	cr_assert_eq(stats_logged("handled", "SIGHUP"), 1);
	expect_signals_logged();
}

Test(stop, sigusr1_while_draining_dumps)
{
	int client = start_busy("drain_timeout = 3600\n");
	start_draining();
	expect_signals_accounted();
	cr_assert_eq(stats_value("skeld_connections_open"), 1);
	client_read_busy(client);
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(stop, sigusr2_while_draining_toggles_debug)
{
	int client = start_busy("drain_timeout = 3600\n");
	start_draining();
	daemon_signal(SIGUSR2);
	AWAIT(log_contains("debug logging on"));
	expect_status("state", "draining");
	client_read_busy(client);
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(stop, statistics_are_logged_at_the_end)
{
	daemon_start("log { level = \"error\" }\n" BASE);
	cr_assert_eq(daemon_stop(SIGINT), 0);
	cr_assert(log_contains("stats signals: received_sigint=1"), "%s", log_text());
	expect_signals_logged();
}

Test(stop, a_stop_under_load_loses_no_answer)
{
	enum { CLIENTS = 200 };
	int clients[CLIENTS];
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	for (size_t i = 0; i < CLIENTS; i++) {
		clients[i] = client_connect("main");
		client_send_bytes(clients[i], "last words\n", 11);
	}
	daemon_signal(SIGTERM);
	for (size_t i = 0; i < CLIENTS; i++) {
		client_expect_bytes(clients[i], "last words\n", 11);
		client_expect_eof(clients[i]);
	}
	cr_assert_eq(daemon_wait_exit(), 0);
}

/* A reload begins, at most one is queued behind it, and each has one outcome in the log. */
static void expect_each_reload_logged(const char *log)
{
	int asked = 0;
	char copy[strlen(log) + 1], *rest = copy;
	strcpy(copy, log);
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (strstr(line, ": reload the configuration")) {
			cr_assert_eq(asked, 0, "%s", log);
			asked = 1;
		} else if (strstr(line, ": queue one more reload")) {
			cr_assert_geq(asked, 1, "%s", log);
			asked = 2;
		} else if (strstr(line, "reloaded: ") || strstr(line, "reload dropped: ")) {
			cr_assert_geq(asked, 1, "%s", log);
			asked--;
		}
	}
	cr_assert_eq(asked, 0, "%s", log);
}

Test(stop, a_stop_during_a_reload_stops)
{
	/* The stop arrives together with the reload, or during it. */
	daemon_start(BASE);
	for (int i = 0; i < 20; i++)
		daemon_signal(SIGHUP);
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	expect_signals_logged();
	expect_each_reload_logged(log_text());
}
