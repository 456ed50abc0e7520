/* The example service services/kv.c follows memcached's protocol.txt. */
#include "client.h"
#include "observe.h"
#include "traffic.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

DAEMON_SUITE(kv, daemon_use(KV_BINARY));

/* Send REQUESTS, and expect these ANSWERS and nothing else. */
static void exchange(const char *requests, const char *answers)
{
	int client = client_connect("main");
	client_send(client, requests);
	client_send(client, "version\r\n");
	client_expect(client, answers);
	client_expect(client, "VERSION 1.0.0\r\n");
	client_close(client);
}

Test(kv, a_value_is_set_and_deleted)
{
	daemon_start(BASE);
	exchange("set key 7 0 5\r\nfirst\r\nset key 8 0 6\r\nsecond\r\nget key other\r\n",
		 "STORED\r\nSTORED\r\nVALUE key 8 6\r\nsecond\r\nEND\r\n");
	exchange("delete key\r\ndelete key\r\nget key\r\n", "DELETED\r\nNOT_FOUND\r\nEND\r\n");
	daemon_finish();
}

Test(kv, add_and_replace_depend_on_the_old_value)
{
	daemon_start(BASE);
	exchange("replace a 1 0 1\r\nx\r\nadd a 2 0 1\r\ny\r\nadd a 3 0 1\r\nz\r\nget a\r\n",
		 "NOT_STORED\r\nSTORED\r\nNOT_STORED\r\nVALUE a 2 1\r\ny\r\nEND\r\n");
	exchange("replace a 4 0 1\r\nw\r\nget a\r\n", "STORED\r\nVALUE a 4 1\r\nw\r\nEND\r\n");
	daemon_finish();
}

Test(kv, append_and_prepend_keep_the_flags)
{
	daemon_start(BASE);
	exchange("append a 0 0 1\r\nx\r\nprepend a 0 0 1\r\nx\r\nset a 5 0 3\r\nbcd\r\n"
		 "append a 6 0 2\r\nef\r\nprepend a 7 0 1\r\na\r\nget a\r\n",
		 "NOT_STORED\r\nNOT_STORED\r\nSTORED\r\nSTORED\r\nSTORED\r\n"
		 "VALUE a 5 6\r\nabcdef\r\nEND\r\n");
	daemon_finish();
}

Test(kv, cas_stores_only_over_an_unchanged_value)
{
	daemon_start(BASE);
	exchange("cas a 0 0 1 1\r\nx\r\nset a 0 0 1\r\nx\r\ngets a b\r\n",
		 "NOT_FOUND\r\nSTORED\r\nVALUE a 0 1 1\r\nx\r\nEND\r\n");
	exchange("cas a 9 0 1 1\r\ny\r\ncas a 0 0 1 1\r\nz\r\ngets a\r\ncas a 0 0 1 noreply\r\n",
		 "STORED\r\nEXISTS\r\nVALUE a 9 1 2\r\ny\r\nEND\r\n"
		 "CLIENT_ERROR bad command line format\r\n");
	daemon_finish();
}

