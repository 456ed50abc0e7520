/*
 * The example service services/resp.c with the clients of Redis. A test is skipped if they are not
 * installed; see the file packages in this folder.
 */
/* test: TIMEOUT 180 LABELS all */
#include "client.h"
#include "observe.h"
#include "traffic.h"

#include <stdlib.h>
#include <string.h>

DAEMON_SUITE(resp_clients, daemon_use(RESP_BINARY));

#define TWO_WORKERS "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN

static char port[16];

static void start(const char *program, const char *config)
{
	if (shell_run("command -v %s", program) != 0)
		cr_skip_test("%s is not installed", program);
	daemon_start(config);
	strcpy(port, strrchr(listener_address("main"), ':') + 1);
}

/* Run redis-cli with these commands, one per line, and compare its output. */
static void expect_output(const char *commands, const char *output)
{
	file_write("commands", commands);
	cr_assert_eq(shell_run("redis-cli -p %s <commands", port), 0, "%s", command_err.bytes);
	cr_assert_str_eq(command_out.bytes, output);
}

Test(resp_clients, redis_cli_gets_the_answers_of_redis)
{
	start("redis-cli", TWO_WORKERS);
	expect_output("PING\nECHO \"hello world\"\nSET a 1\nGET a\nGET b\nEXISTS a b\nINCR a\n"
		      "INCRBY a 40\nSET a x NX\nSET a y XX\nGET a\nDBSIZE\nDEL a b\nDBSIZE\n",
		      "PONG\nhello world\nOK\n1\n\n1\n2\n42\n\nOK\ny\n1\n1\n0\n");
	expect_output("SELECT 0\nCONFIG GET save\nCLIENT SETNAME test\nFLUSHALL\n",
		      "OK\nsave\n\nOK\nOK\n");
	cr_assert_eq(shell_run("redis-cli -e -p %s NONSENSE", port), 1);
	cr_assert(strstr(command_out.bytes, "ERR unknown command") ||
			  strstr(command_err.bytes, "ERR unknown command"),
		  "%s%s", command_out.bytes, command_err.bytes);
	daemon_finish();
}

Test(resp_clients, redis_cli_transfers_binary_values)
{
	start("redis-cli", TWO_WORKERS);
	cr_assert_eq(shell_run("head -c 30000 /dev/urandom >value && "
			       "redis-cli -p %s -x SET key <value && redis-cli -p %s GET key | "
			       "head -c 30000 | cmp - value",
			       port, port),
		     0, "%s%s", command_out.bytes, command_err.bytes);
	daemon_finish();
}

static void run_benchmark(const char *options, int requests)
{
	cr_assert_eq(shell_run("redis-benchmark -p %s -t ping,set,get,incr -c 20 -n %d --csv %s",
			       port, requests, options),
		     0, "%s%s", command_out.bytes, command_err.bytes);
	cr_assert_eq(strlen(command_err.bytes), 0, "%s", command_err.bytes);
	cr_assert(strstr(command_out.bytes, "\n\"INCR\",\""), "%s", command_out.bytes);
}

/* PING in two forms, SET, GET and INCR, with a reload between two runs. */
static void benchmark(const char *options)
{
	enum { REQUESTS = 10000 };
	start("redis-benchmark", TWO_WORKERS);
	run_benchmark(options, REQUESTS);
	cr_assert_geq(stats_fresh("skeld_resp_commands_total"), 5 * REQUESTS);
	config_write(TWO_WORKERS "resp { memory = 1M }\n");
	daemon_reload_and_wait();
	run_benchmark(options, REQUESTS);
	cr_assert_geq(stats_fresh("skeld_resp_hits_total"), 2 * REQUESTS);
	cr_assert_eq(stats_value("skeld_resp_misses_total"), 0);
	cr_assert_eq(shell_run("redis-cli -p %s GET counter:__rand_int__", port), 0);
	cr_assert_geq(atol(command_out.bytes), 2 * REQUESTS, "%s", command_out.bytes);
	cr_assert_eq(log_count_warnings(), 0, "%s", log_text());
	daemon_finish();
}

Test(resp_clients, redis_benchmark_runs_without_pipelining)
{
	benchmark("");
}

Test(resp_clients, redis_benchmark_runs_with_pipelining)
{
	benchmark("-P 16");
}

Test(resp_clients, redis_benchmark_runs_with_many_keys_and_long_pipelines)
{
	start("redis-benchmark", TWO_WORKERS);
	run_benchmark("-P 64 -r 1000 -d 1000", 20000);
	cr_assert_eq(shell_run("redis-cli -p %s DBSIZE", port), 0);
	cr_assert_gt(atol(command_out.bytes), 1000, "%s", command_out.bytes);
	daemon_finish();
}
