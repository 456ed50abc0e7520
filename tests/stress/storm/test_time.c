/* A stopped process, a wall clock that jumps, and processes that compete for the processor. */
/* test: TIMEOUT 300 LABELS all */
/* test: NAME long ENV SKELD_LONG=1 TIMEOUT 3600 LABELS long */
#include "load.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Each test takes seconds. */
DAEMON_SUITE(storm_time);

enum { DAY_SECONDS = 86400 };

#define WATCHDOG "WATCHDOG=1"

static void set_watchdog(void)
{
	setenv("WATCHDOG_USEC", "6000000", 1);
}

/* Wait until the daemon has notified the watchdog N more times. */
static void wait_watchdog(unsigned n)
{
	read_notices();
	noticed = notices.size;
	while (n--)
		notify_wait(WATCHDOG);
}

/* Tests must not sleep; measure_cpu() waits for a timerfd. */
static void wait_seconds(double seconds)
{
	measure_cpu((unsigned)(seconds * 1000));
}

static void expect_no_warning(void)
{
	cr_assert_eq(log_count(" warning "), 0, "%s", log_text());
}

/* SIGSTOP. */

Test(storm_time, daemon_continues_after_sigstop_and_closes_no_client_as_idle)
{
	daemon_prepare = set_watchdog;
	daemon_start(BASE "limits { idle_timeout = 4 }\ndrain_timeout = 4\n");
	int client = client_connect("main"), other = client_connect("main");
	client_echo(client, "before\n");
	wait_watchdog(2);
	daemon_signal(SIGSTOP);
	client_send_bytes(client, "while stopped\n", 14);
	wait_seconds(5); /* longer than each timeout above */
	daemon_signal(SIGHUP);
	daemon_signal(SIGCONT);
	notify_wait("RELOADING=1");
	notify_wait("READY=1");
	client_expect(client, "while stopped\n");
	client_echo(other, "still connected\n");
	wait_watchdog(4);
	expect_no_warning();
	expect_signals_accounted();
	daemon_finish();
}

Test(storm_time, stopped_client_is_closed_as_idle_without_a_warning)
{
	daemon_prepare = set_watchdog;
	daemon_start(BASE "limits { idle_timeout = 1 buffer = 65536 }\n");
	struct load *load = load_start(1, load_echo);
	AWAIT(load_count(load, 0) > 10);
	MUST(kill(load->pid[0], SIGSTOP) == 0);
	stats_await("skeld_connections_closed_total{reason=\"idle\"}", 1);
	MUST(kill(load->pid[0], SIGCONT) == 0);
	load_stop(load);
	load_free(load);
	stats_await_open(0);
	expect_no_warning();
	daemon_finish();
}

/* The wall clock is set. */

static _Atomic int64_t *clock_offset;
static char clock_offset_path[64];

static void preload_clock_offset(void)
{
	set_watchdog();
	setenv("SKELD_CLOCK_OFFSET", clock_offset_path, 1);
	setenv("LD_PRELOAD", CLOCK_OFFSET_LIBRARY, 1);
}

static void set_clock(int64_t seconds)
{
	char date[32];
	time_t then = time(NULL) + (time_t)seconds;
	atomic_store(clock_offset, seconds);
	/* The date in the log proves that the daemon sees the new time. */
	strftime(date, sizeof(date), "%Y-%m-%d", localtime(&then));
	stats_dump();
	AWAIT(strstr(log_line_with("stats process:"), date));
	wait_watchdog(4);
}

Test(storm_time, setting_the_wall_clock_moves_no_timer)
{
	if (!SANITIZED(""))
		cr_skip_test("the sanitizer's run-time library must be the first in LD_PRELOAD");
	int fd = open(path_in("clock_offset", clock_offset_path), O_RDWR | O_CREAT | O_CLOEXEC,
		      0600);
	MUST(fd >= 0 && ftruncate(fd, sizeof(*clock_offset)) == 0);
	clock_offset = mmap(NULL, sizeof(*clock_offset), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(clock_offset != MAP_FAILED);
	close(fd);
	daemon_prepare = preload_clock_offset;
	daemon_start(BASE "limits { idle_timeout = 60 }\ndrain_timeout = 60\n");
	struct pump blocked = {.fd = client_connect("main"), .total = 64 << 20};
	pump_fill(&blocked);
	int client = client_connect("main");
	set_clock(400 * DAY_SECONDS); /* no client becomes idle, no worker is reported */
	client_echo(client, "a year later\n");
	set_clock(-400 * DAY_SECONDS); /* no timer waits for the old time */
	client_echo(client, "two years earlier\n");
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	expect_no_warning();

	daemon_signal(SIGINT);
	notify_wait("STOPPING=1");
	atomic_store(clock_offset, 400 * DAY_SECONDS); /* drain_timeout is not reached */
	wait_watchdog(3);
	expect_status("state", "draining");
	client_close(blocked.fd);
	cr_assert_eq(daemon_wait_exit(), 0);
	expect_no_warning();
	long uptime = -1;
	const char *last = log_line_with("stopped: seconds=");
	cr_assert(last && sscanf(strstr(last, "stopped: "), "stopped: seconds=%ld", &uptime) == 1);
	cr_assert(uptime >= 0 && uptime < DAY_SECONDS, "%s", last);
}

/* Other processes use the processors. */

static void spin(struct load *load, unsigned i)
{
	while (!atomic_load(&load->stop))
		atomic_fetch_add(&load->count[i % LOAD_COUNTERS], 1);
}

Test(storm_time, busy_processors_fail_no_reload_and_report_no_worker)
{
	daemon_prepare = set_watchdog;
	daemon_start(BASE "limits { idle_timeout = 60 }\n");
	int client = client_connect("main");
	struct load *load = load_start(8, spin);
	double end = seconds_now() + (is_long_form() ? 20 : 3);
	unsigned reloads = 0;
	while (seconds_now() < end) {
		client_echo(client, "still served\n");
		daemon_reload_and_wait();
		reloads++;
	}
	wait_watchdog(2);
	load_stop(load);
	load_free(load);
	cr_assert_eq(status_number("reloads_ok"), reloads);
	expect_signals_accounted();
	cr_assert_eq(log_count("worker not responding:"), 0, "%s", log_text());
	daemon_finish();
}

/* CLIENTS requests of 30 ms each: one round takes longer than idle_timeout, but each connection has
 * a request that waits. */
Test(storm_time, connection_whose_request_waits_for_the_worker_is_not_idle)
{
	enum { CLIENTS = 120 };
	int client[CLIENTS];
	daemon_use(SLOW_BINARY);
	daemon_start(BASE "slow { answer = 30 }\nlimits { idle_timeout = 2 }\n");
	for (size_t i = 0; i < CLIENTS; i++)
		client[i] = client_connect("main");
	for (size_t i = 0; i < CLIENTS; i++)
		client_send_bytes(client[i], "hello\n", 6);
	for (int round = 1; round <= 2; round++)
		for (size_t i = 0; i < CLIENTS; i++) {
			client_expect(client[i], "hello\n");
			if (round < 2)
				client_send_bytes(client[i], "hello\n", 6);
		}
	stats_await_open(0); /* now all of them are idle */
	cr_assert_eq(stats_value("skeld_connections_closed_total{reason=\"idle\"}"), CLIENTS);
	daemon_finish();
}
