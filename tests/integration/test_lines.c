/* The service API with state per connection and late answers: services/lines.c. */
/* test: TIMEOUT 180 */
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

DAEMON_SUITE(lines, daemon_use(LINES_BINARY));

/* The answer comes after the end of every test. */
#define NEVER "lines { delay = 3600000 }\n"

static void send_text(int fd, const char *text)
{
	client_send(fd, text);
}

static void expect_text(int fd, const char *text)
{
	client_expect(fd, text);
}

Test(lines, each_connection_has_its_own_state)
{
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	int a = client_connect("main"), b = client_connect("main");
	send_text(a, "one\n");
	expect_text(a, "1: one\n");
	send_text(b, "first\n");
	expect_text(b, "1: first\n");
	send_text(a, "two\n");
	expect_text(a, "2: two\n");
	send_text(b, "second\n");
	expect_text(b, "2: second\n");
	daemon_finish();
}

Test(lines, a_partial_line_is_kept_until_it_is_complete)
{
	daemon_start(BASE);
	int client = client_connect("main");
	send_text(client, "complete\nhel");
	expect_text(client, "1: complete\n");
	send_text(client, "lo, ");
	stats_await("skeld_received_bytes_total", 16);
	send_text(client, "world\nanother");
	expect_text(client, "2: hello, world\n");
	send_text(client, "\n");
	expect_text(client, "3: another\n");
	daemon_finish();
}

Test(lines, a_line_can_arrive_byte_by_byte)
{
	static const char text[] = "slowly does it\n\nstill here\n";
	daemon_start(BASE);
	int client = client_connect("main");
	for (size_t i = 0; text[i]; i++) {
		send_text(client, (char[]){text[i], '\0'});
		stats_await("skeld_received_bytes_total", (double)i + 1);
	}
	expect_text(client, "1: slowly does it\n\n2: still here\n");
	daemon_finish();
}

Test(lines, pipelined_requests_are_answered_in_order)
{
	enum { REQUESTS = 5000 };
	char line[32];
	daemon_start(BASE);
	int client = client_connect("main");
	for (int i = 1; i <= REQUESTS; i++) {
		snprintf(line, sizeof(line), "request %d\n", i);
		send_text(client, line);
	}
	for (int i = 1; i <= REQUESTS; i++) {
		snprintf(line, sizeof(line), "%d: request %d\n", i, i);
		expect_text(client, line);
	}
	daemon_finish();
}

Test(lines, requests_wait_behind_a_held_answer)
{
	daemon_start(BASE);
	int client = client_connect("main"), other = client_connect("main");
	send_text(client, "a\nlater\nb\nlater\nlater\nc\n\nd");
	send_text(other, "another client\n");
	expect_text(other, "1: another client\n");
	expect_text(client, "1: a\n2: later\n3: b\n4: later\n5: later\n6: c\n\n");
	send_text(client, "one\n");
	expect_text(client, "7: done\n");
	daemon_finish();
}

Test(lines, a_held_connection_stays_open_and_silent)
{
	daemon_start(BASE NEVER);
	int client = client_connect("main");
	send_text(client, "later\n");
	stats_await("skeld_received_bytes_total", 6);
	send_text(client, "b\nc\nd");
	stats_await("skeld_received_bytes_total", 11);
	cr_assert_eq(stats_value("lines_requests_total"), 0);
	send_text(client, "\nquit\n");
	client_close(client);
	stats_await_open(1);
	cr_assert_eq(stats_value("lines_requests_total"), 0);
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
}

