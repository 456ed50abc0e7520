/*
 * Months in minutes: reloads by the thousand, half of them bad, listeners that come and go with
 * each, and connections with them.
 */
#include "crowd.h"
#include "gang.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

FIXTURE_SUITE(storm_ages);

enum { SHORT = 2000, LONG = 100000, WARM = 1000, GROWN_KIB = 512, LONG_SECONDS = 600 };

/* Bad in the ways that stop a reload at its different stages; every other one is good. */
static void write_config(unsigned n)
{
	char path[64], bad[256];
	const char *const wrongs[] = {"nonsense\n",
				      "limits {\n",
				      "limits { connections = 0 }\n",
				      "echo { banner = \"one\" }\necho { banner = \"two\" }\n",
				      bad,
				      "include(\"skeld.conf\")\n"};
	/* This one binds a socket before another cannot be bound. */
	snprintf(bad, sizeof(bad),
		 "listen \"good\" { address = \"unix:%s/good\" }\n"
		 "listen \"bad\" { address = \"unix:%s/missing/bad\" }\n",
		 f->dir, f->dir);
	const char *wrong = n % 2 ? wrongs[n / 2 % (sizeof(wrongs) / sizeof(*wrongs))] : "";
	config_write(f,
		     "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN
		     "listen \"a\" { address = \"127.0.0.%u:0\" }\n"
		     "listen \"u%u\" { address = \"unix:%s/u%u\" backlog = %u }\n"
		     "log { level = \"error\" target = \"file\" file = \"%s\" }\n"
		     "limits { idle_timeout = %u }\n%s",
		     2 + n / 2 % 3, n / 2 % 5, f->dir, n / 2 % 5, 1 + n % 100,
		     path_in(f, "skeld.log", path), 100000 + n % 100, wrong);
}

static void reload(unsigned n)
{
	write_config(n);
	daemon_reload_and_wait(f);
	if (f->noticed == f->notices.size) /* of so many, none is kept */
		f->notices.size = f->noticed = 0;
}

static size_t lines(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* The descriptors that the loops wait for, as epoll(7) has them. (Timers show as memory alone.) */
static size_t events(void)
{
	char path[64];
	size_t n = 0;
	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)f->pid);
	DIR *d = opendir(path);
	MUST(d);
	for (const struct dirent *e; (e = readdir(d));) {
		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.16s", (int)f->pid, e->d_name);
		const char *at = e->d_name[0] == '.' ? NULL : file_text(f, path);
		for (; at && (at = strstr(at, "tfd:")); at++)
			n++;
	}
	closedir(d);
	return n;
}

/* What must not grow, while nothing is going on. */
struct age {
	size_t fds, events;
	long threads, resident;
};

static struct age look(int client)
{
	client_echo(f, client, "connected all the while\n");
	stats_await_open(f, 1);
	await_rest(f);
	return (struct age){.fds = lines(proc_fds(f)),
			    .events = events(),
			    .threads = proc_number(f, "Threads"),
			    .resident = proc_number(f, "VmRSS")};
}

/* Reload N times, FIRST being the number of the first, while others come and go. */
static void live(const char *address, unsigned first, unsigned n, double until)
{
	struct crowd *c = crowd_churn(f, address, 1);
	for (unsigned i = 0; i < n && (until <= 0 || seconds_now() < until); i++) {
		reload(first + i);
		/* In a hurry, nobody else had a turn. */
		for (size_t before = c->connected; i % 100 == 0 && c->connected == before;)
			await_turn(f, deadline(), "others to come and go");
	}
	crowd_join(f, c);
	cr_assert_eq(c->served[0] + c->left, c->connected);
	crowd_free(c);
}

static unsigned reloads_done(void)
{
	unsigned ok = (unsigned)status_number(f, "reloads_ok");
	return ok + (unsigned)status_number(f, "reloads_rejected");
}

Test(storm_ages, leave_no_trace)
{
	const char *text = getenv("SKELD_STORM_RELOADS");
	unsigned most = text ? (unsigned)atoi(text) : is_long() ? LONG : SHORT;
	/* A sanitizer makes it slow, and the time is what is given then. */
	double until = SANITIZED("") || !is_long() ? 0 : seconds_now() + LONG_SECONDS;
	char address[128], path[64];
	if (!SANITIZED(""))
		most = is_long() ? most : most / 4;
	unsigned warm = most / 2 < WARM ? most / 2 : WARM;
	daemon_start(f, "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	snprintf(address, sizeof(address), "%s", listener_address(f, "main"));
	int client = client_try(f, address);
	MUST(client >= 0);
	live(address, 0, warm, 0);
	struct age young = look(client);
	live(address, warm, most - warm, until);
	struct age old = look(client);

	unsigned n = reloads_done();
	if (until <= 0)
		cr_assert_eq(n, most);
	cr_assert_eq(status_number(f, "reloads_rejected"), n / 2);
	cr_assert_eq(status_number(f, "generation"), n - n / 2 + 1);
	fprintf(stderr, "# %u reloads, %.0f connections: %zu -> %zu descriptors, %ld -> %ld KiB\n",
		n, stats_value(f, "skeld_connections_accepted_total"), young.fds, old.fds,
		young.resident, old.resident);
	cr_assert_eq(old.fds, young.fds, "%s", proc_fds(f));
	cr_assert(old.events == young.events && old.events > 3, "%zu events, then %zu",
		  young.events, old.events);
	cr_assert_eq(old.threads, young.threads);
	if (SANITIZED("")) /* those keep what was freed */
		cr_assert_leq(old.resident - young.resident, GROWN_KIB, "memory grew by %ld KiB",
			      old.resident - young.resident);
	const char *errors = file_text(f, path_in(f, "skeld.log", path));
	cr_assert(errors && !strstr(errors, "log lines before this one were lost"));
	daemon_finish(f);
}
