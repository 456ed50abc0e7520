/*
 * The example service services/http.c with clients that other projects wrote: curl, ab, h2load and
 * wrk. A test is skipped if its client is not installed; see the file packages in this folder.
 */
/* test: TIMEOUT 180 LABELS all NEEDS SOCKETS */
#include "observe.h"
#include "traffic.h"

#include <errno.h>
#include <glob.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

DAEMON_SUITE(http_clients, daemon_use(HTTP_BINARY));

#define TWO_WORKERS "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN

struct tool {
	pid_t pid;
	int output;
};
static char output[1 << 20]; /* of the last tool, standard output and error */

static void need(const char *name)
{
	char command[64];
	snprintf(command, sizeof(command), "command -v %s >/dev/null", name);
	if (system(command) != 0)
		cr_skip_test("%s is not installed", name);
}

/* Start a shell command in which $URL is the address of the daemon. */
static struct tool tool_start(const char *command)
{
	char url[128];
	int ends[2];
	snprintf(url, sizeof(url), "http://%s", listener_address("main"));
	MUST(pipe(ends) == 0);
	struct tool t = {.pid = fork(), .output = ends[0]};
	MUST(t.pid >= 0);
	if (t.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* if the test fails */
		setenv("URL", url, 1);
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	return t;
}

/* Wait for the end of the tool. Returns its exit status. */
static int tool_end(struct tool *t)
{
	size_t size = 0;
	ssize_t n;
	int status;
	while ((n = read(t->output, output + size, sizeof(output) - 1 - size)) > 0)
		size += (size_t)n;
	output[size] = '\0';
	close(t->output);
	MUST(waitpid(t->pid, &status, 0) == t->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void run(const char *command)
{
	struct tool t = tool_start(command);
	int status = tool_end(&t);
	cr_assert_eq(status, 0, "%s: exit status %d: %s", command, status, output);
}

static void expect_output(const char *part)
{
	cr_assert(strstr(output, part), "expected \"%s\" in: %s", part, output);
}

static void write_upload(size_t n)
{
	char *text = malloc(n + 1);
	MUST(text);
	for (size_t i = 0; i < n; i++)
		text[i] = (char)('a' + i % 25);
	text[n] = '\0';
	file_write("upload", text);
	free(text);
}

/* curl. */

Test(http_clients, curl_reuses_its_connection)
{
	need("curl");
	daemon_start(TWO_WORKERS);
	run("curl -sS -w ' %{http_code} %{http_version} %{num_connects}\\n' $URL/ $URL/?q $URL/");
	expect_output("hello 200 1.1 1\nhello 200 1.1 0\nhello 200 1.1 0\n");
	run("curl -sS --http1.0 -w ' %{http_code} %{num_connects}\\n' $URL/ $URL/");
	expect_output("hello 200 1\nhello 200 1\n");
	daemon_finish();
}

Test(http_clients, curl_gets_the_head_alone)
{
	need("curl");
	daemon_start(TWO_WORKERS);
	run("curl -sS --head $URL/");
	expect_output("HTTP/1.1 200 OK\r\n");
	expect_output("Content-Length: 5\r\n");
	cr_assert_not(strstr(output, "hello"), "%s", output);
	daemon_finish();
}

Test(http_clients, curl_uploads_with_a_length_and_in_chunks)
{
	need("curl");
	write_upload(30000);
	daemon_start(TWO_WORKERS);
	run("curl -sS --data-binary @upload $URL/echo | cmp - upload");
	run("curl -sS -X POST -T upload $URL/echo | cmp - upload");
	run("cat upload | curl -sS -X POST -T - -H 'Expect:' $URL/echo | cmp - upload");
	run("curl -sS --data-binary '' $URL/echo | cmp - /dev/null");
	daemon_finish();
}

Test(http_clients, curl_receives_100_continue)
{
	need("curl");
	write_upload(30000);
	daemon_start(TWO_WORKERS);
	run("curl -sSv -H 'Expect: 100-continue' --expect100-timeout 100 --data-binary @upload "
	    "-o copy $URL/echo && cmp copy upload");
	expect_output("< HTTP/1.1 100 Continue");
	expect_output("< HTTP/1.1 200 OK");
	daemon_finish();
}

Test(http_clients, curl_does_not_send_a_body_that_is_refused)
{
	need("curl");
	write_upload(1000000);
	daemon_start(TWO_WORKERS);
	run("curl -sS -H 'Expect: 100-continue' --expect100-timeout 100 --data-binary @upload "
	    "-w ' %{http_code} %{size_upload}' $URL/echo");
	expect_output("413 Content Too Large\n 413 0");
	run("curl -sS -H 'Expect: 100-continue' --expect100-timeout 100 --data-binary @upload "
	    "-w ' %{http_code} %{size_upload}' $URL/none");
	expect_output(" 0");
	run("curl -sS -H 'Expect:' --data-binary @upload -w ' %{http_code}' -o copy $URL/echo");
	expect_output(" 413");
	daemon_finish();
}

Test(http_clients, curl_learns_that_a_head_is_too_long)
{
	need("curl");
	daemon_start(TWO_WORKERS);
	run("curl -sS -H \"X: $(printf %9000s x)\" -w ' %{http_code}' $URL/");
	expect_output("431 Request Header Fields Too Large\n 431");
	run("curl -sS -w ' %{http_code}' $URL/$(printf %9000s x | tr ' ' x)");
	expect_output("414 URI Too Long\n 414");
	daemon_finish();
}

/* ab speaks HTTP/1.0, with Connection: keep-alive. */

Test(http_clients, ab_is_served_with_and_without_keep_alive)
{
	need("ab");
	write_upload(3000);
	daemon_start(TWO_WORKERS);
	run("ab -q -k -n 5000 -c 8 $URL/");
	expect_output("Complete requests:      5000\nFailed requests:        0\n"
		      "Keep-Alive requests:    5000\n");
	run("ab -q -n 1000 -c 8 $URL/");
	expect_output("Complete requests:      1000\nFailed requests:        0\n");
	run("ab -q -k -i -n 1000 -c 8 $URL/");
	expect_output("Complete requests:      1000\nFailed requests:        0\n"
		      "Keep-Alive requests:    1000\n");
	run("ab -q -k -p upload -T text/plain -n 1000 -c 8 $URL/echo");
	expect_output("Complete requests:      1000\nFailed requests:        0\n"
		      "Keep-Alive requests:    1000\n");
	expect_output("Document Length:        3000 bytes\n");
	stats_await("http_answers_2xx_total", 8000);
	cr_assert_eq(stats_value("http_answers_4xx_total"), 0);
	daemon_finish();
}

/* h2load keeps -m requests in flight on each connection. */

Test(http_clients, h2load_receives_all_pipelined_answers)
{
	need("h2load");
	write_upload(3000);
	daemon_start(TWO_WORKERS);
	run("h2load --h1 -n 20000 -c 8 -m 1 $URL/");
	expect_output("20000 succeeded, 0 failed, 0 errored, 0 timeout");
	run("h2load --h1 -n 20000 -c 8 -m 16 $URL/");
	expect_output("20000 succeeded, 0 failed, 0 errored, 0 timeout");
	run("h2load --h1 -n 4000 -c 8 -m 16 -d upload $URL/echo");
	expect_output("4000 succeeded, 0 failed, 0 errored, 0 timeout");
	stats_await("http_answers_2xx_total", 44000);
	daemon_finish();
}

/* wrk runs until it is interrupted. */

enum { CONNECTIONS = 16 };
#define WRK "exec wrk -t 1 -c 16 -d 3600s --timeout 600s "

static const char pipeline[] = "init = function(args)\n"
			       "  local one = {}\n"
			       "  for i = 1, 16 do one[i] = wrk.format() end\n"
			       "  all = table.concat(one)\n"
			       "end\n"
			       "request = function() return all end\n";

/* The number in the last output behind WORD; 0 if there is none. */
static long number_behind(const char *word)
{
	const char *at = strstr(output, word);
	return at ? strtol(at + strlen(word), NULL, 10) : 0;
}

static long answers(void)
{
	return (long)stats_fresh("http_answers_2xx_total");
}

static void interrupt(struct tool *wrk)
{
	MUST(kill(wrk->pid, SIGINT) == 0);
	cr_assert_eq(tool_end(wrk), 0, "%s", output);
	cr_assert_not(strstr(output, "Non-2xx"), "%s", output);
}

static void reload_under_load(const char *command)
{
	enum { RELOADS = 20 };
	char text[64], expected[512];
	file_write("pipeline.lua", pipeline);
	daemon_start(TWO_WORKERS);
	int client = client_connect("main"); /* one connection over all reloads */
	struct tool wrk = tool_start(command);
	for (int i = 0; i < RELOADS; i++) {
		long before = answers();
		snprintf(text, sizeof(text), "text %d", i);
		config_write(TWO_WORKERS "http { body = \"%s\" }\n", text);
		daemon_reload_and_wait();
		expect_status("last_reload", "ok");
		client_send(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		for (size_t n = 0; n < strlen(text) ||
				   memcmp(expected + n - strlen(text), text, strlen(text)) != 0;) {
			await_fd(client, POLLIN, deadline(), text);
			ssize_t more = read(client, expected + n, sizeof(expected) - n);
			MUST(more > 0);
			n += (size_t)more;
		}
		AWAIT(answers() > before + 100);
	}
	interrupt(&wrk);
	cr_assert_not(strstr(output, "Socket errors"), "%s", output);
	cr_assert_geq(answers(), number_behind("connections\n"), "%s", output);
	daemon_finish();
}

Test(http_clients, wrk_loses_no_request_while_the_daemon_reloads)
{
	need("wrk");
	reload_under_load(WRK "$URL/");
}

Test(http_clients, wrk_loses_no_pipelined_request_while_the_daemon_reloads)
{
	need("wrk");
	reload_under_load(WRK "-s pipeline.lua $URL/");
}

/* The listening socket is passed to the daemon, and outlives it: connections that wrk makes after
 * the stop wait in its queue instead of being refused. */
static int queue;

static void pass_queue(void)
{
	char pid[16];
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	dup2(queue, 3);
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_FDNAMES", "main", 1);
}

static bool threads_are(pid_t pid, char state)
{
	char path[64];
	glob_t threads;
	bool all = true;
	snprintf(path, sizeof(path), "/proc/%d/task/*/stat", (int)pid);
	MUST(glob(path, 0, NULL, &threads) == 0);
	for (size_t i = 0; i < threads.gl_pathc; i++) {
		const char *text = file_text(threads.gl_pathv[i]);
		const char *name_end = text ? strrchr(text, ')') : NULL;
		all = all && (!name_end || name_end[2] == state);
	}
	globfree(&threads);
	return all;
}

static void drain_under_load(const char *command)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	queue = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(queue >= 0 && bind(queue, (struct sockaddr *)&a, sizeof(a)) == 0);
	MUST(listen(queue, 100) == 0);
	daemon_prepare = pass_queue;
	file_write("pipeline.lua", pipeline);
	daemon_start(TWO_WORKERS "log { level = \"debug\" }\n");
	struct tool wrk = tool_start(command);
	AWAIT(answers() > 1000);
	/* Each of the connections has requests in the daemon's sockets when the drain begins. */
	daemon_signal(SIGSTOP);
	AWAIT(threads_are(daemon_pid, 'T'));
	AWAIT(threads_are(wrk.pid, 'S'));
	daemon_signal(SIGTERM);
	daemon_signal(SIGCONT);
	cr_assert_eq(daemon_wait_exit(), 0, "%s", log_text());
	interrupt(&wrk);
	close(queue);
	cr_assert_geq(log_count("closed: reason=service"), CONNECTIONS, "%s", log_text());
	/* The daemon closes a connection that sends no request within 200 ms: on a busy machine. */
	long errors = number_behind(", read ") + number_behind(", write ");
	cr_assert_leq(errors, (long)log_count("closed: reason=drain"), "%s", output);
	cr_assert_eq(number_behind(": connect ") + number_behind(", timeout "), 0, "%s", output);
	cr_assert(log_contains("drained: cut_off=0 unsent_bytes=0"), "%s", log_text());
}

Test(http_clients, wrk_gets_complete_answers_while_the_daemon_drains)
{
	need("wrk");
	drain_under_load(WRK "$URL/");
}

Test(http_clients, wrk_gets_complete_pipelined_answers_while_the_daemon_drains)
{
	need("wrk");
	drain_under_load(WRK "-s pipeline.lua $URL/");
}

Test(http_clients, connections_above_the_limit_are_refused_and_the_others_served)
{
	need("wrk");
	daemon_start(BASE "limits { connections = 4 }\n");
	struct tool wrk = tool_start(WRK "$URL/");
	AWAIT(answers() > 1000);
	cr_assert_leq(stats_value("skeld_connections_open"), 4);
	cr_assert_gt(stats_value("skeld_connections_closed_total{reason=\"limit\"}"), 0);
	MUST(kill(wrk.pid, SIGINT) == 0);
	cr_assert_eq(tool_end(&wrk), 0, "%s", output);
	daemon_finish();
}
