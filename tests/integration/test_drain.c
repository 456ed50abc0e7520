/* Drain: every received request is answered, and no client delays the stop forever. */
/* test: TIMEOUT 180 */
#include "observe.h"
#include "trace.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

DAEMON_SUITE(drain);

#define TWO    "workers = 2\nadmin { address = \"\" }\n"
#define HOUR   "drain_timeout = 3600\n"
#define SECOND "drain_timeout = 1\n"

static void start_lines(const char *config)
{
	daemon_use(LINES_BINARY);
	daemon_start(config);
}

static void send_text(int fd, const char *text)
{
	client_send(fd, text);
}

static void start_draining(void)
{
	daemon_signal(SIGINT);
	notify_wait("STOPPING=1");
}

/* Idle connections. */

static void connect_in_batches(struct sockaddr_storage *a, socklen_t length, int clients[],
			       size_t n)
{
	enum { BATCH = 200 }; /* less than the backlog */
	char hello[2];
	for (size_t i = 0; i < n; i++) {
		clients[i] = socket(a->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		MUST(clients[i] >= 0);
		MUST(connect(clients[i], (struct sockaddr *)a, length) == 0);
		if (i % BATCH != BATCH - 1 && i != n - 1)
			continue;
		for (size_t k = i - i % BATCH; k <= i; k++) {
			await_fd(clients[k], POLLIN, deadline(), "a greeting");
			MUST(recv(clients[k], hello, 2, 0) == 2);
		}
	}
}

Test(drain, ten_thousand_idle_connections_are_closed)
{
	enum { WANTED = 10000, OTHERS = 200 };
	size_t n = scaled(WANTED), allowed = allow_descriptors(n + OTHERS);
	if (allowed < n + OTHERS) {
		n = allowed - OTHERS;
		fprintf(stderr, "# %zu connections: no more descriptors are allowed\n", n);
	}
	int *clients = calloc(n, sizeof(*clients));
	struct sockaddr_storage a;
	socklen_t length = sizeof(a);
	MUST(clients);
	daemon_start(TWO LISTEN_MAIN HOUR "limits { connections = 19000 }\n"
					  "echo { banner = \"hi\" }\n");
	int first = client_connect("main");
	MUST(getpeername(first, (struct sockaddr *)&a, &length) == 0);
	client_expect(first, "hi");
	connect_in_batches(&a, length, clients, n);
	stats_await_open(n + 1);

	double began = seconds_now();
	daemon_signal(SIGTERM);
	client_expect_eof(first);
	for (size_t i = 0; i < n; i++) {
		char byte;
		await_fd(clients[i], POLLIN, deadline(), "EOF");
		MUST(recv(clients[i], &byte, 1, 0) == 0);
		close(clients[i]);
	}
	cr_assert_eq(daemon_wait_exit(), 0);
	fprintf(stderr, "# %zu idle connections were drained in %.0f ms\n", n,
		(seconds_now() - began) * 1e3);
	free(clients);
}

/* Busy connections. */

/* Expect that TEXT is "1: x\n2: x\n..." up to N, with one goodbye between two answers. */
static void expect_answers(const char *text, size_t n)
{
	char line[32];
	size_t answers = 0, goodbyes = 0;
	for (const char *at = text; *at; at += strcspn(at, "\n") + 1) {
		snprintf(line, sizeof(line), "%zu: x\n", answers + 1);
		if (strncmp(at, line, strlen(line)) == 0)
			answers++;
		else if (strncmp(at, "goodbye\n", 8) == 0)
			goodbyes++;
		else
			fail_test("wrong after %zu answers: %.40s", answers, at);
	}
	cr_assert_eq(answers, n);
	cr_assert_eq(goodbyes, 1);
}

Test(drain, pipelined_requests_are_all_answered)
{
	enum { CLIENTS = 40, REQUESTS = 5000, ROOM = REQUESTS * 12 };
	int clients[CLIENTS];
	char *requests = malloc(REQUESTS * 2 + 1), *answers = malloc(ROOM);
	MUST(requests && answers);
	for (size_t i = 0; i < REQUESTS; i++)
		memcpy(requests + 2 * i, "x\n", 3);
	start_lines(TWO LISTEN_MAIN HOUR "limits { buffer = 4096 }\n");
	for (size_t i = 0; i < CLIENTS; i++) {
		clients[i] = client_connect("main");
		send_text(clients[i], "\n");
		client_expect(clients[i], "\n");
	}
	/* The kernel has all bytes, and the daemon has read none, when the drain begins. */
	daemon_signal(SIGSTOP);
	for (size_t i = 0; i < CLIENTS; i++)
		send_text(clients[i], requests);
	daemon_signal(SIGTERM);
	daemon_signal(SIGCONT);
	for (size_t i = 0; i < CLIENTS; i++) {
		client_read_all(clients[i], answers, ROOM);
		expect_answers(answers, REQUESTS);
	}
	cr_assert_eq(daemon_wait_exit(), 0);
	free(requests);
	free(answers);
}

Test(drain, a_late_answer_is_delivered)
{
	char text[128];
	start_lines(BASE HOUR "lines { delay = 2000 }\n");
	int client = client_connect("main");
	send_text(client, "a\nlater\nb\nlater\nc\n");
	client_expect(client, "1: a\n");
	start_draining();
	client_read_all(client, text, sizeof(text));
	cr_assert_str_eq(text, "goodbye\n2: later\n3: b\n4: later\n5: c\n");
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("drained: cut_off=0"), "%s", log_text());
}

