/* The service API without connections: services/ticks.c. */
/* test: TIMEOUT 180 */
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

DAEMON_SUITE(ticks, daemon_use(TICKS_BINARY));

#define TICKS(workers, options)                                                                    \
	"workers = " #workers "\nadmin { address = \"\" }\nticks { " options " }\n"

static void await_at_least(const char *metric, double n)
{
	for (int64_t until = deadline(); stats_fresh(metric) < n;)
		await_turn(until, metric);
}

/* The counters in the statistics that the daemon logs at its end. */
static long logged_at_the_end(const char *word)
{
	char part[32];
	snprintf(part, sizeof(part), " %s=", word);
	const char *line = log_line_with("stats ticks:");
	const char *at = line ? strstr(line, part) : NULL;
	if (!at)
		fail_test("no %s in the stats of ticks", word);
	return strtol(at + strlen(part), NULL, 10);
}

Test(ticks, each_worker_runs_its_timer)
{
	daemon_start(TICKS(2, "interval = 5"));
	await_at_least("ticks_total", 10);
	daemon_finish();
	cr_assert_geq(logged_at_the_end("ticked"), 10);
}

Test(ticks, a_reload_changes_the_interval)
{
	daemon_start(TICKS(1, "interval = 3600000"));
	cr_assert_eq(stats_fresh("ticks_total"), 0);
	config_write(TICKS(1, "interval = 5"));
	daemon_reload_and_wait();
	await_at_least("ticks_total", 5);
	config_write(TICKS(1, "interval = 3600000"));
	daemon_reload_and_wait();
	double before = stats_fresh("ticks_total");
	cr_assert_eq(stats_fresh("ticks_total"), before);
	daemon_finish();
}

Test(ticks, a_drain_waits_for_a_held_worker)
{
	daemon_start("drain_timeout = 3600\n" TICKS(2, "interval = 1 work = 300"));
	await_at_least("ticks_work_begun_total", 2);
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	long begun = logged_at_the_end("begun");
	cr_assert_geq(begun, 2);
	cr_assert_eq(log_count(" ticks 0: no further tick"), 1, "%s", log_text());
	cr_assert_eq(log_count(" ticks 1: no further tick"), 1, "%s", log_text());
	cr_assert_eq(logged_at_the_end("done"), begun);
	cr_assert(log_contains("drained: cut_off=0"), "%s", log_text());
}

Test(ticks, a_drain_waits_for_a_held_worker_until_the_deadline)
{
	daemon_start("drain_timeout = 1\n" TICKS(2, "interval = 1 work = 3600000"));
	await_at_least("ticks_work_begun_total", 2);
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	cr_assert_eq(logged_at_the_end("begun"), 2);
	cr_assert_eq(logged_at_the_end("done"), 0);
}

Test(ticks, a_service_without_connections_has_no_listener)
{
	daemon_start(TICKS(1, ""));
	cr_assert_not(log_contains("listening: "), "%s", log_text());
	daemon_reload_and_wait();
	cr_assert_not(log_contains("listening: "), "%s", log_text());
	daemon_finish();
	cr_assert_eq(skeld_run("-c", config_path, "-T", NULL), 0);
	cr_assert_not(strstr(command_out.bytes, "\nlisten "), "%s", command_out.bytes);
}

Test(ticks, a_listen_section_for_a_service_without_connections_is_rejected)
{
	daemon_start(TICKS(1, ""));
	config_write("%s", TICKS(1, "") "listen \"more\" { address = \"127.0.0.1:0\" }\n");
	daemon_reload_and_wait();
	expect_rejected(1, "skeld.conf:4: listen \"more\"");
	cr_assert_eq(skeld_run("-c", config_path, "-t", NULL), 78);
	daemon_finish();
}

Test(ticks, the_self_test_passes_without_connections)
{
	config_write("%s", TICKS(2, "interval = 1 work = 5"));
	cr_assert_eq(skeld_run("-c", config_path, "--self-test=order", NULL), 0, "%.2000s",
		     command_out.bytes);
}