/* Many more answers than limits.buffer, for a client that does not read yet. */
Test(lines, requests_wait_while_answers_are_unsent)
{
	enum { REQUESTS = 40000, LINE = 9 };
	char prefix[301], expected[400];
	memset(prefix, 'p', 300);
	prefix[300] = '\0';
	config_write(BASE "limits { buffer = 4096 }\nlines { prefix = \"%s\" }\n", prefix);
	daemon_spawn();
	notify_wait("READY=1");
	int client = client_connect("main");
	char *text = malloc(REQUESTS * LINE + 1);
	MUST(text);
	for (int i = 0; i < REQUESTS; i++)
		memcpy(text + i * LINE, i % 1000 == 999 ? "\nlater\n\n\n" : "requests\n", LINE);
	struct {
		size_t sent, at;
	} done = {0, 0};
	for (int i = 1; i <= REQUESTS; i++) {
		/* Send as much as possible, ahead of the answers that are read. */
		size_t ahead = (size_t)(i + 5000 < REQUESTS ? i + 5000 : REQUESTS) * LINE;
		if (ahead - done.sent > 20000 || i + 5000 >= REQUESTS) {
			client_send_bytes(client, text + done.sent, ahead - done.sent);
			done.sent = ahead;
		}
		if (i % 1000 == 0)
			snprintf(expected, sizeof(expected), "\n%s%d: later\n\n\n", prefix, i);
		else
			snprintf(expected, sizeof(expected), "%s%d: requests\n", prefix, i);
		expect_text(client, expected);
	}
	free(text);
	daemon_finish();
}

Test(lines, bytes_after_quit_are_ignored)
{
	char text[64];
	daemon_start(BASE);
	int client = client_connect("main");
	send_text(client, "a\nquit\nb\nc\n");
	client_read_all(client, text, sizeof(text));
	cr_assert_str_eq(text, "1: a\n2: quit\n");
	stats_await_open(0);
	cr_assert_eq(stats_value("skeld_connections_closed_total{reason=\"service\"}"), 1);
	daemon_finish();
}

