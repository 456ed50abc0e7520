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

FIXTURE_SUITE(stop);

/* Start a daemon with a client that delays the end of a drain. */
static int start_busy(const char *more)
{
	config_write(f, BASE LISTEN_BUSY "%s", f->dir, more);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
	return client_stubborn(f);
}

static void start_draining(void)
{
	daemon_signal(f, SIGINT);
	notify_wait(f, "STOPPING=1");
	await(f, strcmp(status_get(f, "state"), "draining") == 0);
}

Test(stop, the_manager_is_notified_of_the_timeout_and_the_connections)
{
	config_write(f, BASE LISTEN_BUSY "drain_timeout = 7\n", f->dir);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
	int client = client_connect(f, "busy");
	notify_wait(f, "STATUS=running, generation 1, 1 connection");
	client_close(f, client);
	notify_wait(f, "STATUS=running, generation 1, 0 connections");
	daemon_signal(f, SIGTERM);
	notify_wait(f, "EXTEND_TIMEOUT_USEC=12000000"); /* and five seconds for the other steps */
	cr_assert_eq(daemon_wait_exit(f), 0);
}

Test(stop, sigint_and_sigterm_exit_with_0)
{
	daemon_start(f, BASE);
	cr_assert_eq(daemon_stop(f, SIGINT), 0);
	daemon_start(f, BASE);
	cr_assert_eq(daemon_stop(f, SIGTERM), 0);
}

Test(stop, an_idle_connection_is_closed_at_once)
{
	daemon_start(f, BASE "drain_timeout = 3600\n");
	int client = client_connect(f, "main");
	client_echo(f, client, "hello\n");
	int silent = client_connect(f, "main");
	daemon_signal(f, SIGINT);
	client_expect_eof(f, client);
	client_expect_eof(f, silent);
	cr_assert_eq(daemon_wait_exit(f), 0);
}

Test(stop, drain_answers_what_was_received)
{
	enum { BYTES = 40000 }; /* fits the first window: all of it is received */
	char *bytes = malloc(BYTES);
	MUST(bytes);
	for (size_t i = 0; i < BYTES; i++)
		bytes[i] = (char)('a' + i % 26);
	daemon_start(f, BASE);
	int client = client_connect(f, "main");
	client_echo(f, client, "hello\n");
	client_send(f, client, bytes, BYTES);
	daemon_signal(f, SIGINT);
	client_expect(f, client, bytes, BYTES);
	client_expect_eof(f, client);
	free(bytes);
	cr_assert_eq(daemon_wait_exit(f), 0);
}

Test(stop, a_busy_connection_ends_the_drain_when_it_is_done)
{
	int client = start_busy("drain_timeout = 3600\n");
	start_draining();
	client_relent(f, client);
	client_expect_eof(f, client);
	cr_assert_eq(daemon_wait_exit(f), 0);
}

Test(stop, drain_deadline_exits_0)
{
	int client = start_busy("drain_timeout = 1\n");
	cr_assert_eq(daemon_stop(f, SIGTERM), 0);
	client_close(f, client);
	cr_assert(log_contains(f, "drained: cut_off=1\n"), "%s", log_text(f));
}

Test(stop, drain_timeout_0_closes_at_once)
{
	int client = start_busy("drain_timeout = 0\n");
	cr_assert_eq(daemon_stop(f, SIGTERM), 0);
	client_close(f, client);
}

Test(stop, no_connection_is_accepted_while_draining)
{
	char address[128];
	int client = start_busy("drain_timeout = 3600\n");
	snprintf(address, sizeof(address), "%s", listener_address(f, "main"));
	start_draining();
	/* The queues of the listeners are emptied, then closed: a new connection is refused. */
	int fd = -1;
	await(f, (client_close(f, fd), fd = client_try(f, address)) < 0);
	client_relent(f, client);
	cr_assert_eq(daemon_wait_exit(f), 0);
}

Test(stop, second_sigint_forces_exit_1)
{
	start_busy("drain_timeout = 3600\n");
	start_draining();
	cr_assert_eq(daemon_stop(f, SIGINT), 1);
	cr_assert(log_contains(f, "stats signals: "));
	cr_assert(!runtime_file_exists(f, "skeld.pid") && !runtime_file_exists(f, "status"));
}