Test(kv, numbers_are_incremented_and_decremented)
{
	daemon_start(BASE);
	exchange("incr n 1\r\nset n 3 0 1\r\n9\r\nincr n 1\r\ndecr n 8\r\ndecr n 3\r\nget n\r\n",
		 "NOT_FOUND\r\nSTORED\r\n10\r\n2\r\n0\r\nVALUE n 3 1\r\n0\r\nEND\r\n");
	exchange("set n 0 0 20\r\n18446744073709551615\r\nincr n 2\r\n", "STORED\r\n1\r\n");
	exchange("incr n -1\r\nincr n\r\nincr n 18446744073709551616\r\nset n 0 0 2\r\n1x\r\n"
		 "incr n 1\r\n",
		 "CLIENT_ERROR invalid numeric delta argument\r\n"
		 "CLIENT_ERROR invalid numeric delta argument\r\n"
		 "CLIENT_ERROR invalid numeric delta argument\r\nSTORED\r\n"
		 "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
	daemon_finish();
}

Test(kv, a_negative_or_past_expiry_removes_a_value)
{
	daemon_start(BASE);
	exchange("set a 0 -1 1\r\nx\r\nset b 0 2592001 1\r\nx\r\nset c 0 2592000 1\r\nx\r\n"
		 "set d 0 4102444800 1\r\nx\r\nget a b c d\r\n",
		 "STORED\r\nSTORED\r\nSTORED\r\nSTORED\r\n"
		 "VALUE c 0 1\r\nx\r\nVALUE d 0 1\r\nx\r\nEND\r\n");
	exchange("touch c -1\r\ntouch c 0\r\ntouch d x\r\nget c d\r\nadd c 0 0 1\r\ny\r\n",
		 "TOUCHED\r\nNOT_FOUND\r\nCLIENT_ERROR invalid exptime argument\r\n"
		 "VALUE d 0 1\r\nx\r\nEND\r\nSTORED\r\n");
	daemon_finish();
}

/* Ask for KEY until it is gone. */
static void await_gone(int client, const char *key)
{
	char text[64], request[64];
	snprintf(request, sizeof(request), "get %s\r\n", key);
	ssize_t n = 0;
	for (int64_t until = deadline(); n != 5;) {
		client_send(client, request);
		await_fd(client, POLLIN, until, "the end of an item");
		n = recv(client, text, sizeof(text), MSG_DONTWAIT);
		MUST(n > 0 && !is_past(until));
	}
	cr_assert(memcmp(text, "END\r\n", 5) == 0);
}

Test(kv, a_value_expires)
{
	daemon_start(BASE);
	int client = client_connect("main");
	client_send(client, "set a 0 1 1\r\nx\r\nset b 0 0 1\r\ny\r\ntouch b 1\r\n"
			    "set c 0 1 1\r\nz\r\nappend c 0 0 1\r\nz\r\nset d 0 0 1\r\nw\r\n");
	client_expect(client, "STORED\r\nSTORED\r\nTOUCHED\r\nSTORED\r\nSTORED\r\nSTORED\r\n");
	await_gone(client, "a");
	await_gone(client, "b");
	await_gone(client, "c");
	client_send(client, "get a b c d\r\n");
	client_expect(client, "VALUE d 0 1\r\nw\r\nEND\r\n");
	daemon_finish();
}

Test(kv, flush_all_removes_all_values)
{
	daemon_start(BASE);
	exchange("set a 0 0 1\r\nx\r\nflush_all\r\nget a\r\nset a 0 0 1\r\ny\r\nget a\r\n"
		 "flush_all noreply\r\nget a\r\nflush_all x\r\n",
		 "STORED\r\nOK\r\nEND\r\nSTORED\r\nVALUE a 0 1\r\ny\r\nEND\r\nEND\r\n"
		 "CLIENT_ERROR bad command line format\r\n");
	daemon_finish();
}

Test(kv, flush_all_with_a_delay_removes_older_values_then)
{
	daemon_start(BASE);
	int client = client_connect("main");
	client_send(client, "set a 0 0 1\r\nx\r\nflush_all 1000\r\nget a\r\nflush_all 1\r\n");
	client_expect(client, "STORED\r\nOK\r\nVALUE a 0 1\r\nx\r\nEND\r\nOK\r\n");
	await_gone(client, "a");
	client_send(client, "set a 0 0 1\r\ny\r\nget a\r\n");
	client_expect(client, "STORED\r\nVALUE a 0 1\r\ny\r\nEND\r\n");
	daemon_finish();
}

Test(kv, stats_count_items_and_bytes)
{
	daemon_start(BASE);
	exchange("stats\r\nstats items\r\n",
		 "STAT curr_items 0\r\nSTAT bytes 0\r\nSTAT limit_maxbytes 67108864\r\nEND\r\n"
		 "ERROR\r\n");
	int client = client_connect("main");
	client_send(client, "set a 0 0 1\r\nx\r\nset b 0 0 1\r\nx\r\ndelete a\r\nstats\r\n");
	client_expect(client, "STORED\r\nSTORED\r\nDELETED\r\nSTAT curr_items 1\r\nSTAT bytes ");
	daemon_finish();
}

Test(kv, verbosity_is_accepted_and_quit_closes)
{
	char text[64];
	daemon_start(BASE);
	int client = client_connect("main");
	client_send(client, "verbosity 1\r\nverbosity 1 noreply\r\nquit\r\nversion\r\n");
	client_read_all(client, text, sizeof(text));
	cr_assert_str_eq(text, "OK\r\n");
	daemon_finish();
}

Test(kv, a_value_with_line_ends_comes_back_unchanged)
{
	daemon_start(BASE);
	exchange("set key 0 0 6\r\n\r\na\r\n\n\r\nget key\r\n",
		 "STORED\r\nVALUE key 0 6\r\n\r\na\r\n\n\r\nEND\r\n");
	daemon_finish();
}

Test(kv, a_value_without_its_line_end_is_rejected)
{
	daemon_start(BASE);
	exchange("set key 0 0 3\r\nabcdeget key\r\n", "CLIENT_ERROR bad data chunk\r\nEND\r\n");
	daemon_finish();
}

Test(kv, commands_with_noreply_are_not_answered)
{
	daemon_start(BASE);
	exchange("set key 0 0 3 noreply\r\nabc\r\nget key\r\n", "VALUE key 0 3\r\nabc\r\nEND\r\n");
	exchange("delete key noreply\r\ndelete key noreply\r\nget key\r\n", "END\r\n");
	exchange("set key 0 0 3 noreply\r\nabc\r\ndelete key 0 noreply\r\nget key\r\n", "END\r\n");
	daemon_finish();
}

Test(kv, a_malformed_command_is_answered_with_an_error)
{
	static const char *const malformed[] = {
		"set key",
		"set key 0 0",
		"set key x 0 1",
		"set key 0 0 -1",
		"set key 4294967296 0 1",
		"set key 0 0 1 noreply x",
		"set k\x01y 0 0 1",
		"delete",
		"delete key now",
		"delete key 0 x",
		"touch",
		"get k\x01y",
		"incr",
		"verbosity",
		"verbosity x",
	};
	char text[300];
	daemon_start(BASE);
	for (size_t i = 0; i < sizeof(malformed) / sizeof(*malformed); i++) {
		snprintf(text, sizeof(text), "%s\r\n", malformed[i]);
		exchange(text, "CLIENT_ERROR bad command line format\r\n");
	}
	exchange("unknown\r\n\r\nget\r\nversion x\r\nquit x\r\nGET key\r\n",
		 "ERROR\r\nERROR\r\nERROR\r\nERROR\r\nERROR\r\nERROR\r\n");
	daemon_finish();
}

Test(kv, a_key_has_at_most_250_bytes)
{
	char text[600];
	daemon_start(BASE);
	snprintf(text, sizeof(text), "get %0250d\r\nget %0251d\r\n", 1, 1);
	exchange(text, "END\r\nCLIENT_ERROR bad command line format\r\n");
	daemon_finish();
}

Test(kv, a_command_can_arrive_byte_by_byte)
{
	static const char text[] = "set a 1 0 4\r\n\r\n\r\n\r\nget a\r\n";
	daemon_start(BASE);
	int client = client_connect("main");
	for (size_t i = 0; text[i]; i++) {
		client_send_bytes(client, text + i, 1);
		stats_await("skeld_received_bytes_total", (double)i + 1);
	}
	client_expect(client, "STORED\r\nVALUE a 1 4\r\n\r\n\r\n\r\nEND\r\n");
	daemon_finish();
}

#define NO_MEMORY "SERVER_ERROR out of memory storing object\r\n"

Test(kv, a_reload_raises_the_memory_limit)
{
	daemon_start(BASE "kv { memory = 120 }\n");
	int client = client_connect("main");
	client_send(client, "set a 0 0 3\r\nabc\r\nset b 0 0 2\r\nde\r\nget a b\r\n");
	client_expect(client, "STORED\r\n" NO_MEMORY "VALUE a 0 3\r\nabc\r\nEND\r\n");
	client_send(client, "set a 0 0 1\r\nf\r\nget a\r\n");
	client_expect(client, "STORED\r\nVALUE a 0 1\r\nf\r\nEND\r\n");
	config_write(BASE "kv { memory = 1000 }\n");
	daemon_reload_and_wait();
	client_send(client, "set b 0 0 2\r\nde\r\nget a b\r\n");
	client_expect(client, "STORED\r\nVALUE a 0 1\r\nf\r\nVALUE b 0 2\r\nde\r\nEND\r\n");
	config_write(BASE "kv { memory = -1 }\n");
	daemon_reload_and_wait();
	expect_rejected(2, "kv.memory");
	client_send(client, "get a\r\n");
	client_expect(client, "VALUE a 0 1\r\nf\r\nEND\r\n");
	daemon_finish();
}

Test(kv, a_value_that_cannot_be_replaced_is_removed)
{
	char text[300];
	daemon_start(BASE "kv { memory = 130 }\n");
	snprintf(text, sizeof(text), "set a 0 0 1\r\nx\r\nappend a 0 0 200\r\n%0200d\r\nget a\r\n",
		 0);
	exchange(text, "STORED\r\n" NO_MEMORY "VALUE a 0 1\r\nx\r\nEND\r\n");
	snprintf(text, sizeof(text), "set a 0 0 200\r\n%0200d\r\nget a\r\n", 0);
	exchange(text, NO_MEMORY "END\r\n");
	daemon_finish();
}

/* The items are in all stripes: a new item finds dead ones in its own. */
Test(kv, dead_items_make_room_for_new_ones)
{
	enum { ITEMS = 20000 };
	char text[64];
	daemon_start(BASE "kv { memory = 2M }\n");
	int client = client_connect("main");
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < ITEMS; i++) {
			snprintf(text, sizeof(text), "set %d-%d 0 0 1 noreply\r\nx\r\n", round, i);
			client_send(client, text);
		}
		snprintf(text, sizeof(text), "get %d-%d\r\nflush_all\r\n", round, ITEMS / 2);
		client_send(client, text);
		snprintf(text, sizeof(text), "VALUE %d-%d 0 1\r\nx\r\nEND\r\nOK\r\n", round,
			 ITEMS / 2);
		client_expect(client, text);
	}
	daemon_finish();
}

