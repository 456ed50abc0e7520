/*
 * Months of operation in minutes: thousands of reloads. Every second configuration is invalid, each
 * valid one adds and removes listeners, and clients connect and leave all the time.
 */
/* test: COST 30 TIMEOUT 300 LABELS all */
/* test: NAME long ENV SKELD_LONG=1 TIMEOUT 3600 LABELS long */
#include "crowd.h"
#include "load.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

DAEMON_SUITE(storm_reloads);

enum {
	SHORT_RELOADS = 2000,
	LONG_RELOADS = 100000,
	WARM_UP_RELOADS = 1000,
	MAX_GROWTH_KIB = 512,
	LONG_SECONDS = 600
};

/* With an odd N the configuration is invalid, each time for another step of the reload. */
static void write_config(unsigned n)
{
	char path[64], cannot_listen[256];
	const char *const mistakes[] = {"nonsense\n",
					"limits {\n",
					"limits { connections = 0 }\n",
					"echo { banner = \"one\" }\necho { banner = \"two\" }\n",
					cannot_listen,
					"include(\"skeld.conf\")\n"};
	/* One socket is bound before the reload fails at the next one. */
	snprintf(cannot_listen, sizeof(cannot_listen),
		 "listen \"good\" { address = \"unix:%s/good\" }\n"
		 "listen \"bad\" { address = \"unix:%s/missing/bad\" }\n",
		 test_dir, test_dir);
	const char *mistake = n % 2 ? mistakes[n / 2 % (sizeof(mistakes) / sizeof(*mistakes))] : "";
	config_write("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN
		     "listen \"a\" { address = \"127.0.0.%u:0\" }\n"
		     "listen \"u%u\" { address = \"unix:%s/u%u\" backlog = %u }\n"
		     "log { level = \"error\" target = \"file\" file = \"%s\" }\n"
		     "limits { idle_timeout = %u }\n%s",
		     2 + n / 2 % 3, n / 2 % 5, test_dir, n / 2 % 5, 1 + n % 100,
		     path_in("skeld.log", path), 100000 + n % 100, mistake);
}

static void reload_once(unsigned n)
{
	write_config(n);
	daemon_reload_and_wait();
	if (noticed == notices.size) /* free the datagrams that were read */
		notices.size = noticed = 0;
}

/* There may be too many for proc_fds(). */
static size_t count_fds(void)
{
	char path[64];
	size_t n = 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)daemon_pid);
	DIR *d = opendir(path);
	MUST(d);
	for (const struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* Descriptors in the daemon's epoll(7) instances. A leaked timer shows only as memory. */
static size_t count_events(void)
{
	char path[64];
	size_t n = 0;
	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)daemon_pid);
	DIR *d = opendir(path);
	MUST(d);
	for (const struct dirent *e; (e = readdir(d));) {
		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.16s", (int)daemon_pid, e->d_name);
		const char *at = e->d_name[0] == '.' ? NULL : file_text(path);
		for (; at && (at = strstr(at, "tfd:")); at++)
			n++;
	}
	closedir(d);
	return n;
}

/* Resources that the daemon uses while it is idle; none of them may grow. */
struct usage {
	size_t fds, events;
	long threads, resident_kib;
};

/* The daemon closes removed listeners a second or two after the last reload. */
static void await_closed_listeners(const struct usage *before)
{
	double until = seconds_now() + 4;
	if (before)
		AWAIT(count_fds() <= before->fds);
	else
		AWAIT(seconds_now() >= until);
}

static struct usage read_usage(int client, const struct usage *before)
{
	client_echo(client, "still connected\n");
	stats_await_open(1);
	await_closed_listeners(before);
	await_idle();
	return (struct usage){.fds = count_fds(),
			      .events = count_events(),
			      .threads = proc_number("Threads"),
			      .resident_kib = proc_number("VmRSS")};
}

/* Reload N times, numbered from FIRST, while clients connect and leave. Stop at the time UNTIL. */
static void reload_times(const char *address, unsigned first, unsigned n, double until)
{
	struct crowd *c = crowd_churn(address, 1);
	for (unsigned i = 0; i < n && (until <= 0 || seconds_now() < until); i++) {
		reload_once(first + i);
		/* Fast reloads can starve the clients: wait until one of them has connected. */
		for (size_t before = c->connected; i % 100 == 0 && c->connected == before;)
			await_turn(deadline(), "another client to connect");
	}
	crowd_join(c);
	cr_assert_eq(c->served[0] + c->left, c->connected);
	crowd_free(c);
}

static void expect_no_growth(const struct usage *before, const struct usage *after)
{
	long growth = after->resident_kib - before->resident_kib;
	cr_assert_eq(after->fds, before->fds, "%s", proc_fds());
	cr_assert(after->events == before->events && after->events > 3, "%zu events, then %zu",
		  before->events, after->events);
	cr_assert_eq(after->threads, before->threads);
	if (SANITIZED("")) /* sanitizers delay the reuse of freed memory */
		cr_assert_leq(growth, MAX_GROWTH_KIB, "memory grew by %ld KiB", growth);
}

static unsigned count_reloads(void)
{
	unsigned ok = (unsigned)status_number("reloads_ok");
	return ok + (unsigned)status_number("reloads_rejected");
}

Test(storm_reloads, thousands_of_reloads_leak_no_memory_descriptor_event_or_thread)
{
	const char *text = getenv("SKELD_STORM_RELOADS");
	unsigned n_reloads = text	      ? (unsigned)atoi(text)
			     : is_long_form() ? LONG_RELOADS
					      : SHORT_RELOADS;
	/* A sanitizer makes reloads slow, so the long form is limited in time. */
	bool limited = !SANITIZED("") && is_long_form();
	double until = limited ? seconds_now() + LONG_SECONDS : 0;
	char address[128], path[64];
	if (!SANITIZED(""))
		n_reloads = is_long_form() ? n_reloads : n_reloads / 4;
	unsigned warm_up = n_reloads / 2 < WARM_UP_RELOADS ? n_reloads / 2 : WARM_UP_RELOADS;
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	snprintf(address, sizeof(address), "%s", listener_address("main"));
	int client = client_try(address);
	MUST(client >= 0);
	reload_times(address, 0, warm_up, 0);
	struct usage before = read_usage(client, NULL);
	reload_times(address, warm_up, n_reloads - warm_up, until);
	struct usage after = read_usage(client, &before);

	unsigned n = count_reloads();
	if (!limited)
		cr_assert_eq(n, n_reloads);
	cr_assert_eq(status_number("reloads_rejected"), n / 2);
	cr_assert_eq(status_number("generation"), n - n / 2 + 1);
	fprintf(stderr, "# %u reloads, %.0f connections: %zu -> %zu descriptors, %ld -> %ld KiB\n",
		n, stats_value("skeld_connections_accepted_total"), before.fds, after.fds,
		before.resident_kib, after.resident_kib);
	expect_no_growth(&before, &after);
	const char *errors = file_text(path_in("skeld.log", path));
	cr_assert(errors && !strstr(errors, "log lines lost"));
	daemon_finish();
}