Test(stop, sigterm_after_sigint_forces_exit_1)
{
	start_busy("drain_timeout = 3600\n");
	start_draining();
	cr_assert_eq(daemon_stop(f, SIGTERM), 1);
}

Test(stop, sigquit_stops_now_with_1)
{
	start_busy("drain_timeout = 3600\n");
	cr_assert_eq(daemon_stop(f, SIGQUIT), 1);
	expect_signals_logged(f);
	cr_assert(!runtime_file_exists(f, "skeld.pid") && !runtime_file_exists(f, "status"));
}

Test(stop, sigquit_while_draining_stops_now_with_1)
{
	start_busy("drain_timeout = 3600\n");
	start_draining();
	cr_assert_eq(daemon_stop(f, SIGQUIT), 1);
}

Test(stop, sighup_while_draining_is_ignored)
{
	int client = start_busy("drain_timeout = 3600\n");
	start_draining();
	config_write(f, "nonsense\n");
	daemon_signal(f, SIGHUP);
	await(f, log_contains(f, "ignored"));
	cr_assert_not_null(strstr(log_line_with(f, "ignored"), "SIGHUP from pid"), "%s", f->value);
	expect_status(f, "state", "draining");
	expect_status(f, "last_reload", "none");
	client_relent(f, client);
	cr_assert_eq(daemon_wait_exit(f), 0);
	cr_assert_null(strstr(f->notices.bytes, "RELOADING=1"));
	cr_assert_eq(stats_logged(f, "handled", "SIGHUP"), 1);
	expect_signals_logged(f);
}

Test(stop, sigusr1_while_draining_dumps)
{
	int client = start_busy("drain_timeout = 3600\n");
	start_draining();
	expect_signals_accounted(f);
	cr_assert_eq(stats_value(f, "skeld_connections_open"), 1);
	client_relent(f, client);
	cr_assert_eq(daemon_wait_exit(f), 0);
}

Test(stop, sigusr2_while_draining_toggles_debug)
{
	int client = start_busy("drain_timeout = 3600\n");
	start_draining();
	daemon_signal(f, SIGUSR2);
	await(f, log_contains(f, "SIGUSR2 from pid"));
	expect_status(f, "state", "draining");
	client_relent(f, client);
	cr_assert_eq(daemon_wait_exit(f), 0);
}

Test(stop, the_draining_line_has_connections_and_timeout)
{
	start_busy("drain_timeout = 77\n");
	start_draining();
	await(f, log_contains(f, "77"));
	cr_assert_not_null(strstr(log_line_with(f, "77"), "1 "), "%s", f->value);
	cr_assert_eq(daemon_stop(f, SIGINT), 1);
}

Test(stop, statistics_are_logged_at_the_end)
{
	daemon_start(f, "log { level = \"error\" }\n" BASE);
	cr_assert_eq(daemon_stop(f, SIGINT), 0);
	cr_assert(log_contains(f, "stats signals: received SIGINT 1"), "%s", log_text(f));
	expect_signals_logged(f);
}

Test(stop, a_stop_under_load_loses_no_answer)
{
	enum { CLIENTS = 200 };
	int clients[CLIENTS];
	daemon_start(f, "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	for (size_t i = 0; i < CLIENTS; i++) {
		clients[i] = client_connect(f, "main");
		client_send(f, clients[i], "last words\n", 11);
	}
	daemon_signal(f, SIGTERM);
	for (size_t i = 0; i < CLIENTS; i++) {
		client_expect(f, clients[i], "last words\n", 11);
		client_expect_eof(f, clients[i]);
	}
	cr_assert_eq(daemon_wait_exit(f), 0);
}

/* A reload begins, at most one is queued behind it, and each has one outcome in the log. */
static void expect_outcomes_told(const char *log)
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
	daemon_start(f, BASE);
	for (int i = 0; i < 20; i++)
		daemon_signal(f, SIGHUP);
	cr_assert_eq(daemon_stop(f, SIGTERM), 0);
	expect_signals_logged(f);
	expect_outcomes_told(log_text(f));
}
