/* The debug level: what one needs to find a fault is in the log, and without it nothing of that. */
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

Test(debug, a_connections_life)
{
	char accepted[128];
	daemon_start(f, BASE DEBUG);
	int client = client_connect(f, "main");
	client_echo(f, client, "hello\n");
	client_echo(f, client, "again and again\n");
	MUST(shutdown(client, SHUT_WR) == 0);
	client_expect_eof(f, client);
	await(f, log_contains(f, ": closed: "));
	snprintf(accepted, sizeof(accepted), ": accepted on %s by worker 0\n",
		 listener_address(f, "main"));
	EXPECT_IN_ORDER(accepted, ": the peer sends no more; 0 bytes for it are queued\n",
			": closed: peer; received 22 bytes, sent 22, open for ");
	cr_assert(log_line_with(f, ": closed: ") && strstr(f->value, " debug   127.0.0.1:"), "%s",
		  f->value);
	daemon_finish(f);
}

Test(debug, reading_that_pauses)
{
	const char chunk[16384] = "";
	config_write(f, BASE LISTEN_BUSY DEBUG "limits { buffer = 4096 }\n", f->dir);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
	int client = client_connect(f, "busy");
	/* Sends as much as it can, and reads nothing. */
	await(f, (send(client, chunk, sizeof(chunk), MSG_DONTWAIT | MSG_NOSIGNAL),
		  log_contains(f, "a unix peer: reading pauses: ")));
	cr_assert(!log_contains(f, "reading pauses: 0 bytes"), "%s", log_text(f));
	client_close(f, client);
	daemon_finish(f);
}

Test(debug, a_peer_that_resets)
{
	const struct linger at_once = {1, 0};
	daemon_start(f, BASE DEBUG);
	int client = client_connect(f, "main");
	client_echo(f, client, "hello\n");
	MUST(setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0);
	client_close(f, client);
	await(f, log_contains(f, ": closed: "));
	EXPECT_IN_ORDER(": cannot receive: Connection reset by peer\n",
			": closed: error; received 6 bytes, sent 6, open for ");
	daemon_finish(f);
}

/* "... in 0.123 ms" and the like: a time, and a short one. */
static void expect_time(const char *part)
{
	double ms = -1;
	const char *line = log_line_with(f, part);
	cr_assert(line, "%s: %s", part, log_text(f));
	sscanf(strstr(line, part) + strlen(part), "%lf ms", &ms);
	cr_assert(ms >= 0 && ms < 10000, "%s", line);
}

Test(debug, each_step_of_a_reload)
{
	daemon_start(f, "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN DEBUG);
	config_write(f, "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN DEBUG
			"drain_timeout = 9\n");
	daemon_reload_and_wait(f);
	EXPECT_IN_ORDER("state: running -> reloading\n", "configuration: 119 bytes of 1 file read ",
			"reload: read, parsed and validated in ", "reload: prepared in ",
			"reload: generation 2 committed in ",
			"reloaded: generation 2 is served by every worker, ",
			"state: reloading -> running\n");
	expect_time("1 file read in ");
	expect_time("parsed and validated in ");
	expect_time("prepared in ");
	expect_time("committed in ");
	expect_time("worker 0 serves generation 2, ");
	expect_time("worker 1 serves generation 2, ");
	config_write(f, "nonsense\n");
	daemon_reload_and_wait(f);
	cr_assert_eq(log_count(f, "parsed and validated in "), 2);
	cr_assert_eq(log_count(f, "prepared in "), 1);
	cr_assert(!log_contains(f, "serves generation 3"), "%s", log_text(f));
	daemon_finish(f);
}

Test(debug, what_a_wake_up_by_signals_took)
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
	cr_assert_eq(log_count(f, "woken by signals: 3 arrived, taken as 3\n"), 1, "%s",
		     log_text(f));
	cr_assert(log_contains(f, "debug logging stays on, as configured\n"));
	daemon_finish(f);
}

Test(debug, none_of_it_without)
{
	daemon_start(f, BASE);
	client_echo(f, client_connect(f, "main"), "hello\n");
	daemon_reload_and_wait(f);
	cr_assert(!log_contains(f, " debug   "), "%s", log_text(f));
	daemon_signal(f, SIGUSR2);
	await(f, log_contains(f, " notice  debug logging is on, until it is toggled or a reload"));
	client_echo(f, client_connect(f, "main"), "hello\n");
	cr_assert_eq(log_count(f, " debug   "), 1, "%s", log_text(f));
	cr_assert(log_contains(f, ": accepted on "), "%s", log_text(f));
	daemon_signal(f, SIGUSR2);
	await(f, log_contains(f, " notice  debug logging is off\n"));
	size_t before = log_count(f, " debug   ");
	client_echo(f, client_connect(f, "main"), "hello\n");
	daemon_reload_and_wait(f);
	cr_assert_eq(log_count(f, " debug   "), before, "%s", log_text(f));
	daemon_finish(f);
}
