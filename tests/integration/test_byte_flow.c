/*
 * The flow of bytes: slow clients, clients that do not read, long messages, half-close and reset.
 */
/* test: TIMEOUT 180 */
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

DAEMON_SUITE(byte_flow);

enum { MIB = 1 << 20 };

#define CLOSED(reason) "skeld_connections_closed_total{reason=\"" reason "\"}"

static void start(const char *more)
{
	config_write(BASE LISTEN_BUSY "%s", test_dir, more);
	daemon_spawn();
	notify_wait("READY=1");
}

/* The client does not read until the daemon has stopped reading: this costs at most limits.buffer
 * of memory, and no CPU time. Then every byte arrives in order. */
static void check_slow_reader(const char *listener)
{
	enum { WINDOW_MS = 300, SPINNING_MS = 100, OTHER_KIB = 1024 };
	struct pump small = {.total = 4 * MIB}, large = {.total = scaled(64 * MIB)};
	start("limits { buffer = 1048576 }\n");
	small.fd = client_connect(listener);
	pump_run(&small); /* so that one-time allocations are done */
	long before = proc_number("VmRSS");
	large.fd = client_connect(listener);
	pump_fill(&large);
	cr_assert_lt(large.sent, large.total, "the whole message was sent, although no side reads");
	pump_fill(&large);
	long grown = proc_number("VmRSS") - before;
	double cpu = measure_cpu(WINDOW_MS);
	cr_assert_lt(cpu, SPINNING_MS, "%.0f ms of CPU time while stuck for %d ms", cpu, WINDOW_MS);
	if (SANITIZED(""))
		cr_assert_lt(grown, 2 * 1024 + OTHER_KIB, "memory grew by %ld KiB", grown);
	pump_run(&large);
	client_shut(large.fd);
	client_expect_eof(large.fd);
	daemon_finish();
}

Test(byte_flow, a_slow_reader_costs_a_buffer_and_no_cpu)
{
	check_slow_reader("main");
}

Test(byte_flow, a_slow_reader_on_a_unix_socket_costs_a_buffer_and_no_cpu)
{
	check_slow_reader("busy");
}

Test(byte_flow, clients_that_do_not_read_do_not_delay_others)
{
	enum { STUBBORN = 20 };
	start("limits { buffer = 65536 }\n");
	struct pump p[STUBBORN];
	for (size_t i = 0; i < STUBBORN; i++) {
		p[i] = (struct pump){.fd = client_connect("busy"), .total = 2 * MIB};
		pump_fill(&p[i]);
	}
	client_echo(client_connect("main"), "served all the same\n");
	client_echo(client_connect("busy"), "here, too\n");
	for (size_t i = 0; i < STUBBORN; i++)
		pump_run(&p[i]);
	daemon_finish();
}

Test(byte_flow, messages_of_16_MiB_are_echoed)
{
	start("limits { buffer = 4096 }\n");
	struct pump tcp = {.fd = client_connect("main"), .total = 16 * MIB};
	struct pump local = {.fd = client_connect("busy"), .total = 16 * MIB};
	pump_run(&tcp);
	pump_run(&local);
	stats_await("skeld_sent_bytes_total", 32 * MIB);
	cr_assert_eq(stats_value("skeld_received_bytes_total"), 32 * MIB);
	daemon_finish();
}

