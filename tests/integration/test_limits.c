/* More clients than limits.connections, and too few descriptors. */
/* test: TIMEOUT 180 */
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

DAEMON_SUITE(limits);

#define GREETING "echo { banner = \"hi\\n\" }\n"
#define CLOSED	 "skeld_connections_closed_total{reason=\"limit\"}"

enum { WINDOW_MS = 300, SPINNING_MS = 100 };

/* Has the daemon sent the banner (1), closed (0), or done nothing yet (-1)? */
static int greeted(int fd)
{
	char text[3];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	if (poll(&p, 1, 0) == 0)
		return -1;
	return recv(fd, text, sizeof(text), MSG_DONTWAIT) == 3 && memcmp(text, "hi\n", 3) == 0;
}

/* Connect N clients and keep those that are served. Returns their number; the others get EOF. */
static size_t flood(size_t n, int served[])
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		int fd = client_connect("main");
		await_fd(fd, POLLIN, deadline(), "a greeting or EOF");
		if (greeted(fd) == 1)
			served[kept++] = fd;
		else
			client_close(fd);
	}
	return kept;
}

static void expect_served(int clients[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		client_echo(clients[i], "served\n");
}

static void check_flood(int workers)
{
	enum { LIMIT = 50, FLOOD = 350, LEAVE = 20 };
	int served[FLOOD];
	config_write("workers = %d\nadmin { address = \"\" }\n" LISTEN_MAIN GREETING
		     "limits { connections = 50 }\n",
		     workers);
	daemon_spawn();
	notify_wait("READY=1");
	double began = seconds_now();
	cr_assert_eq(flood(FLOOD, served), LIMIT);
	double ticks = seconds_now() - began + 2;
	expect_served(served, LIMIT);
	stats_await_open(LIMIT);
	cr_assert_eq(stats_value(CLOSED), FLOOD - LIMIT);
	size_t warnings = log_count(" warning ");
	cr_assert_geq(warnings, 1);
	cr_assert_leq((double)warnings, ticks * workers, "%zu warnings in less than %.1f s",
		      warnings, ticks);

	for (size_t i = 0; i < LEAVE; i++)
		client_close(served[i]);
	stats_await_open(LIMIT - LEAVE);
	cr_assert_eq(flood(FLOOD / 2, served), LEAVE);
	stats_await_open(LIMIT);
	expect_served(served, LEAVE);
	daemon_finish();
}

Test(limits, connections_above_the_limit_are_closed)
{
	check_flood(1);
}

Test(limits, the_limit_is_shared_by_all_workers)
{
	check_flood(3);
}

Test(limits, a_reload_changes_the_limit)
{
	int served[40];
	daemon_start(BASE GREETING "limits { connections = 10 }\n");
	cr_assert_eq(flood(20, served), 10);
	config_write(BASE GREETING "limits { connections = 15 }\n");
	daemon_reload_and_wait();
	cr_assert_eq(flood(20, served + 10), 5);
	config_write(BASE GREETING "limits { connections = 5 }\n");
	daemon_reload_and_wait();
	cr_assert_eq(flood(5, served + 15), 0);
	expect_served(served, 15); /* a lower limit closes no open connection */
	daemon_finish();
}

/* The limit of descriptors is known at the start. */

enum { FEW = 110 };

static rlim_t allowed = FEW;

static void with_few_descriptors(void)
{
	struct rlimit few = {allowed, allowed};
	if (setrlimit(RLIMIT_NOFILE, &few) < 0)
		_exit(126);
}

/* libevent would end the process if it had no pipe for signals, and its files would stay. */
Test(limits, a_start_without_descriptors_fails_with_the_reason_and_leaves_nothing)
{
	char path[64];
	bool started = false;
	/* Without a free descriptor, accept(2) does not report that no client waits: the drain goes
	 * on. */
	config_write(BASE "drain_timeout = 1\nlisten \"unix\" { address = \"unix:%s\" }\n",
		     path_in("socket", path));
	daemon_prepare = with_few_descriptors;
	for (allowed = STDERR_FILENO + 1; !started && allowed < FEW; allowed++) {
		daemon_spawn();
		AWAIT(daemon_ended || (notices.size && strstr(notices.bytes, "READY=1")));
		started = !daemon_ended;
		if (started)
			break;
		int code = daemon_wait_exit();
		if (code == 127) /* the libraries could not be loaded */
			continue;
		cr_assert_eq(code, 1, "%d descriptors", (int)allowed);
		cr_assert(log_contains("start failed: exit=1"), "%s", log_text());
		cr_assert(!runtime_file_exists("skeld.pid") && access(path, F_OK) < 0,
			  "%d descriptors", (int)allowed);
	}
	cr_assert(started && allowed > 8);
	daemon_finish();
}

Test(limits, clients_never_take_the_last_descriptor)
{
	enum { CLIENTS = 2 * FEW };
	int served[CLIENTS];
	daemon_prepare = with_few_descriptors;
	daemon_start(BASE GREETING);
	cr_assert(log_contains(" warning "), "%s", log_text());
	size_t n = flood(CLIENTS, served);
	cr_assert(n > 10 && n < FEW, "%zu", n);
	stats_await_open(n); /* a dump, a reload and a command need descriptors, too */
	cr_assert_eq(stats_value(CLOSED), (double)(CLIENTS - n));
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	expect_served(served, n);
	client_close(served[0]);
	stats_await_open(n - 1);
	cr_assert_eq(flood(5, served), 1);
	cr_assert_eq(log_count("Too many open files"), 0, "%s", log_text());
	daemon_finish();
}

/* The limit of the running daemon is lowered, so that its descriptors run out. */

enum { CROWD = 150 };

static void allow(rlim_t descriptors)
{
	struct rlimit r;
	MUST(prlimit(daemon_pid, RLIMIT_NOFILE, NULL, &r) == 0);
	r.rlim_cur = descriptors;
	MUST(prlimit(daemon_pid, RLIMIT_NOFILE, &r, NULL) == 0);
}

/* Connect too many clients. greeted() returns -1 for those in the backlog. */
static void exhaust(int waiting[static CROWD])
{
	daemon_start(BASE GREETING);
	allow(48);
	for (size_t i = 0; i < CROWD; i++)
		waiting[i] = client_connect("main");
	AWAIT(log_contains("cannot accept connections: Too many open files"));
}

/* Served clients leave and free a descriptor for the next, until all were served. */
static void serve_all(int waiting[static CROWD])
{
	size_t served = 0;
	for (int64_t until = deadline(); served < CROWD;) {
		await_turn(until, "a crowd to be served");
		for (size_t i = 0; i < CROWD; i++) {
			int result = waiting[i] < 0 ? -1 : greeted(waiting[i]);
			if (result < 0)
				continue;
			cr_assert_eq(result, 1, "a waiting client was closed");
			client_echo(waiting[i], "at last\n");
			client_close(waiting[i]);
			waiting[i] = -1;
			served++;
		}
	}
}

Test(limits, exhausted_descriptors_cost_little_cpu_and_few_log_lines)
{
	int waiting[CROWD];
	double began = seconds_now();
	exhaust(waiting);
	double cpu = measure_cpu(WINDOW_MS);
	cr_assert_lt(cpu, SPINNING_MS, "%.0f ms of CPU time in %d ms", cpu, WINDOW_MS);
	cr_assert_leq((double)log_count("cannot accept"), seconds_now() - began + 3);
	serve_all(waiting);
	daemon_finish();
}

Test(limits, accepting_resumes_when_descriptors_are_free)
{
	int waiting[CROWD];
	exhaust(waiting);
	allow(1000);
	for (size_t i = 0; i < CROWD; i++) {
		await_fd(waiting[i], POLLIN, deadline(), "a greeting");
		cr_assert_eq(greeted(waiting[i]), 1);
	}
	expect_served(waiting, CROWD);
	daemon_finish();
}

Test(limits, the_daemon_recovers_from_exhausted_descriptors)
{
	int waiting[CROWD];
	char before[sizeof(last_value)];
	exhaust(waiting);
	serve_all(waiting);
	stats_await_open(0);
	cr_assert_eq(stats_value("skeld_connections_accepted_total"), CROWD);
	await_idle();
	strcpy(before, proc_fds());
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	AWAIT(strcmp(before, proc_fds()) == 0);
	daemon_finish();
}

Test(limits, open_connections_are_served_while_descriptors_are_exhausted)
{
	int waiting[CROWD], served[CROWD];
	size_t n = 0;
	exhaust(waiting);
	for (size_t i = 0; i < CROWD; i++)
		if (greeted(waiting[i]) == 1)
			served[n++] = waiting[i];
	cr_assert(n > 10 && n < 48, "%zu", n);
	expect_served(served, n);
	daemon_signal(SIGHUP); /* the reload may be rejected: no descriptor is free for the file */
	notify_wait("RELOADING=1");
	notify_wait("READY=1");
	expect_status("state", "running");
	expect_served(served, n);
	daemon_finish();
}
