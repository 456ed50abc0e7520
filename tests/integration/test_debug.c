/*
 * The debug level: each connection, each step of a reload and each batch of signals is in the log.
 */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

DAEMON_SUITE(debug);

#define DEBUG "log { level = \"debug\" }\n"

static void expect_in_order(const char *const parts[], size_t n)
{
	log_expect_order(parts, n);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(log_count(parts[i]), 1, "%s: %s", parts[i], log_text());
}
#define EXPECT_IN_ORDER(...)                                                                       \
	expect_in_order((const char *const[]){__VA_ARGS__},                                        \
			sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

Test(debug, debug_lines_follow_a_connection)
{
	char accepted[128];
	daemon_start(BASE DEBUG);
	int client = client_connect("main");
	client_echo(client, "hello\n");
	client_echo(client, "again and again\n");
	MUST(shutdown(client, SHUT_WR) == 0);
	client_expect_eof(client);
	AWAIT(log_contains(": closed: "));
	snprintf(accepted, sizeof(accepted), ": accepted: on %s by worker 0\n",
		 listener_address("main"));
	EXPECT_IN_ORDER(accepted, ": peer closed its side: unsent=0\n",
			": closed: reason=peer received=22 sent=22 seconds=");
	cr_assert(log_line_with(": closed: ") && strstr(last_value, " debug   127.0.0.1:"), "%s",
		  last_value);
	daemon_finish();
}

Test(debug, debug_lines_report_paused_reading)
{
	const char chunk[16384] = "";
	config_write(BASE LISTEN_BUSY DEBUG "limits { buffer = 4096 }\n", test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	int client = client_connect("busy");
	/* A client that sends as much as possible and reads nothing. */
	AWAIT((send(client, chunk, sizeof(chunk), MSG_DONTWAIT | MSG_NOSIGNAL),
	       log_contains("a unix peer: reading paused: ")));
	cr_assert(!log_contains("reading paused: 0 bytes"), "%s", log_text());
	client_close(client);
	daemon_finish();
}

Test(debug, debug_lines_report_a_reset)
{
	const struct linger at_once = {1, 0};
	daemon_start(BASE DEBUG);
	int client = client_connect("main");
	client_echo(client, "hello\n");
	MUST(setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0);
	client_close(client);
	AWAIT(log_contains(": closed: "));
	EXPECT_IN_ORDER(": cannot receive: Connection reset by peer\n",
			": closed: reason=error received=6 sent=6 seconds=");
	daemon_finish();
}

/* The value behind PART, in milliseconds, is plausible. */
static void expect_time(const char *part)
{
	double ms = -1;
	const char *line = log_line_with(part);
	cr_assert(line, "%s: %s", part, log_text());
	sscanf(strstr(line, part) + strlen(part), "%lf", &ms);
	cr_assert(ms >= 0 && ms < 10000, "%s", line);
}

Test(debug, debug_lines_time_each_step_of_a_reload)
{
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN DEBUG);
	config_write("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN DEBUG
		     "drain_timeout = 9\n");
	daemon_reload_and_wait();
	EXPECT_IN_ORDER("state: running -> reloading\n",
			"reload: parsed duration_ms=", "reload: prepared duration_ms=",
			"reload: committed generation=2 duration_ms=",
			"reloaded: generation=2 duration_ms=", "state: reloading -> running\n");
	expect_time("reload: parsed duration_ms=");
	expect_time("reload: prepared duration_ms=");
	expect_time("reload: committed generation=2 duration_ms=");
	expect_time("snapshot taken: worker=0 generation=2 delay_ms=");
	expect_time("snapshot taken: worker=1 generation=2 delay_ms=");
	config_write("nonsense\n");
	daemon_reload_and_wait();
	cr_assert_eq(log_count("reload: parsed "), 2);
	cr_assert_eq(log_count("reload: prepared "), 1);
	cr_assert(!log_contains("generation=3"), "%s", log_text());
	daemon_finish();
}

Test(debug, debug_lines_report_a_batch_of_signals)
{
	int status;
	daemon_start(BASE DEBUG);
	daemon_signal(SIGSTOP);
	MUST(waitpid(daemon_pid, &status, WUNTRACED) == daemon_pid && WIFSTOPPED(status));
	daemon_signal(SIGUSR1);
	daemon_signal(SIGUSR2);
	daemon_signal(SIGHUP);
	daemon_signal(SIGCONT);
	notify_wait("RELOADING=1");
	notify_wait("READY=1");
	cr_assert_eq(log_count("signals taken: received=3 entries=3\n"), 1, "%s", log_text());
	cr_assert(log_contains("debug logging stays on: "));
	daemon_finish();
}

Test(debug, debug_lines_are_written_only_at_level_debug)
{
	daemon_start(BASE);
	client_echo(client_connect("main"), "hello\n");
	daemon_reload_and_wait();
	cr_assert(!log_contains(" debug   "), "%s", log_text());
	daemon_signal(SIGUSR2);
	AWAIT(log_contains(" notice  debug logging on: "));
	client_echo(client_connect("main"), "hello\n");
	cr_assert_eq(log_count(" debug   "), 1, "%s", log_text());
	cr_assert(log_contains(": accepted: on "), "%s", log_text());
	daemon_signal(SIGUSR2);
	AWAIT(log_contains(" notice  debug logging off\n"));
	size_t before = log_count(" debug   ");
	client_echo(client_connect("main"), "hello\n");
	daemon_reload_and_wait();
	cr_assert_eq(log_count(" debug   "), before, "%s", log_text());
	daemon_finish();
}