/* A close while the client still sends must not discard undelivered answers. */
Test(lines, answers_before_quit_are_delivered)
{
	enum { REQUESTS = 2000, PREFIX = 100, ROOM = REQUESTS * (PREFIX + 32), SMALL = 20000 };
	char prefix[PREFIX + 1], *text = malloc(ROOM);
	int small = SMALL;
	MUST(text);
	memset(prefix, 'p', PREFIX);
	prefix[PREFIX] = '\0';
	config_write(BASE "lines { prefix = \"%s\" }\n", prefix);
	daemon_spawn();
	notify_wait("READY=1");
	int client = client_connect("main");
	MUST(setsockopt(client, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0);
	for (size_t i = 0; i < REQUESTS; i++)
		send_text(client, "request\n");
	send_text(client, "quit\n");
	stats_await("lines_requests_total", REQUESTS + 1);
	for (size_t i = 0; i < REQUESTS; i++)
		send_text(client, "after quit\n");
	size_t n = client_read_all(client, text, ROOM);
	cr_assert_str_eq(text + n - 12, "p2001: quit\n");
	free(text);
	daemon_finish();
}

Test(lines, a_client_that_half_closes_gets_its_answers)
{
	char text[128];
	daemon_start(BASE);
	int client = client_connect("main");
	send_text(client, "a\nlater\nb\nlater\nc\nunfinished");
	client_shut(client);
	client_read_all(client, text, sizeof(text));
	cr_assert_str_eq(text, "1: a\n2: later\n3: b\n4: later\n5: c\n");
	stats_await_open(0);
	cr_assert_eq(stats_value("skeld_connections_closed_total{reason=\"peer\"}"), 1);
	daemon_finish();
}

Test(lines, behind_a_held_answer_no_more_than_a_buffer_is_read)
{
	enum { WINDOW_MS = 300, SPINNING_MS = 100, BUFFER = 4096 };
	daemon_start(BASE NEVER "limits { buffer = 4096 }\n");
	struct pump p = {.fd = client_connect("main"), .total = 64 << 20};
	send_text(p.fd, "later\n");
	pump_fill(&p);
	cr_assert_lt(p.sent, p.total);
	cr_assert_leq(stats_fresh("skeld_received_bytes_total"), 6 + BUFFER);
	double cpu = measure_cpu(WINDOW_MS);
	cr_assert_lt(cpu, SPINNING_MS, "%.0f ms of CPU time in %d ms", cpu, WINDOW_MS);
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
}

Test(lines, a_held_connection_can_be_reset)
{
	daemon_start(BASE "lines { delay = 100 }\n");
	int client = client_connect("main");
	send_text(client, "later\nb\n");
	stats_await("skeld_received_bytes_total", 8);
	client_reset(client);
	stats_await_open(0);
	cr_assert_eq(stats_value("skeld_connections_closed_total{reason=\"error\"}"), 1);
	daemon_finish();
}

Test(lines, a_held_connection_is_not_idle)
{
	daemon_start(BASE "limits { idle_timeout = 0 }\nlines { delay = 2500 }\n");
	int client = client_connect("main"), idle = client_connect("main");
	send_text(client, "later\n");
	stats_await("skeld_received_bytes_total", 6);
	config_write(BASE "limits { idle_timeout = 1 }\nlines { delay = 2500 }\n");
	daemon_reload_and_wait();
	client_expect_eof(idle);
	expect_text(client, "1: later\n");
	daemon_finish();
}

Test(lines, a_line_longer_than_the_buffer_closes_the_connection)
{
	char line[5001];
	daemon_start(BASE "log { level = \"debug\" }\nlimits { buffer = 4096 }\n");
	int client = client_connect("main");
	memset(line, 'x', sizeof(line) - 1);
	line[5000] = '\0';
	line[4000] = '\n'; /* this line fits */
	send_text(client, line);
	line[4000] = '\0';
	expect_text(client, "1: ");
	expect_text(client, line);
	expect_text(client, "\n");
	memset(line, 'x', sizeof(line) - 1);
	client_send_bytes(client, line, 4096 - 999);
	stats_await_open(0);
	cr_assert_eq(stats_value("skeld_connections_closed_total{reason=\"overflow\"}"), 1);
	cr_assert(log_contains("request too large: limits.buffer = 4096"), "%s", log_text());
	daemon_finish();
}

Test(lines, a_line_of_16_MiB_is_answered)
{
	enum { MIB = 1 << 20, SIZE = 16 * MIB };
	daemon_start(BASE "limits { buffer = 33554432 }\n");
	int client = client_connect("main");
	char *line = malloc(SIZE + 1);
	MUST(line);
	for (size_t i = 0; i < SIZE; i++)
		line[i] = (char)('a' + i % 23);
	line[SIZE - 1] = '\n';
	line[SIZE] = '\0';
	send_text(client, line);
	expect_text(client, "1: ");
	expect_text(client, line);
	free(line);
	daemon_finish();
}

Test(lines, a_reload_changes_options_for_open_connections)
{
	daemon_start(BASE);
	int client = client_connect("main");
	send_text(client, "plain\n");
	expect_text(client, "1: plain\n");
	config_write(BASE "lines { prefix = \"> \" }\n");
	daemon_reload_and_wait();
	cr_assert(log_contains("lines.prefix"), "%s", log_text());
	send_text(client, "marked\n");
	expect_text(client, "> 2: marked\n");
	config_write(BASE "lines { prefix = \"> \"\n delay = 3600001 }\n");
	daemon_reload_and_wait();
	expect_rejected(2, "lines.delay");
	send_text(client, "still marked\n");
	expect_text(client, "> 3: still marked\n");
	daemon_finish();
}

Test(lines, counters_of_the_service_are_in_the_stats)
{
	daemon_start(BASE);
	int client = client_connect("main");
	send_text(client, "a\nb\nlater\n\n");
	expect_text(client, "1: a\n2: b\n3: later\n\n");
	cr_assert_eq(stats_fresh("lines_requests_total"), 3);
	cr_assert_eq(stats_value("lines_delayed_total"), 1);
	cr_assert(log_contains("stats lines: requests=3 delayed=1"), "%s", log_text());
	daemon_finish();
}

Test(lines, the_self_test_passes_with_the_lines_service)
{
	config_write(BASE);
	cr_assert_eq(skeld_run("-c", config_path, "--self-test=order", NULL), 0, "%.2000s",
		     command_out.bytes);
}
