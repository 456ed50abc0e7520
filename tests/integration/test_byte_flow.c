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

FIXTURE_SUITE(byte_flow);

enum { MIB = 1 << 20 };

#define CLOSED(reason) "skeld_connections_closed_total{reason=\"" reason "\"}"

static void start(const char *more)
{
	config_write(f, BASE LISTEN_BUSY "%s", f->dir, more);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
}

/* The client does not read until the daemon has stopped reading: this costs at most limits.buffer
 * of memory, and no CPU time. Then every byte arrives in order. */
static void check_slow_reader(const char *listener)
{
	enum { WINDOW_MS = 300, SPINNING_MS = 100, OTHER_KIB = 1024 };
	struct pump small = {.total = 4 * MIB}, large = {.total = scaled(64 * MIB)};
	start("limits { buffer = 1048576 }\n");
	small.fd = client_connect(f, listener);
	pump_run(f, &small); /* so that one-time allocations are done */
	long before = proc_number(f, "VmRSS");
	large.fd = client_connect(f, listener);
	pump_stuff(f, &large);
	cr_assert_lt(large.sent, large.total, "the whole message was sent, although no side reads");
	pump_stuff(f, &large);
	long grown = proc_number(f, "VmRSS") - before;
	double cpu = measure_cpu(f, WINDOW_MS);
	cr_assert_lt(cpu, SPINNING_MS, "%.0f ms of CPU time while stuck for %d ms", cpu, WINDOW_MS);
	if (SANITIZED(""))
		cr_assert_lt(grown, 2 * 1024 + OTHER_KIB, "memory grew by %ld KiB", grown);
	pump_run(f, &large);
	client_shut(f, large.fd);
	client_expect_eof(f, large.fd);
	daemon_finish(f);
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
		p[i] = (struct pump){.fd = client_connect(f, "busy"), .total = 2 * MIB};
		pump_stuff(f, &p[i]);
	}
	client_echo(f, client_connect(f, "main"), "served all the same\n");
	client_echo(f, client_connect(f, "busy"), "here, too\n");
	for (size_t i = 0; i < STUBBORN; i++)
		pump_run(f, &p[i]);
	daemon_finish(f);
}

Test(byte_flow, messages_of_16_MiB_are_echoed)
{
	start("limits { buffer = 4096 }\n");
	struct pump tcp = {.fd = client_connect(f, "main"), .total = 16 * MIB};
	struct pump local = {.fd = client_connect(f, "busy"), .total = 16 * MIB};
	pump_run(f, &tcp);
	pump_run(f, &local);
	stats_await(f, "skeld_sent_bytes_total", 32 * MIB);
	cr_assert_eq(stats_value(f, "skeld_received_bytes_total"), 32 * MIB);
	daemon_finish(f);
}

