/*
 * The example service services/kv.c with clients that memcached's users have: memccapable tests the
 * protocol, memcslap makes load. A test is skipped if its client is not installed; see the file
 * packages in this folder.
 */
/* test: TIMEOUT 180 LABELS all */
#include "client.h"
#include "observe.h"
#include "traffic.h"

#include <string.h>

DAEMON_SUITE(kv_clients, daemon_use(KV_BINARY));

#define TWO_WORKERS "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN

static void need(const char *program)
{
	if (shell_run("command -v %s", program) != 0)
		cr_skip_test("%s is not installed", program);
}

static void run_memcslap(const char *test, int threads, int executions)
{
	cr_assert_eq(
		shell_run("memcslap --servers=%s --test=%s --concurrency=%d --execute-number=%d",
			  listener_address("main"), test, threads, executions),
		0, "%s%s", command_out.bytes, command_err.bytes);
	cr_assert(strstr(command_out.bytes, "Time total:"), "%s%s", command_out.bytes,
		  command_err.bytes);
}

Test(kv_clients, memccapable_finds_the_text_protocol_complete)
{
	need("memccapable");
	daemon_start(TWO_WORKERS);
	const char *port = strrchr(listener_address("main"), ':') + 1;
	int code = shell_run("memccapable -a -v -t 60 -h 127.0.0.1 -p %s", port);
	cr_assert_eq(code, 0, "%s%s", command_out.bytes, command_err.bytes);
	cr_assert(strstr(command_out.bytes, "ascii prepend noreply"), "%s", command_out.bytes);
	cr_assert(strstr(command_out.bytes, "All tests passed"), "%s", command_out.bytes);
	daemon_finish();
}

Test(kv_clients, memcslap_sets_and_gets_values_with_many_threads)
{
	enum { THREADS = 10, EXECUTIONS = 500 };
	need("memcslap");
	daemon_start(TWO_WORKERS);
	run_memcslap("set", THREADS, EXECUTIONS);
	cr_assert_geq(stats_fresh("skeld_kv_commands_total"), THREADS * EXECUTIONS);
	double before = stats_value("skeld_kv_hits_total");
	run_memcslap("get", THREADS, EXECUTIONS);
	run_memcslap("mget", THREADS, 50);
	cr_assert_geq(stats_fresh("skeld_kv_hits_total") - before, THREADS * (EXECUTIONS + 50));
	cr_assert_eq(stats_value("skeld_kv_misses_total"), 0);
	cr_assert_eq(log_count_warnings(), 0, "%s", log_text());
	daemon_finish();
}

/* memccp and memccat transfer files. */
Test(kv_clients, memccp_stores_files_and_a_reload_keeps_them)
{
	need("memccp");
	daemon_start(TWO_WORKERS);
	cr_assert_eq(shell_run("head -c 30000 /dev/urandom >file && memccp --servers=%s file",
			       listener_address("main")),
		     0, "%s", command_err.bytes);
	config_write(TWO_WORKERS "kv { memory = 128M }\n");
	daemon_reload_and_wait();
	cr_assert_eq(shell_run("memccat --servers=%s file | head -c 30000 | cmp - file",
			       listener_address("main")),
		     0, "%s%s", command_out.bytes, command_err.bytes);
	daemon_finish();
}
