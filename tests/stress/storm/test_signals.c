/* Several processes send signals at full speed while the workers are busy and reloads are slow. */
/* test: ALONE TIMEOUT 300 LABELS all */
/* test: NAME long ENV SKELD_LONG=1 ALONE TIMEOUT 3600 LABELS long */
#include "load.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

DAEMON_SUITE(storm_signals, daemon_use(SLOW_BINARY));

/* Under the thread sanitizer eight senders starve the daemon; with two it handles more signals. */
#define SENDERS (SANITIZED("thread") ? 2 : 8)

enum { ECHO_CLIENTS = 2, RELOAD_MS = 20, MAX_GROWTH_KIB = 1024 };

static const int kinds[] = {SIGHUP, SIGUSR1, SIGUSR2};
static const char *const names[] = {"SIGHUP", "SIGUSR1", "SIGUSR2"};
enum { KINDS = sizeof(kinds) / sizeof(*kinds) };

/* Counts each signal before it is sent, so that the count is never below what was received. */
static void send_signals(struct load *load, unsigned i)
{
	for (unsigned k = i; !atomic_load(&load->stop); k++) {
		atomic_fetch_add(&load->count[k % KINDS], 1);
		if (kill(load->daemon, kinds[k % KINDS]) < 0)
			break;
	}
}

/* Close to the limits of size and number of files, so that reading it is slow. */
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
			fprintf(out, "# comments make up most of a configuration of this size\n");
		fprintf(out, "listen \"l%d\" { address = \"unix:%s/l%d\" }\n", i, test_dir, i);
		MUST(fclose(out) == 0);
		snprintf(name, sizeof(name), "part%d", i);
		file_write_bytes(path_in(name, path), text, size);
		free(text);
		fprintf(all, "include(\"%s\")\n", name);
	}
	MUST(fclose(all) == 0);
	config_write("workers = 2\nadmin { address = \"\" }\ndrain_timeout = 2\n" LISTEN_MAIN
		     "slow { reload = %d }\n%s",
		     RELOAD_MS, includes);
	free(includes);
}

static void echo_until(int client, double end)
{
	while (seconds_now() < end) {
		client_echo(client, "still served\n");
		read_notices();
	}
}

static double signal_metric(const char *what, const char *signal)
{
	char metric[96];
	snprintf(metric, sizeof(metric), "skeld_signals_%s_total{signal=\"%s\"}", what, signal);
	return stats_value(metric);
}

static bool all_accounted(void)
{
	bool all = true;
	stats_dump();
	for (size_t i = 0; i < KINDS; i++) {
		double missing = signal_metric("received", names[i]) -
				 signal_metric("handled", names[i]) -
				 signal_metric("coalesced", names[i]);
		all = all && missing < 1 && missing > -1;
	}
	return all;
}

static void expect_accounted(const struct load *senders)
{
	for (size_t i = 0; i < KINDS; i++) {
		long received = stats_logged("received", names[i]);
		long sent = (long)load_count(senders, (unsigned)i);
		cr_assert(received > 0 && received <= sent, "%s: received %ld of %ld", names[i],
			  received, sent);
		fprintf(stderr, "# %s: sent %ld, received %ld, handled %ld\n", names[i], sent,
			received, stats_logged("handled", names[i]));
	}
	expect_signals_logged();
}

/* Wait until the daemon has the descriptors BEFORE again. */
static void expect_descriptors(const char *before)
{
	for (int64_t until = deadline(); strcmp(before, proc_fds()) != 0;) {
		if (is_past(until)) {
			const char *now = proc_fds();
			size_t same = 0;
			while (before[same] && before[same] == now[same])
				same++;
			fail_test("descriptors before:\n%.300s\nnow:\n%.300s", before + same,
				  now + same);
		}
		await_turn(until, "the descriptors to be the same");
	}
}

static void start_slow_daemon(void)
{
	write_slow_config();
	daemon_spawn();
	notify_wait("READY=1");
	daemon_reload_and_wait();
	stats_dump();
}

/* Clients that keep the workers busy; all of them are connected. */
static struct load *start_clients(size_t already_open)
{
	struct load *clients = load_start(ECHO_CLIENTS, load_echo);
	AWAIT(load_count(clients, 0) > 100);
	for (int64_t until = deadline();
	     stats_value("skeld_connections_open") < (double)already_open + ECHO_CLIENTS;
	     stats_dump())
		await_turn(until, "all clients to be connected");
	return clients;
}

static void flood(int client, const struct load *clients, double seconds)
{
	struct load *senders = load_start(SENDERS, send_signals);
	echo_until(client, seconds_now() + seconds / 4);
	long resident_kib = proc_number("VmRSS");
	uint64_t echoes = load_count(clients, 0);
	echo_until(client, seconds_now() + seconds * 3 / 4);
	cr_assert_gt(load_count(clients, 0), echoes, "the other clients were not served");
	AWAIT(status_number("reloads_ok") > 2); /* on a busy machine later */
	load_stop(senders);
	/* A signal can arrive while a dump is written, so one dump may not balance. */
	for (int64_t until = deadline(); !all_accounted();)
		await_turn(until, "received = handled + coalesced");
	AWAIT(strcmp(status_get("state"), "running") == 0);
	long growth = proc_number("VmRSS") - resident_kib;
	if (SANITIZED("")) /* sanitizers delay the reuse of freed memory */
		cr_assert_leq(growth, MAX_GROWTH_KIB, "memory grew by %ld KiB", growth);
	expect_accounted(senders);
	load_free(senders);
}

static void flood_and_stop(int client, struct load *clients, double seconds)
{
	config_write("nonsense\n");
	struct load *senders = load_start(SENDERS, send_signals);
	echo_until(client, seconds_now() + seconds / 4);
	double began = seconds_now();
	daemon_signal(SIGINT);
	const char *notice = notify_wait("STOPPING=1");
	const char *budget = strstr(notice, "EXTEND_TIMEOUT_USEC=");
	double allowed = budget ? strtod(strchr(budget, '=') + 1, NULL) / 1e6 : 0;
	cr_assert_eq(daemon_wait_exit(), 0);
	double took = seconds_now() - began;
	cr_assert_leq(took, allowed, "the stop took %.1f s, EXTEND_TIMEOUT_USEC allowed %.1f s",
		      took, allowed);
	load_stop(senders);
	load_stop(clients);
	load_free(senders);
}

Test(storm_signals, flood_is_accounted_starves_no_client_and_delays_no_stop)
{
	char before[sizeof(last_value)];
	double seconds = is_long_form() ? 10 : 2;
	start_slow_daemon();
	int client = client_connect("main");
	struct pump blocked = {.fd = client_connect("main"), .total = 64 << 20};
	pump_fill(&blocked); /* it never reads, so the drain lasts until drain_timeout */
	struct load *clients = start_clients(2);
	AWAIT(!strstr(proc_fds(), "stats.prom")); /* the dump is renamed before it is closed */
	strcpy(before, proc_fds());

	flood(client, clients, seconds);
	expect_descriptors(before);
	long handled = stats_logged("handled", "SIGHUP"), ok = status_number("reloads_ok");
	cr_assert(ok > 2 && ok <= handled, "%ld reloads for %ld SIGHUP handled", ok, handled);
	cr_assert_eq(status_number("generation"), ok + 1);

	flood_and_stop(client, clients, seconds);
	expect_signals_logged();
	cr_assert_eq(stats_logged("handled", "SIGINT"), 1);
	cr_assert(log_contains("drain_timeout reached"));
	load_free(clients);
}