/* Many more answers than limits.buffer, for a client that does not read yet. */
Test(kv, commands_wait_while_answers_are_unsent)
{
	enum { REQUESTS = 2000, VALUE = 3000, BUFFER = 4096 };
	char set[VALUE + 32], answer[VALUE + 32], requests[REQUESTS * 7 + 1];
	snprintf(set, sizeof(set), "set a 0 0 %d\r\n%0*d\r\n", VALUE, VALUE, 7);
	snprintf(answer, sizeof(answer), "VALUE a 0 %d\r\n%0*d\r\nEND\r\n", VALUE, VALUE, 7);
	config_write(BASE LISTEN_BUSY "limits { buffer = %d }\n", test_dir, BUFFER);
	daemon_spawn();
	notify_wait("READY=1");
	exchange(set, "STORED\r\n");
	int client = client_connect("busy");
	for (size_t i = 0; i < REQUESTS; i++)
		memcpy(requests + 7 * i, "get a\r\n", 8);
	client_send(client, requests);
	await_idle();
	cr_assert_lt(stats_fresh("skeld_buffered_bytes"), 2 * BUFFER + sizeof(answer) + 1024);
	for (size_t i = 0; i < REQUESTS; i++)
		client_expect(client, answer);
	daemon_finish();
}

Test(kv, a_value_larger_than_the_buffer_closes_the_connection)
{
	static const char head[] = "set a 0 0 5000\r\n";
	char value[4096 - sizeof(head) + 1];
	daemon_start(BASE "limits { buffer = 4096 }\n");
	int client = client_connect("main");
	memset(value, 'v', sizeof(value));
	client_send(client, head);
	client_send_bytes(client, value, sizeof(value));
	client_expect_eof(client);
	stats_await("skeld_connections_closed_total{reason=\"overflow\"}", 1);
	daemon_finish();
}

