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

FIXTURE_SUITE(debug);

#define DEBUG "log { level = \"debug\" }\n"

static void expect_in_order(const char *const parts[], size_t n)
{
	log_expect_order(f, parts, n);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(log_count(f, parts[i]), 1, "%s: %s", parts[i], log_text(f));
}
#define EXPECT_IN_ORDER(...)                                                                       \
	expect_in_order((const char *const[]){__VA_ARGS__},                                        \
			sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

Test(debug, debug_lines_follow_a_connection)
{
	char accepted[128];
	daemon_start(f, BASE DEBUG);
	int client = client_connect(f, "main");
	client_echo(f, client, "hello\n");
	client_echo(f, client, "again and again\n");
	MUST(shutdown(client, SHUT_WR) == 0);
	client_expect_eof(f, client);
	await(f, log_contains(f, ": closed: "));
	snprintf(accepted, sizeof(accepted), ": accepted: on %s by worker 0\n",
		 listener_address(f, "main"));
	EXPECT_IN_ORDER(accepted, ": peer closed its side: unsent=0\n",
			": closed: reason=peer received=22 sent=22 seconds=");
	cr_assert(log_line_with(f, ": closed: ") && strstr(f->value, " debug   127.0.0.1:"), "%s",
		  f->value);
	daemon_finish(f);
}

Test(debug, debug_lines_report_paused_reading)
{
	const char chunk[16384] = "";
	config_write(f, BASE LISTEN_BUSY DEBUG "limits { buffer = 4096 }\n", f->dir);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
	int client = client_connect(f, "busy");
	/* A client that sends as much as possible and reads nothing. */
	await(f, (send(client, chunk, sizeof(chunk), MSG_DONTWAIT | MSG_NOSIGNAL),
		  log_contains(f, "a unix peer: reading paused: ")));
	cr_assert(!log_contains(f, "reading paused: 0 bytes"), "%s", log_text(f));
	client_close(f, client);
	daemon_finish(f);
}

Test(debug, debug_lines_report_a_reset)
{
	const struct linger at_once = {1, 0};
	daemon_start(f, BASE DEBUG);
	int client = client_connect(f, "main");
	client_echo(f, client, "hello\n");
	MUST(setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0);
	client_close(f, client);
	await(f, log_contains(f, ": closed: "));
	EXPECT_IN_ORDER(": cannot receive: Connection reset by peer\n",
			": closed: reason=error received=6 sent=6 seconds=");
	daemon_finish(f);
}

/* The value behind PART, in milliseconds, is plausible. */
static void expect_time(const char *part)
{
	double ms = -1;
	const char *line = log_line_with(f, part);
	cr_assert(line, "%s: %s", part, log_text(f));
	sscanf(strstr(line, part) + strlen(part), "%lf", &ms);
	cr_assert(ms >= 0 && ms < 10000, "%s", line);
}

Test(debug, debug_lines_time_each_step_of_a_reload)
{
	daemon_start(f, "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN DEBUG);
	config_write(f, "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN DEBUG
			"drain_timeout = 9\n");
	daemon_reload_and_wait(f);
	EXPECT_IN_ORDER("state: running -> reloading\n",
			"reload: parsed duration_ms=", "reload: prepared duration_ms=",
			"reload: committed generation=2 duration_ms=",
			"reloaded: generation=2 duration_ms=", "state: reloading -> running\n");
	expect_time("reload: parsed duration_ms=");
	expect_time("reload: prepared duration_ms=");
	expect_time("reload: committed generation=2 duration_ms=");
	expect_time("snapshot taken: worker=0 generation=2 delay_ms=");
	expect_time("snapshot taken: worker=1 generation=2 delay_ms=");
	config_write(f, "nonsense\n");
	daemon_reload_and_wait(f);
	cr_assert_eq(log_count(f, "reload: parsed "), 2);
	cr_assert_eq(log_count(f, "reload: prepared "), 1);
	cr_assert(!log_contains(f, "generation=3"), "%s", log_text(f));
	daemon_finish(f);
}

Test(debug, debug_lines_report_a_batch_of_signals)
{
	int status;
	daemon_start(f, BASE DEBUG);
	daemon_signal(f, SIGSTOP);
	MUST(waitpid(f->pid, &status, WUNTRACED) == f->pid && WIFSTOPPED(status));
	daemon_signal(f, SIGUSR1);
	daemon_signal(f, SIGUSR2);
	daemon_signal(f, SIGHUP);
	daemon_signal(f, SIGCONT);
	notify_wait(f, "RELOADING=1");
	notify_wait(f, "READY=1");
	cr_assert_eq(log_count(f, "signals taken: received=3 entries=3\n"), 1, "%s", log_text(f));
	cr_assert(log_contains(f, "debug logging stays on: "));
	daemon_finish(f);
}

Test(debug, debug_lines_are_written_only_at_level_debug)
{
	daemon_start(f, BASE);
	client_echo(f, client_connect(f, "main"), "hello\n");
	daemon_reload_and_wait(f);
	cr_assert(!log_contains(f, " debug   "), "%s", log_text(f));
	daemon_signal(f, SIGUSR2);
	await(f, log_contains(f, " notice  debug logging on: "));
	client_echo(f, client_connect(f, "main"), "hello\n");
	cr_assert_eq(log_count(f, " debug   "), 1, "%s", log_text(f));
	cr_assert(log_contains(f, ": accepted: on "), "%s", log_text(f));
	daemon_signal(f, SIGUSR2);
	await(f, log_contains(f, " notice  debug logging off\n"));
	size_t before = log_count(f, " debug   ");
	client_echo(f, client_connect(f, "main"), "hello\n");
	daemon_reload_and_wait(f);
	cr_assert_eq(log_count(f, " debug   "), before, "%s", log_text(f));
	daemon_finish(f);
}
