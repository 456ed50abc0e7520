/* Time that stands still, jumps, or is taken by others. */
#include "gang.h"
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

/* All of it takes seconds. */
FIXTURE_SUITE(storm_time, setenv("SKELD_TEST_SLOW", "3", 1));

enum { DAY = 86400 };

#define WATCHDOG "WATCHDOG=1"

static void with_watchdog(struct fixture *fixture)
{
	(void)fixture;
	setenv("WATCHDOG_USEC", "6000000", 1);
}

/* As long as it takes the daemon to tell the watchdog N times that all is well. */
static void live_on(unsigned n)
{
	take_notices(f);
	f->noticed = f->notices.size;
	while (n--)
		notify_wait(f, WATCHDOG);
}

/* For SECONDS, without sleeping: as many timeouts of a socket on which nothing comes. */
static void pass(double seconds)
{
	cpu_during(f, (unsigned)(seconds * 1000));
}

static void expect_no_warning(void)
{
	cr_assert_eq(log_count(f, " warning "), 0, "%s", log_text(f));
}

/* Stopped. */

Test(storm_time, the_daemon_stands_still_and_goes_on)
{
	f->prepare = with_watchdog;
	daemon_start(f, BASE "limits { idle_timeout = 4 }\ndrain_timeout = 4\n");
	int client = client_connect(f, "main"), other = client_connect(f, "main");
	client_echo(f, client, "before\n");
	live_on(2);
	daemon_signal(f, SIGSTOP);
	client_send(f, client, "meanwhile\n", 10);
	pass(5); /* longer than any timeout */
	daemon_signal(f, SIGHUP);
	daemon_signal(f, SIGCONT);
	notify_wait(f, "RELOADING=1");
	notify_wait(f, "READY=1");
	/* It was not the client who did nothing. */
	client_expect_text(f, client, "meanwhile\n");
	client_echo(f, other, "still there\n");
	live_on(4);
	expect_no_warning();
	expect_signals_accounted(f);
	daemon_finish(f);
}

Test(storm_time, a_peer_that_stands_still_is_nothing_but_idle)
{
	f->prepare = with_watchdog;
	daemon_start(f, BASE "limits { idle_timeout = 1 buffer = 65536 }\n");
	struct gang *g = gang_start(f, 1, gang_talk);
	await(f, gang_count(g, 0) > 10);
	MUST(kill(g->pid[0], SIGSTOP) == 0);
	stats_await(f, "skeld_connections_closed_total{reason=\"idle\"}", 1);
	MUST(kill(g->pid[0], SIGCONT) == 0);
	gang_stop(f, g);
	gang_free(g);
	stats_await_open(f, 0);
	expect_no_warning();
	daemon_finish(f);
}

/* The clock is set. */

static _Atomic int64_t *skew;
static char skew_path[64];

static void with_skew(struct fixture *fixture)
{
	with_watchdog(fixture);
	setenv("SKELD_SKEW", skew_path, 1);
	setenv("LD_PRELOAD", SKEW_LIBRARY, 1);
}

static void jump(int64_t seconds)
{
	char date[32];
	time_t then = time(NULL) + (time_t)seconds;
	atomic_store(skew, seconds);
	/* It did jump: the log says so. */
	strftime(date, sizeof(date), "%Y-%m-%d", localtime(&then));
	stats_dump(f);
	await(f, strstr(log_line_with(f, "stats process:"), date));
	live_on(4);
}

Test(storm_time, a_clock_that_is_set_moves_no_timer)
{
	if (!SANITIZED(""))
		cr_skip_test("a sanitizer's run-time library comes before what is preloaded");
	int fd = open(path_in(f, "skew", skew_path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	MUST(fd >= 0 && ftruncate(fd, sizeof(*skew)) == 0);
	skew = mmap(NULL, sizeof(*skew), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(skew != MAP_FAILED);
	close(fd);
	f->prepare = with_skew;
	daemon_start(f, BASE "limits { idle_timeout = 60 }\ndrain_timeout = 60\n");
	struct pump stuck = {.fd = client_connect(f, "main"), .total = 64 << 20};
	pump_stuff(f, &stuck);
	int client = client_connect(f, "main");
	jump(400 * DAY); /* nobody is idle, no worker late */
	client_echo(f, client, "a year later\n");
	jump(-400 * DAY); /* nothing waits until then */
	client_echo(f, client, "two years earlier\n");
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "ok");
	expect_no_warning();

	daemon_signal(f, SIGINT);
	notify_wait(f, "STOPPING=1");
	atomic_store(skew, 400 * DAY); /* the drain goes on until its own deadline */
	live_on(3);
	expect_status(f, "state", "draining");
	client_close(f, stuck.fd);
	cr_assert_eq(daemon_wait_exit(f), 0);
	expect_no_warning();
	long lived = -1;
	const char *last = log_line_with(f, "stopped after ");
	cr_assert(last &&
		  sscanf(strstr(last, "stopped after "), "stopped after %ld s", &lived) == 1);
	cr_assert(lived >= 0 && lived < DAY, "%s", last);
}

/* Others have the processor. */

static void spin(struct gang *g, unsigned i)
{
	while (!atomic_load(&g->stop))
		atomic_fetch_add(&g->count[i % GANG_COUNTS], 1);
}

Test(storm_time, busy_neighbours_delay_and_no_more)
{
	f->prepare = with_watchdog;
	daemon_start(f, BASE "limits { idle_timeout = 60 }\n");
	int client = client_connect(f, "main");
	struct gang *g = gang_start(f, 8, spin);
	double end = seconds_now() + (is_long() ? 20 : 3);
	unsigned reloads = 0;
	while (seconds_now() < end) {
		client_echo(f, client, "a word in between\n");
		daemon_reload_and_wait(f);
		reloads++;
	}
	live_on(2);
	gang_stop(f, g);
	gang_free(g);
	cr_assert_eq(status_number(f, "reloads_ok"), reloads);
	expect_signals_accounted(f);
	cr_assert_eq(log_count(f, "has not answered"), 0, "%s", log_text(f));
	daemon_finish(f);
}

/* With so many before it, a request waits longer for its turn than a connection may be idle. */
Test(storm_time, a_request_that_waits_for_its_turn_is_not_idle)
{
	enum { CLIENTS = 120 };
	int client[CLIENTS];
	fixture_use(f, SLOW_BINARY);
	daemon_start(f, BASE "slow { answer = 30 }\nlimits { idle_timeout = 2 }\n");
	for (size_t i = 0; i < CLIENTS; i++)
		client[i] = client_connect(f, "main");
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < CLIENTS; i++)
			client_send(f, client[i], "please\n", 7);
		for (size_t i = 0; i < CLIENTS; i++)
			client_expect_text(f, client[i], "please\n");
	}
	stats_await_open(f, 0); /* then they are idle, and go */
	cr_assert_eq(stats_value(f, "skeld_connections_closed_total{reason=\"idle\"}"), CLIENTS);
	daemon_finish(f);
}