Test(drain, an_answer_after_the_deadline_is_cut_off)
{
	start_lines(BASE SECOND "lines { delay = 3600000 }\n");
	int client = client_connect("main");
	send_text(client, "later\nb\n");
	stats_await("skeld_received_bytes_total", 8);
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	client_expect(client, "goodbye\n");
	cr_assert(log_contains("drained: cut_off=1"), "%s", log_text());
	cr_assert(log_contains("closed_deadline=1"), "%s", log_text());
}

Test(drain, draining_is_called_for_each_connection)
{
	enum { CLIENTS = 100 };
	int clients[CLIENTS];
	char text[64];
	start_lines(TWO LISTEN_MAIN HOUR);
	for (size_t i = 0; i < CLIENTS; i++) {
		clients[i] = client_connect("main");
		send_text(clients[i], "\n");
		client_expect(clients[i], "\n");
	}
	daemon_signal(SIGINT);
	for (size_t i = 0; i < CLIENTS; i++) {
		client_read_all(clients[i], text, sizeof(text));
		cr_assert_str_eq(text, "goodbye\n");
	}
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("closed_drain=100"), "%s", log_text());
}

Test(drain, a_request_that_is_never_finished_is_cut_off_at_the_deadline)
{
	start_lines(BASE SECOND);
	int client = client_connect("main");
	send_text(client, "whole\npart");
	client_expect(client, "1: whole\n");
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	client_expect(client, "goodbye\n");
	cr_assert(log_contains("drained: cut_off=1"), "%s", log_text());
	cr_assert(log_contains("closed_deadline=1"), "%s", log_text());
}

Test(drain, a_request_that_is_finished_in_time_is_answered)
{
	char text[64];
	start_lines(BASE HOUR);
	int client = client_connect("main");
	send_text(client, "whole\npart");
	client_expect(client, "1: whole\n");
	start_draining();
	client_expect(client, "goodbye\n");
	send_text(client, "ing\n");
	client_read_all(client, text, sizeof(text));
	cr_assert_str_eq(text, "2: parting\n");
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(drain, a_client_that_does_not_read_delays_the_drain_until_the_deadline)
{
	enum { CLIENTS = 5, MIB = 1 << 20 };
	daemon_start(BASE "drain_timeout = 4\nlimits { buffer = 65536 }\n");
	for (size_t i = 0; i < CLIENTS; i++) {
		struct pump p = {.fd = client_connect("main"), .total = 64 * MIB};
		pump_fill(&p);
	}
	int idle = client_connect("main");
	client_echo(idle, "hello\n");
	start_draining();
	client_expect_eof(idle);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("drained: cut_off=5"), "%s", log_text());
	cr_assert(log_contains("closed_deadline=5"), "%s", log_text());
}

/* Answers become due in the same turn of the loop in which the drain begins. The connections wait
 * for nothing else, because more is received behind the answers than limits.buffer holds. */
Test(drain, answers_that_become_due_as_the_drain_begins_are_sent)
{
	enum { CLIENTS = 300, BUFFER = 4096, LINE = 64, LINES = BUFFER / LINE, PREFIX = 3500 };
	enum { ROOM = (LINES + 2) * (PREFIX + 2 * LINE), DELAY_MS = 1000 };
	int clients[CLIENTS];
	char prefix[PREFIX + 1], *text = malloc(ROOM);
	MUST(text);
	memset(prefix, 'p', PREFIX);
	prefix[PREFIX] = '\0';
	daemon_use(LINES_BINARY);
	config_write(BASE LISTEN_BUSY HOUR "limits { buffer = %d }\n"
					   "lines { delay = %d\n prefix = \"%s\" }\n",
		     test_dir, BUFFER, DELAY_MS, prefix);
	daemon_spawn();
	notify_wait("READY=1");
	strcpy(text, "later\n");
	for (size_t i = 0; i < LINES; i++)
		sprintf(text + 6 + LINE * i, "%*s\n", LINE - 1, "x");
	for (size_t i = 0; i < CLIENTS; i++) {
		clients[i] = client_connect("busy");
		send_text(clients[i], text);
	}
	stats_await("skeld_received_bytes_total", CLIENTS * (6 + BUFFER));
	daemon_signal(SIGSTOP);
	measure_cpu(DELAY_MS); /* the worker is frozen: all timers expire during that time */
	daemon_signal(SIGTERM);
	daemon_signal(SIGCONT);
	for (size_t i = 0, first = 0; i < CLIENTS; i++) {
		size_t n = client_read_all(clients[i], text, ROOM);
		first = i ? first : n;
		cr_assert_eq(n, first);
		cr_assert(strstr(text, "p65: ") && strstr(text, "goodbye\n"));
	}
	free(text);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("drained: cut_off=0"), "%s", log_text());
}

Test(drain, a_stop_during_a_reload_drains)
{
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
	daemon_start(TWO LISTEN_MAIN HOUR);
	int client = client_connect("main");
	client_echo(client, "hello\n");
	pid_t worker = trace_freeze(1);
	config_write(TWO LISTEN_MAIN HOUR "limits { connections = 99 }\n");
	daemon_signal(SIGHUP);
	notify_wait("RELOADING=1");
	start_draining(); /* the reload cannot end before the worker acknowledges it */
	cr_assert(!log_contains("every worker serves it"));
	trace_thaw(worker);
	client_expect_eof(client);
	cr_assert_eq(daemon_wait_exit(), 0);
	expect_signals_logged();
}
