/* Bytes on their way: slow and stubborn peers, long messages, and the ways to leave. */
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

FIXTURE_SUITE(flow);

enum { MIB = 1 << 20 };

#define CLOSED(reason) "skeld_connections_closed_total{reason=\"" reason "\"}"

static void start(const char *more)
{
	config_write(f, BASE LISTEN_BUSY "%s", f->dir, more);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
}

/*
 * The client does not read until the daemon is full: at most limits.buffer of memory, and no CPU
 * time. Then every byte comes, in order.
 */
static void check_slow_reader(const char *listener)
{
	enum { WINDOW_MS = 300, SPINNING_MS = 100, OTHER_KIB = 1024 };
	struct pump small = {.total = 4 * MIB}, large = {.total = scaled(64 * MIB)};
	start("limits { buffer = 1048576 }\n");
	small.fd = client_connect(f, listener);
	pump_run(f, &small); /* so that what is allocated once has been */
	long before = proc_number(f, "VmRSS");
	large.fd = client_connect(f, listener);
	pump_stuff(f, &large);
	cr_assert_lt(large.sent, large.total, "all of it was taken, though nobody reads");
	pump_stuff(f, &large);
	long grown = proc_number(f, "VmRSS") - before;
	double cpu = cpu_during(f, WINDOW_MS);
	cr_assert_lt(cpu, SPINNING_MS, "%.0f ms of CPU time while stuck for %d ms", cpu, WINDOW_MS);
	if (SANITIZED(""))
		cr_assert_lt(grown, 2 * 1024 + OTHER_KIB, "memory grew by %ld KiB", grown);
	pump_run(f, &large);
	client_shut(f, large.fd);
	client_expect_eof(f, large.fd);
	daemon_finish(f);
}

Test(flow, a_slow_reader_costs_a_buffer_and_no_cpu)
{
	check_slow_reader("main");
}

Test(flow, a_slow_reader_on_a_unix_socket_too)
{
	check_slow_reader("busy");
}

Test(flow, stubborn_clients_do_not_hinder_others)
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

Test(flow, messages_of_16_MiB)
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

Test(flow, byte_by_byte)
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

Test(flow, who_has_said_all_is_answered_before_the_end)
{
	check_half_close("main");
}

Test(flow, who_has_said_all_on_a_unix_socket_too)
{
	check_half_close("busy");
}

Test(flow, who_said_nothing_at_all_may_leave)
{
	start("");
	int client = client_connect(f, "main");
	client_shut(f, client);
	client_expect_eof(f, client);
	client_close(f, client_connect(f, "busy"));
	stats_await_open(f, 0);
	daemon_finish(f);
}

Test(flow, a_reset_in_the_middle_hurts_nobody_else)
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

/* Idle. A second passes between two looks at who is idle, no more than two until they are. */

Test(flow, an_idle_connection_is_closed)
{
	start("");
	int silent = client_connect(f, "main"), local = client_connect(f, "busy");
	int spoke = client_connect(f, "main");
	client_echo(f, spoke, "hello\n");
	struct pump stuck = {.fd = client_connect(f, "busy"), .total = 16 * MIB};
	pump_stuff(f, &stuck); /* does not read, and is not read from: nothing moves */
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

Test(flow, who_talks_is_not_idle)
{
	start("limits { idle_timeout = 3 }\n"); /* the test may be late, too */
	int silent = client_connect(f, "main"), talker = client_connect(f, "main");
	/* For as long as it takes until one that came with it, and one after it, was closed. */
	for (int n = 1; n <= 2; n++) {
		talk_until_closed(talker, n);
		client_expect_eof(f, silent);
		silent = client_connect(f, "main");
	}
	client_echo(f, talker, "still here\n");
	daemon_finish(f);
}

Test(flow, the_idle_timeout_changes_for_open_connections)
{
	static const char more[] = "lines { delay = 1100 }\nlimits { idle_timeout = %d }\n";
	char config[128];
	fixture_use(f, LINES_BINARY);
	snprintf(config, sizeof(config), more, 0);
	start(config);
	int silent = client_connect(f, "main"), talker = client_connect(f, "main");
	client_send(f, talker, "later\n", 6); /* by then, it was looked who is idle */
	client_expect_text(f, talker, "1: later\n");
	stats_await_open(f, 2);
	snprintf(config, sizeof(config), more, 1);
	config_write(f, BASE LISTEN_BUSY "%s", f->dir, config);
	daemon_reload_and_wait(f);
	client_expect_eof(f, silent);
	daemon_finish(f);
}

Test(flow, the_buffer_changes_for_open_connections)
{
	double received[3];
	static const char *const limits[] = {"4096", "4194304", "4096"};
	start("limits { buffer = 4096 }\n");
	struct pump p = {.fd = client_connect(f, "busy"), .total = 16 * MIB};
	for (size_t i = 0; i < 3; i++) {
		config_write(f, BASE LISTEN_BUSY "limits { buffer = %s }\n", f->dir, limits[i]);
		daemon_reload_and_wait(f);
		/* What had stopped by the old limit goes on by the new one once something moves. */
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

Test(flow, a_line_of_the_log_names_the_peer)
{
	char name[32], part[96];
	start("log { level = \"debug\" }\n");
	int client = client_connect(f, "main");
	client_echo(f, client, "hello\n");
	snprintf(part, sizeof(part), " %s: ", client_name(f, client, name));
	cr_assert_eq(log_count(f, part), 1, "%s", log_text(f));
	client_close(f, client);
	stats_await_open(f, 0);
	cr_assert_eq(log_count(f, part), 3, "%s", log_text(f)); /* that it sends no more, too */
	cr_assert_not_null(strstr(log_line_with(f, part), "closed: peer"), "%s", f->value);
	daemon_finish(f);
}

/* A copy of the daemon's end of the connection: the only way to see its options. */
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
	give_up(f, "the daemon has no descriptor of the connection");
}

Test(flow, answers_are_not_held_back_by_nagle)
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