Test(byte_flow, a_message_can_arrive_byte_by_byte)
{
	enum { BYTES = 2000 };
	start("");
	int client = client_connect(f, "main"), one = 1;
	MUST(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
	for (int i = 0; i < BYTES; i++)
		client_echo(f, client, (char[]){(char)('a' + i % 26), '\0'});
	cr_assert_eq(stats_fresh(f, "skeld_received_bytes_total"), BYTES);
	daemon_finish(f);
}

static void check_half_close(const char *listener)
{
	enum { SIZE = 200000 };
	start("limits { buffer = 65536 }\n");
	struct pump p = {.fd = client_connect(f, listener), .total = SIZE};
	int64_t until = deadline();
	while (p.sent < SIZE) {
		await_fd(f, p.fd, POLLOUT, until, "room to send");
		pump_send(f, &p);
	}
	client_shut(f, p.fd);
	pump_run(f, &p);
	client_expect_eof(f, p.fd);
	stats_await_open(f, 0);
	cr_assert_eq(stats_value(f, CLOSED("peer")), 1);
	daemon_finish(f);
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
	int client = client_connect(f, "main");
	client_shut(f, client);
	client_expect_eof(f, client);
	client_close(f, client_connect(f, "busy"));
	stats_await_open(f, 0);
	daemon_finish(f);
}

Test(byte_flow, a_reset_does_not_affect_other_clients)
{
	start("limits { buffer = 65536 }\n");
	int other = client_connect(f, "main");
	client_echo(f, other, "before\n");
	struct pump p = {.fd = client_connect(f, "main"), .total = 64 * MIB};
	pump_stuff(f, &p); /* both directions are full */
	client_reset(f, p.fd);
	client_reset(f, client_connect(f, "main"));
	stats_await_open(f, 1);
	cr_assert_geq(stats_value(f, CLOSED("error")), 1);
	client_echo(f, other, "and after\n");
	cr_assert_eq(log_count(f, " error   "), 0, "%s", log_text(f));
	daemon_finish(f);
}

/*
 * Idle connections are checked once a second: one is closed at most two seconds after its timeout.
 */

Test(byte_flow, an_idle_connection_is_closed)
{
	start("");
	int silent = client_connect(f, "main"), local = client_connect(f, "busy");
	int spoke = client_connect(f, "main");
	client_echo(f, spoke, "hello\n");
	struct pump stuck = {.fd = client_connect(f, "busy"), .total = 16 * MIB};
	pump_stuff(f, &stuck); /* neither side reads: no byte moves */
	config_write(f, BASE LISTEN_BUSY "limits { idle_timeout = 1 }\n", f->dir);
	daemon_reload_and_wait(f);
	client_expect_eof(f, silent);
	client_expect_eof(f, local);
	client_expect_eof(f, spoke);
	stats_await_open(f, 0);
	cr_assert_eq(stats_value(f, CLOSED("idle")), 4);
	daemon_finish(f);
}

static void talk_until_closed(int talker, double n)
{
	for (int64_t until = deadline(); stats_fresh(f, CLOSED("idle")) < n;) {
		await_turn(f, until, "an idle connection to be closed");
		client_echo(f, talker, "a");
	}
}

Test(byte_flow, an_active_connection_is_not_idle)
{
	start("limits { idle_timeout = 3 }\n"); /* the test may be late */
	int silent = client_connect(f, "main"), talker = client_connect(f, "main");
	/* Wait until a connection that was opened at the same time, and one opened later, were
	 * closed. */
	for (int n = 1; n <= 2; n++) {
		talk_until_closed(talker, n);
		client_expect_eof(f, silent);
		silent = client_connect(f, "main");
	}
	client_echo(f, talker, "still here\n");
	daemon_finish(f);
}

Test(byte_flow, a_reload_changes_the_idle_timeout_of_open_connections)
{
	static const char more[] = "lines { delay = 1100 }\nlimits { idle_timeout = %d }\n";
	char config[128];
	fixture_use(f, LINES_BINARY);
	snprintf(config, sizeof(config), more, 0);
	start(config);
	int silent = client_connect(f, "main"), talker = client_connect(f, "main");
	client_send(f, talker, "later\n", 6); /* by then idle connections were checked */
	client_expect_text(f, talker, "1: later\n");
	stats_await_open(f, 2);
	snprintf(config, sizeof(config), more, 1);
	config_write(f, BASE LISTEN_BUSY "%s", f->dir, config);
	daemon_reload_and_wait(f);
	client_expect_eof(f, silent);
	daemon_finish(f);
}

Test(byte_flow, a_reload_changes_the_buffer_of_open_connections)
{
	double received[3];
	static const char *const limits[] = {"4096", "4194304", "4096"};
	start("limits { buffer = 4096 }\n");
	struct pump p = {.fd = client_connect(f, "busy"), .total = 16 * MIB};
	for (size_t i = 0; i < 3; i++) {
		config_write(f, BASE LISTEN_BUSY "limits { buffer = %s }\n", f->dir, limits[i]);
		daemon_reload_and_wait(f);
		/* A connection that the old limit had paused continues by the new limit when bytes
		 * move. */
		struct pump other = {.fd = client_connect(f, "busy"), .total = 16 * MIB};
		received[i] = -stats_fresh(f, "skeld_received_bytes_total");
		pump_stuff(f, &other);
		received[i] += stats_fresh(f, "skeld_received_bytes_total");
		pump_stuff(f, &p);
		pump_run(f, &other);
	}
	cr_assert_geq(received[1], 4 * MIB);
	cr_assert_lt(received[0], 2 * MIB);
	cr_assert_lt(received[2], 2 * MIB);
	pump_run(f, &p);
	daemon_finish(f);
}

Test(byte_flow, log_lines_of_a_connection_have_the_peer)
{
	char name[32], part[96];
	start("log { level = \"debug\" }\n");
	int client = client_connect(f, "main");
	client_echo(f, client, "hello\n");
	snprintf(part, sizeof(part), " %s: ", client_name(f, client, name));
	cr_assert_eq(log_count(f, part), 1, "%s", log_text(f));
	client_close(f, client);
	stats_await_open(f, 0);
	cr_assert_eq(log_count(f, part), 3, "%s", log_text(f)); /* also its FIN */
	cr_assert_not_null(strstr(log_line_with(f, part), "closed: reason=peer"), "%s", f->value);
	daemon_finish(f);
}

/* A copy of the daemon's descriptor, to read its socket options. */
static int daemons_end(int client)
{
	char dir[32];
	struct sockaddr_in mine, theirs;
	socklen_t n = sizeof(mine);
	MUST(getsockname(client, (struct sockaddr *)&mine, &n) == 0);
	snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)f->pid);
	DIR *d = opendir(dir);
	MUST(d);
	for (struct dirent *entry; (entry = readdir(d));) {
		int fd = (int)syscall(SYS_pidfd_getfd, f->pidfd, atoi(entry->d_name), 0);
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
	fail_test(f, "the daemon has no descriptor of the connection");
}

Test(byte_flow, answers_are_not_delayed_by_nagle)
{
	int nodelay = 0;
	socklen_t n = sizeof(nodelay);
	start("");
	int client = client_connect(f, "main");
	client_echo(f, client, "hello\n");
	int end = daemons_end(client);
	if (end < 0)
		cr_skip_test("pidfd_getfd is not allowed here");
	MUST(getsockopt(end, IPPROTO_TCP, TCP_NODELAY, &nodelay, &n) == 0);
	close(end);
	cr_assert(nodelay);
	daemon_finish(f);
}