Test(byte_flow, a_message_can_arrive_byte_by_byte)
{
	enum { BYTES = 2000 };
	start("");
	int client = client_connect("main"), one = 1;
	MUST(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
	for (int i = 0; i < BYTES; i++)
		client_echo(client, (char[]){(char)('a' + i % 26), '\0'});
	cr_assert_eq(stats_fresh("skeld_received_bytes_total"), BYTES);
	daemon_finish();
}

static void check_half_close(const char *listener)
{
	enum { SIZE = 200000 };
	start("limits { buffer = 65536 }\n");
	struct pump p = {.fd = client_connect(listener), .total = SIZE};
	int64_t until = deadline();
	while (p.sent < SIZE) {
		await_fd(p.fd, POLLOUT, until, "room to send");
		pump_send(&p);
	}
	client_shut(p.fd);
	pump_run(&p);
	client_expect_eof(p.fd);
	stats_await_open(0);
	cr_assert_eq(stats_value(CLOSED("peer")), 1);
	daemon_finish();
}

Test(byte_flow, a_client_that_half_closes_gets_its_answers)
{
	check_half_close("main");
}

Test(byte_flow, a_unix_client_that_half_closes_gets_its_answers)
{
	check_half_close("busy");
}

Test(byte_flow, a_client_can_leave_without_a_request)
{
	start("");
	int client = client_connect("main");
	client_shut(client);
	client_expect_eof(client);
	client_close(client_connect("busy"));
	stats_await_open(0);
	daemon_finish();
}

Test(byte_flow, a_reset_does_not_affect_other_clients)
{
	start("limits { buffer = 65536 }\n");
	int other = client_connect("main");
	client_echo(other, "before\n");
	struct pump p = {.fd = client_connect("main"), .total = 64 * MIB};
	pump_fill(&p); /* both directions are full */
	client_reset(p.fd);
	client_reset(client_connect("main"));
	stats_await_open(1);
	cr_assert_geq(stats_value(CLOSED("error")), 1);
	client_echo(other, "and after\n");
	cr_assert_eq(log_count(" error   "), 0, "%s", log_text());
	daemon_finish();
}

/*
 * Idle connections are checked once a second: one is closed at most two seconds after its timeout.
 */

Test(byte_flow, an_idle_connection_is_closed)
{
	start("");
	int silent = client_connect("main"), local = client_connect("busy");
	int spoke = client_connect("main");
	client_echo(spoke, "hello\n");
	struct pump stuck = {.fd = client_connect("busy"), .total = 16 * MIB};
	pump_fill(&stuck); /* neither side reads: no byte moves */
	config_write(BASE LISTEN_BUSY "limits { idle_timeout = 1 }\n", test_dir);
	daemon_reload_and_wait();
	client_expect_eof(silent);
	client_expect_eof(local);
	client_expect_eof(spoke);
	stats_await_open(0);
	cr_assert_eq(stats_value(CLOSED("idle")), 4);
	daemon_finish();
}

static void talk_until_closed(int talker, double n)
{
	for (int64_t until = deadline(); stats_fresh(CLOSED("idle")) < n;) {
		await_turn(until, "an idle connection to be closed");
		client_echo(talker, "a");
	}
}

Test(byte_flow, an_active_connection_is_not_idle)
{
	start("limits { idle_timeout = 3 }\n"); /* the test may be late */
	int silent = client_connect("main"), talker = client_connect("main");
	/* Wait until a connection that was opened at the same time, and one opened later, were
	 * closed. */
	for (int n = 1; n <= 2; n++) {
		talk_until_closed(talker, n);
		client_expect_eof(silent);
		silent = client_connect("main");
	}
	client_echo(talker, "still here\n");
	daemon_finish();
}

Test(byte_flow, a_reload_changes_the_idle_timeout_of_open_connections)
{
	static const char more[] = "lines { delay = 1100 }\nlimits { idle_timeout = %d }\n";
	char config[128];
	daemon_use(LINES_BINARY);
	snprintf(config, sizeof(config), more, 0);
	start(config);
	int silent = client_connect("main"), talker = client_connect("main");
	client_send_bytes(talker, "later\n", 6); /* by then idle connections were checked */
	client_expect(talker, "1: later\n");
	stats_await_open(2);
	snprintf(config, sizeof(config), more, 1);
	config_write(BASE LISTEN_BUSY "%s", test_dir, config);
	daemon_reload_and_wait();
	client_expect_eof(silent);
	daemon_finish();
}

Test(byte_flow, a_reload_changes_the_buffer_of_open_connections)
{
	double received[3];
	static const char *const limits[] = {"4096", "4194304", "4096"};
	start("limits { buffer = 4096 }\n");
	struct pump p = {.fd = client_connect("busy"), .total = 16 * MIB};
	for (size_t i = 0; i < 3; i++) {
		config_write(BASE LISTEN_BUSY "limits { buffer = %s }\n", test_dir, limits[i]);
		daemon_reload_and_wait();
		/* A connection that the old limit had paused continues by the new limit when bytes
		 * move. */
		struct pump other = {.fd = client_connect("busy"), .total = 16 * MIB};
		received[i] = -stats_fresh("skeld_received_bytes_total");
		pump_fill(&other);
		received[i] += stats_fresh("skeld_received_bytes_total");
		pump_fill(&p);
		pump_run(&other);
	}
	cr_assert_geq(received[1], 4 * MIB);
	cr_assert_lt(received[0], 2 * MIB);
	cr_assert_lt(received[2], 2 * MIB);
	pump_run(&p);
	daemon_finish();
}

Test(byte_flow, log_lines_of_a_connection_have_the_peer)
{
	char name[32], part[96];
	start("log { level = \"debug\" }\n");
	int client = client_connect("main");
	client_echo(client, "hello\n");
	snprintf(part, sizeof(part), " %s: ", client_name(client, name));
	cr_assert_eq(log_count(part), 1, "%s", log_text());
	client_close(client);
	stats_await_open(0);
	cr_assert_eq(log_count(part), 3, "%s", log_text()); /* also its FIN */
	cr_assert_not_null(strstr(log_line_with(part), "closed: reason=peer"), "%s", last_value);
	daemon_finish();
}

/* A copy of the daemon's descriptor, to read its socket options. */
static int daemons_end(int client)
{
	char dir[32];
	struct sockaddr_in mine, theirs;
	socklen_t n = sizeof(mine);
	MUST(getsockname(client, (struct sockaddr *)&mine, &n) == 0);
	snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)daemon_pid);
	DIR *d = opendir(dir);
	MUST(d);
	for (struct dirent *entry; (entry = readdir(d));) {
		int fd = (int)syscall(SYS_pidfd_getfd, daemon_pidfd, atoi(entry->d_name), 0);
		if (fd < 0 && (errno == EPERM || errno == ENOSYS)) {
			closedir(d);
			return -1;
		}
		n = sizeof(theirs);
		if (fd >= 0 && getpeername(fd, (struct sockaddr *)&theirs, &n) == 0 &&
		    theirs.sin_family == AF_INET && theirs.sin_port == mine.sin_port) {
			closedir(d);
			return fd;
		}
		close(fd);
	}
	fail_test("the daemon has no descriptor of the connection");
}

Test(byte_flow, answers_are_not_delayed_by_nagle)
{
	int nodelay = 0;
	socklen_t n = sizeof(nodelay);
	start("");
	int client = client_connect("main");
	client_echo(client, "hello\n");
	int end = daemons_end(client);
	if (end < 0)
		cr_skip_test("pidfd_getfd is not allowed here");
	MUST(getsockopt(end, IPPROTO_TCP, TCP_NODELAY, &nodelay, &n) == 0);
	close(end);
	cr_assert(nodelay);
	daemon_finish();
}