Test(kv, a_drain_cuts_no_reply)
{
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	exchange("set a 0 0 5\r\nvalue\r\n", "STORED\r\n");
	drain_with_clients("get a\r\ntouch a 0\r\nget a b\r\nset c 0 0 1\r\nx\r\n",
			   "VALUE a 0 5\r\nvalue\r\nEND\r\nTOUCHED\r\n"
			   "VALUE a 0 5\r\nvalue\r\nEND\r\nSTORED\r\n");
}

Test(kv, counters_are_in_the_stats)
{
	daemon_start(BASE);
	exchange("set a 0 0 1\r\nx\r\nget a b\r\nget a\r\n",
		 "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
	cr_assert_eq(stats_fresh("skeld_kv_commands_total"), 4);
	cr_assert_eq(stats_value("skeld_kv_hits_total"), 2);
	cr_assert_eq(stats_value("skeld_kv_misses_total"), 1);
	cr_assert(log_contains("stats kv: commands=4 hits=2 misses=1"), "%s", log_text());
	daemon_finish();
}

/* The value is only incremented, so that no worker can lose a change of another one. */
Test(kv, workers_share_the_items)
{
	enum { CLIENTS = 20, ROUNDS = 50 };
	int clients[CLIENTS];
	daemon_start("workers = 4\nadmin { address = \"\" }\n" LISTEN_MAIN);
	exchange("set n 0 0 1\r\n0\r\n", "STORED\r\n");
	for (size_t i = 0; i < CLIENTS; i++)
		clients[i] = client_connect("main");
	for (int round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < CLIENTS; i++)
			client_send(clients[i],
				    "set other 0 0 1 noreply\r\nx\r\nincr n 1 noreply\r\n"
				    "delete other noreply\r\n");
	for (size_t i = 0; i < CLIENTS; i++) {
		client_send(clients[i], "version\r\n");
		client_expect(clients[i], "VERSION 1.0.0\r\n");
	}
	exchange("get n other\r\n", "VALUE n 0 4\r\n1000\r\nEND\r\n");
	daemon_finish();
}
