/* The example service services/resp.c speaks RESP2, the protocol of Redis. */
#include "client.h"
#include "observe.h"
#include "traffic.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

DAEMON_SUITE(resp, daemon_use(RESP_BINARY));

/* Send REQUESTS, and expect these ANSWERS and nothing else. */
static void exchange(const char *requests, const char *answers)
{
	int client = client_connect("main");
	client_send(client, requests);
	client_send(client, "PING\r\n");
	client_expect(client, answers);
	client_expect(client, "+PONG\r\n");
	client_close(client);
}

Test(resp, a_value_is_set_replaced_and_deleted)
{
	daemon_start(BASE);
	exchange("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nfirst\r\n"
		 "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$6\r\nsecond\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
		 "+OK\r\n+OK\r\n$6\r\nsecond\r\n");
	exchange("*4\r\n$6\r\nEXISTS\r\n$1\r\na\r\n$1\r\na\r\n$1\r\nb\r\n*1\r\n$6\r\nDBSIZE\r\n"
		 "*3\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
		 ":2\r\n:1\r\n:1\r\n$-1\r\n");
	daemon_finish();
}

Test(resp, keys_and_values_may_have_any_bytes)
{
	static const char request[] = "*3\r\n$3\r\nSET\r\n$4\r\n\0\r\n*\r\n$5\r\n$1\r\n\0\r\n"
				      "*2\r\n$3\r\nGET\r\n$4\r\n\0\r\n*\r\n";
	static const char answer[] = "+OK\r\n$5\r\n$1\r\n\0\r\n";
	daemon_start(BASE);
	int client = client_connect("main");
	client_send_bytes(client, request, sizeof(request) - 1);
	client_expect_bytes(client, answer, sizeof(answer) - 1);
	daemon_finish();
}

Test(resp, empty_keys_and_values_are_stored)
{
	daemon_start(BASE);
	exchange("*3\r\n$3\r\nSET\r\n$0\r\n\r\n$0\r\n\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n*0\r\n",
		 "+OK\r\n$0\r\n\r\n");
	daemon_finish();
}

Test(resp, inline_commands_are_answered)
{
	daemon_start(BASE);
	exchange("set a 1\r\n\r\n  GET   a \nEcho hello\nPING hello\r\n",
		 "+OK\r\n$1\r\n1\r\n$5\r\nhello\r\n$5\r\nhello\r\n");
	daemon_finish();
}

Test(resp, nx_and_xx_are_conditions_of_set)
{
	daemon_start(BASE);
	exchange("SET a 1 XX\r\nSET a 2 NX\r\nSET a 3 nx\r\nGET a\r\nSET a 4 xx\r\nGET a\r\n",
		 "$-1\r\n+OK\r\n$-1\r\n$1\r\n2\r\n+OK\r\n$1\r\n4\r\n");
	exchange("SET a 5 YY\r\n", "-ERR syntax error\r\n");
	daemon_finish();
}

#define NO_INTEGER "-ERR value is not an integer or out of range\r\n"

Test(resp, numbers_are_incremented)
{
	daemon_start(BASE);
	exchange("INCR n\r\nINCRBY n 41\r\nINCRBY n -50\r\nGET n\r\n",
		 ":1\r\n:42\r\n:-8\r\n$2\r\n-8\r\n");
	exchange("SET n 9223372036854775807\r\nINCR n\r\nINCRBY n 9223372036854775808\r\nGET n\r\n",
		 "+OK\r\n-ERR increment or decrement would overflow\r\n" NO_INTEGER
		 "$19\r\n9223372036854775807\r\n");
	exchange("SET n 1x\r\nINCR n\r\nSET n +1\r\nINCR n\r\nINCRBY m x\r\nDBSIZE\r\n",
		 "+OK\r\n" NO_INTEGER "+OK\r\n" NO_INTEGER NO_INTEGER ":1\r\n");
	daemon_finish();
}

