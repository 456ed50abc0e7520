/* Slow work on threads: the example service services/query.c. */
/* test: TIMEOUT 180 NEEDS SQLITE3 */
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

DAEMON_SUITE(query, daemon_use(QUERY_BINARY));

/* A statement that counts to N, and one that runs until it is cancelled. */
#define COUNT_TO(n)                                                                                \
	"with recursive c(i) as (select 1 union all select i + 1 from c limit " #n                 \
	") select count(*) from c\n"
#define ENDLESS                                                                                    \
	"with recursive c(i) as (select 1 union all select i + 1 from c) select count(*) from c\n"
#define SLOW "query { timeout = 3600 }\n"

/* Send STATEMENTS from a new client, and expect ANSWERS. */
static void exchange(const char *statements, const char *answers)
{
	int client = client_connect("main");
	client_send(client, statements);
	client_expect(client, answers);
	client_close(client);
}

Test(query, rows_are_answered)
{
	daemon_start(BASE);
	exchange("select 1, 'two', null\n", "1\ttwo\tNULL\nok 1\n");
	exchange("values (1), (2), (3)\n", "1\n2\n3\nok 3\n");
	exchange("select 1 where false\n\n-- nothing\n", "ok 0\nok 0\nok 0\n");
	exchange("select 'a' || char(10, 9) || 'b'\n", "a\?\?b\nok 1\n");
	daemon_finish();
}

Test(query, mistakes_are_answered)
{
	daemon_start(BASE);
	exchange("selec 1\nselect 2\n", "error near \"selec\": syntax error\n2\nok 1\n");
	exchange("create table t(a)\n", "error attempt to write a readonly database\n");
	exchange("attach 'other' as other\n", "error too many attached databases - max 0\n");
	daemon_finish();
}

Test(query, pipelined_statements_are_answered_in_order)
{
	enum { STATEMENTS = 500 };
	char line[32];
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN SLOW);
	int client = client_connect("main");
	client_send(client, COUNT_TO(100000));
	for (int i = 0; i < STATEMENTS; i++) {
		snprintf(line, sizeof(line), "select %d\n", i);
		client_send(client, line);
	}
	client_expect(client, "100000\nok 1\n");
	for (int i = 0; i < STATEMENTS; i++) {
		snprintf(line, sizeof(line), "%d\nok 1\n", i);
		client_expect(client, line);
	}
	daemon_finish();
}

Test(query, slow_statement_does_not_hold_up_other_clients)
{
	daemon_start(BASE SLOW);
	int slow = client_connect("main");
	client_send(slow, ENDLESS);
	stats_await("query_running", 1);
	exchange("select 1\n", "1\nok 1\n");
	daemon_finish();
}

/* More statements than threads: one waits in the queue. */
Test(query, statements_are_cancelled_when_their_clients_leave)
{
	enum { CLIENTS = 3 };
	int clients[CLIENTS];
	daemon_start(BASE SLOW);
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = client_connect("main");
		client_send(clients[i], ENDLESS "select 1\n");
	}
	stats_await("query_running", CLIENTS);
	client_close(clients[0]);
	stats_await("query_running", CLIENTS - 1);
	client_reset(clients[1]);
	stats_await("query_running", CLIENTS - 2);
	client_close(clients[2]);
	stats_await("query_running", 0);
	stats_await_open(0);
	exchange("select 1\n", "1\nok 1\n");
	daemon_finish();
}

Test(query, cancelled_statement_gives_its_place_to_another_client)
{
	daemon_start(BASE SLOW "limits { connections = 1 }\n");
	int client = client_connect("main");
	client_send(client, ENDLESS);
	stats_await("query_running", 1);
	client_expect_eof(client_connect("main"));
	client_close(client);
	stats_await_open(0);
	exchange("select 1\n", "1\nok 1\n");
	daemon_finish();
}

Test(query, reload_changes_the_options_of_later_statements)
{
	daemon_start(BASE SLOW);
	int first = client_connect("main");
	client_send(first, ENDLESS);
	stats_await("query_running", 1);
	config_write(BASE "query { timeout = 1 }\n");
	daemon_reload_and_wait();
	exchange(ENDLESS, "error interrupted\n");
	cr_assert_eq(stats_fresh("query_running"), 1);
	daemon_finish();
}

Test(query, reload_changes_the_database)
{
	char path[PATH_IN_MAX];
	file_write("empty", ""); /* a database without tables */
	daemon_start(BASE);
	int client = client_connect("main");
	config_write(BASE "query { database = \"%s\" }\n", path_in("missing", path));
	daemon_reload_and_wait();
	client_send(client, "select count(*) from sqlite_master\n");
	client_expect(client, "error unable to open database file\n");
	config_write(BASE "query { database = \"%s\" }\n", path_in("empty", path));
	daemon_reload_and_wait();
	client_send(client, "select count(*) from sqlite_master\n");
	client_expect(client, "0\nok 1\n");
	daemon_finish();
}

Test(query, drain_waits_for_a_running_statement)
{
	daemon_start("drain_timeout = 3600\n" BASE SLOW);
	int client = client_connect("main");
	client_send(client, COUNT_TO(5000000) "select 2\n");
	stats_await("query_running", 1);
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	client_expect(client, "5000000\nok 1\n2\nok 1\n");
	cr_assert(log_contains("drained: cut_off=0"), "%s", log_text());
}

static void begin_endless(const char *config)
{
	daemon_start(config);
	for (int i = 0; i < 4; i++)
		client_send(client_connect("main"), ENDLESS);
	stats_await("query_running", 4);
}

Test(query, running_statements_are_cancelled_at_the_deadline_of_a_drain)
{
	begin_endless("drain_timeout = 1\n" BASE SLOW);
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	cr_assert(log_contains("cut_off=4"), "%s", log_text());
	cr_assert(log_line_with("stats query: running=0"), "%s", log_text());
}

Test(query, running_statements_are_cancelled_by_a_forced_stop)
{
	begin_endless(BASE SLOW);
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
	cr_assert_not(log_contains("workers did not end"), "%s", log_text());
	cr_assert(log_line_with("stats query: running=0"), "%s", log_text());
}

/* The answer is longer than limits.buffer, and ends with an error. */
Test(query, an_answer_above_the_limit_ends_with_an_error)
{
	char row[1008];
	daemon_start(BASE SLOW);
	int client = client_connect("main");
	client_send(client, "with recursive c(i) as (select 1 union all select i from c) "
			    "select hex(zeroblob(500)) from c\n");
	memset(row, '0', sizeof(row));
	row[1000] = '\n';
	for (size_t n = 0; n < 1 << 20; n += 1001)
		client_expect_bytes(client, row, 1001);
	client_expect(client, "error answer too long\n");
	client_send(client, "select hex(zeroblob(100000000))\n");
	client_expect(client, "error string or blob too big\n");
	daemon_finish();
}

Test(query, statements_are_counted)
{
	daemon_start(BASE);
	exchange("select 1\nselect 2\nselec\n",
		 "1\nok 1\n2\nok 1\nerror near \"selec\": syntax error\n");
	cr_assert_eq(stats_fresh("query_seconds_count"), 3);
	cr_assert_eq(stats_value("query_seconds_bucket{le=\"+Inf\"}"), 3);
	cr_assert_gt(stats_value("query_seconds_sum"), 0);
	cr_assert_eq(stats_value("query_running"), 0);
	cr_assert(log_line_with("stats query: running=0 time_p50_ms="), "%s", log_text());
	daemon_finish();
}
