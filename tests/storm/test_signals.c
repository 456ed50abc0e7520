/* Signals from several processes at full speed, over workers that never rest and slow reloads. */
#include "gang.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

FIXTURE_SUITE(storm_signals, fixture_use(f, SLOW_BINARY));

/* Eight would starve a daemon under the thread sanitizer; from two, it takes more signals. */
#define SENDERS (SANITIZED("thread") ? 2 : 8)

enum { TALKERS = 2, RELOAD_MS = 20, GROWN_KIB = 1024 };

static const int kinds[] = {SIGHUP, SIGUSR1, SIGUSR2};
static const char *const names[] = {"SIGHUP", "SIGUSR1", "SIGUSR2"};
enum { KINDS = sizeof(kinds) / sizeof(*kinds) };

/* Counted before it is sent: what the daemon has received was counted. */
static void send_signals(struct gang *g, unsigned i)
{
	for (unsigned k = i; !atomic_load(&g->stop); k++) {
		atomic_fetch_add(&g->count[k % KINDS], 1);
		if (kill(g->daemon, kinds[k % KINDS]) < 0)
			break;
	}
}

/* Nearly as large as a configuration may be, and in as many files as it may take. */
static void write_slow_config(void)
{
	enum { FILES = 60, LINES = 250 };
	char path[64], name[32], *text = NULL, *includes = NULL;
	size_t size = 0, includes_size = 0;
	FILE *all = open_memstream(&includes, &includes_size);
	MUST(all);
	for (int i = 0; i < FILES; i++) {
		FILE *out = open_memstream(&text, &size);
		MUST(out);
		for (int k = 0; k < LINES; k++)
			fprintf(out, "# what a configuration of this size is made of: remarks\n");
		fprintf(out, "listen \"l%d\" { address = \"unix:%s/l%d\" }\n", i, f->dir, i);
		MUST(fclose(out) == 0);
		snprintf(name, sizeof(name), "part%d", i);
		file_write(f, path_in(f, name, path), text, size);
		free(text);
		fprintf(all, "include(\"%s\")\n", name);
	}
	MUST(fclose(all) == 0);
	config_write(f,
		     "workers = 2\nadmin { address = \"\" }\ndrain_timeout = 2\n" LISTEN_MAIN
		     "slow { reload = %d }\n%s",
		     RELOAD_MS, includes);
	free(includes);
}

static void talk_until(int client, double end)
{
	while (seconds_now() < end) {
		client_echo(f, client, "served all the while\n");
		take_notices(f);
	}
}

static double value(const char *what, const char *signal)
{
	char metric[96];
	snprintf(metric, sizeof(metric), "skeld_signals_%s_total{signal=\"%s\"}", what, signal);
	return stats_value(f, metric);
}

static bool all_accounted(void)
{
	bool all = true;
	stats_dump(f);
	for (size_t i = 0; i < KINDS; i++) {
		double left = value("received", names[i]) - value("handled", names[i]) -
			      value("coalesced", names[i]);
		all = all && left < 1 && left > -1;
	}
	return all;
}

static void expect_accounted(const struct gang *senders)
{
	for (size_t i = 0; i < KINDS; i++) {
		long received = stats_told(f, "received", names[i]);
		long sent = (long)gang_count(senders, (unsigned)i);
		cr_assert(received > 0 && received <= sent, "%s: received %ld of %ld", names[i],
			  received, sent);
		fprintf(stderr, "# %s: sent %ld, received %ld, handled %ld\n", names[i], sent,
			received, stats_told(f, "handled", names[i]));
	}
	expect_signals_told(f);
}

Test(storm_signals, are_all_accounted_for_and_stop_it_in_time)
{
	char before[sizeof(f->value)];
	double seconds = is_long() ? 10 : 2;
	write_slow_config();
	daemon_spawn(f);
	notify_wait(f, "READY=1");
	daemon_reload_and_wait(f);
	stats_dump(f);
	int client = client_connect(f, "main");
	struct pump stuck = {.fd = client_connect(f, "main"), .total = 64 << 20};
	pump_stuff(f, &stuck); /* never reads: a drain waits for it as long as it may */
	struct gang *talkers = gang_start(f, TALKERS, gang_talk);
	await(f, gang_count(talkers, 0) > 100);
	for (int64_t until = deadline(); stats_value(f, "skeld_connections_open") < 2 + TALKERS;
	     stats_dump(f))
		await_turn(f, until, "all talkers to be connected");
	await(f, !strstr(proc_fds(f), "stats.prom")); /* renamed, and not closed yet */
	strcpy(before, proc_fds(f));

	struct gang *senders = gang_start(f, SENDERS, send_signals);
	talk_until(client, seconds_now() + seconds / 4);
	long resident = proc_number(f, "VmRSS");
	uint64_t talked = gang_count(talkers, 0);
	talk_until(client, seconds_now() + seconds * 3 / 4);
	cr_assert_gt(gang_count(talkers, 0), talked, "nobody else was served meanwhile");
	gang_stop(f, senders);
	for (int64_t until = deadline(); !all_accounted();) /* a dump may have others behind it */
		await_turn(f, until, "received = handled + coalesced");
	await(f, strcmp(status_get(f, "state"), "running") == 0);
	long grown = proc_number(f, "VmRSS") - resident;
	if (SANITIZED("")) /* those keep what was freed */
		cr_assert_leq(grown, GROWN_KIB, "memory grew by %ld KiB", grown);
	for (int64_t until = deadline(); strcmp(before, proc_fds(f)) != 0;) {
		if (is_past(until)) {
			const char *now = proc_fds(f);
			size_t same = 0;
			while (before[same] && before[same] == now[same])
				same++;
			give_up(f, "descriptors before:\n%.300s\nnow:\n%.300s", before + same,
				now + same);
		}
		await_turn(f, until, "the descriptors to be the same");
	}
	expect_accounted(senders);
	long handled = stats_told(f, "handled", "SIGHUP"), ok = status_number(f, "reloads_ok");
	cr_assert(ok > 2 && ok <= handled, "%ld reloads for %ld SIGHUP handled", ok, handled);
	cr_assert_eq(status_number(f, "generation"), ok + 1);
	gang_free(senders);

	/* Once more, for the stop and its deadline. */
	config_write(f, "nonsense\n");
	senders = gang_start(f, SENDERS, send_signals);
	talk_until(client, seconds_now() + seconds / 4);
	double began = seconds_now();
	daemon_signal(f, SIGINT);
	const char *told = notify_wait(f, "STOPPING=1");
	const char *budget = strstr(told, "EXTEND_TIMEOUT_USEC=");
	double allowed = budget ? strtod(strchr(budget, '=') + 1, NULL) / 1e6 : 0;
	cr_assert_eq(daemon_wait_exit(f), 0);
	double took = seconds_now() - began;
	cr_assert_leq(took, allowed, "it took %.1f s, and had asked for %.1f s", took, allowed);
	gang_stop(f, senders);
	gang_stop(f, talkers);
	expect_signals_told(f);
	cr_assert_eq(stats_told(f, "handled", "SIGINT"), 1);
	cr_assert(log_contains(f, "drain_timeout is over"));
	gang_free(senders);
	gang_free(talkers);
}