Test(resp, flushall_removes_all_items)
{
	daemon_start(BASE);
	exchange("SET a 1\r\nSET b 2\r\nFLUSHALL\r\nDBSIZE\r\nGET a\r\n",
		 "+OK\r\n+OK\r\n+OK\r\n:0\r\n$-1\r\n");
	exchange("INFO\r\n",
		 "$59\r\n# Memory\r\nused_memory:0\r\n# Keyspace\r\ndb0:keys=0,expires=0\r\n"
		 "\r\n");
	daemon_finish();
}

Test(resp, clients_can_ask_for_the_settings)
{
	daemon_start(BASE);
	exchange("SELECT 0\r\nSELECT 1\r\nCLIENT SETNAME x\r\nCOMMAND DOCS\r\nCONFIG GET save\r\n",
		 "+OK\r\n-ERR DB index is out of range\r\n+OK\r\n*0\r\n"
		 "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
	exchange("CONFIG SET save 1\r\nCONFIG REWRITE x\r\n",
		 "-ERR wrong number of arguments\r\n-ERR syntax error\r\n");
	daemon_finish();
}

Test(resp, an_unknown_command_is_answered_with_an_error)
{
	daemon_start(BASE);
	exchange("NONSENSE a\r\nGET\r\nGET a b\r\n*1\r\n$3\r\nSET\r\n",
		 "-ERR unknown command\r\n-ERR wrong number of arguments\r\n"
		 "-ERR wrong number of arguments\r\n-ERR wrong number of arguments\r\n");
	daemon_finish();
}

Test(resp, a_malformed_request_closes_the_connection)
{
	static const char *const malformed[] = {
		"*x\r\n",
		"*1x\r\n",
		"*-1\r\n",
		"*\r\n",
		"*1025\r\n",
		"*1\nx",
		"*1\r\nGET\r\n",
		"*1\r\n$-1\r\n",
		"*1\r\n$536870913\r\n",
		"*1\r\n$18446744073709551619\r\nGET\r\n",
		"*1\r\n$3\r\nabcde",
		"*2\r\n$3\r\nGET\r\n+a\r\n",
		"*1\r\n$3\r\nGET\r\r",
	};
	daemon_start(BASE);
	for (size_t i = 0; i < sizeof(malformed) / sizeof(*malformed); i++) {
		int client = client_connect("main");
		client_send(client, "PING\r\n");
		client_send(client, malformed[i]);
		client_expect(client, "+PONG\r\n-ERR Protocol error\r\n");
		client_expect_eof(client);
	}
	daemon_finish();
}

Test(resp, an_inline_command_with_too_many_words_closes_the_connection)
{
	char words[2 * 1025 + 1];
	daemon_start(BASE);
	for (size_t i = 0; i < sizeof(words) - 1; i++)
		words[i] = i % 2 ? ' ' : 'x';
	words[sizeof(words) - 1] = '\0';
	int client = client_connect("main");
	client_send(client, words);
	client_send(client, "\r\n");
	client_expect(client, "-ERR Protocol error\r\n");
	client_expect_eof(client);
	daemon_finish();
}

Test(resp, a_request_can_arrive_byte_by_byte)
{
	static const char text[] = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\nGET a\r\n";
	daemon_start(BASE);
	int client = client_connect("main");
	for (size_t i = 0; text[i]; i++) {
		client_send_bytes(client, text + i, 1);
		stats_await("skeld_received_bytes_total", (double)i + 1);
	}
	client_expect(client, "+OK\r\n$2\r\n\r\n\r\n");
	daemon_finish();
}

Test(resp, quit_is_answered_and_closes)
{
	char text[64];
	daemon_start(BASE);
	int client = client_connect("main");
	client_send(client, "PING\r\nQUIT\r\nPING\r\n");
	client_read_all(client, text, sizeof(text));
	cr_assert_str_eq(text, "+PONG\r\n+OK\r\n");
	daemon_finish();
}

/* Many more answers than limits.buffer, for a client that does not read yet. */
Test(resp, requests_wait_while_answers_are_unsent)
{
	enum { REQUESTS = 2000, VALUE = 3000, BUFFER = 4096 };
	char set[VALUE + 32], answer[VALUE + 32], requests[REQUESTS * 7 + 1];
	snprintf(set, sizeof(set), "SET a %0*d\r\n", VALUE, 7);
	snprintf(answer, sizeof(answer), "$%d\r\n%0*d\r\n", VALUE, VALUE, 7);
	config_write(BASE LISTEN_BUSY "limits { buffer = %d }\n", test_dir, BUFFER);
	daemon_spawn();
	notify_wait("READY=1");
	exchange(set, "+OK\r\n");
	int client = client_connect("busy");
	for (size_t i = 0; i < REQUESTS; i++)
		memcpy(requests + 7 * i, "GET a\r\n", 8);
	client_send(client, requests);
	await_idle();
	cr_assert_lt(stats_fresh("skeld_buffered_bytes"), 2 * BUFFER + sizeof(answer) + 1024);
	for (size_t i = 0; i < REQUESTS; i++)
		client_expect(client, answer);
	daemon_finish();
}

Test(resp, a_request_longer_than_the_buffer_closes_the_connection)
{
	static const char head[] = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5000\r\n";
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

Test(resp, connections_above_the_limit_are_closed)
{
	daemon_start(BASE "limits { connections = 2 }\n");
	for (int i = 0; i < 2; i++) {
		int client = client_connect("main");
		client_send(client, "PING\r\n");
		client_expect(client, "+PONG\r\n");
	}
	client_expect_eof(client_connect("main"));
	daemon_finish();
}

#define NO_MEMORY "-OOM command not allowed when used memory > 'maxmemory'.\r\n"

Test(resp, a_reload_raises_the_memory_limit)
{
	daemon_start(BASE "resp { memory = 70 }\n");
	int client = client_connect("main");
	client_send(client, "SET a 1\r\nSET b 2\r\nINCR a\r\nINCR c\r\n");
	client_expect(client, "+OK\r\n" NO_MEMORY ":2\r\n" NO_MEMORY);
	config_write(BASE "resp { memory = 1000 }\n");
	daemon_reload_and_wait();
	client_send(client, "SET b 2\r\nGET a\r\n");
	client_expect(client, "+OK\r\n$1\r\n2\r\n");
	config_write(BASE "resp { memory = -1 }\n");
	daemon_reload_and_wait();
	expect_rejected(2, "resp.memory");
	client_send(client, "GET b\r\n");
	client_expect(client, "$1\r\n2\r\n");
	daemon_finish();
}

Test(resp, a_drain_cuts_no_reply)
{
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	exchange("SET a value\r\n", "+OK\r\n");
	drain_with_clients("GET a\r\nINCRBY n 0\r\nGET a\r\nGET b\r\n",
			   "$5\r\nvalue\r\n:0\r\n$5\r\nvalue\r\n$-1\r\n");
}

Test(resp, counters_are_in_the_stats)
{
	daemon_start(BASE);
	exchange("SET a 1\r\nGET a\r\nGET a\r\nGET b\r\n", "+OK\r\n$1\r\n1\r\n$1\r\n1\r\n$-1\r\n");
	cr_assert_eq(stats_fresh("skeld_resp_commands_total"), 5);
	cr_assert_eq(stats_value("skeld_resp_hits_total"), 2);
	cr_assert_eq(stats_value("skeld_resp_misses_total"), 1);
	cr_assert(log_contains("stats resp: commands=5 hits=2 misses=1"), "%s", log_text());
	daemon_finish();
}

Test(resp, workers_share_the_items)
{
	enum { CLIENTS = 20, ROUNDS = 50 };
	int clients[CLIENTS];
	char text[64];
	daemon_start("workers = 4\nadmin { address = \"\" }\n" LISTEN_MAIN);
	for (size_t i = 0; i < CLIENTS; i++)
		clients[i] = client_connect("main");
	for (int round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < CLIENTS; i++)
			client_send(clients[i], "SET other x\r\nINCR n\r\nDEL other\r\n");
	for (size_t i = 0; i < CLIENTS; i++) {
		client_shut(clients[i]);
		while (recv(clients[i], text, sizeof(text), MSG_DONTWAIT) != 0)
			await_fd(clients[i], POLLIN, deadline(), "EOF");
	}
	exchange("GET n\r\nDBSIZE\r\n", "$4\r\n1000\r\n:1\r\n");
	daemon_finish();
}
