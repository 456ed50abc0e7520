/* Behind a balancer: the log has the client of the PROXY header. */
/* test: TIMEOUT 180 */
#include "headers.h"
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

DAEMON_SUITE(proxy);

#define PLAIN	"workers = 1\nadmin { address = \"\" }\nlog { level = \"debug\" }\n"
#define PROXIED "listen \"main\" { address = \"127.0.0.1:0\" proxy = true }\n"
#define CLOSED	"skeld_connections_closed_total{reason=\"proxy\"}"

static int connect_with(const char *header, size_t n)
{
	int fd = client_connect("main");
	client_send_bytes(fd, header, n);
	return fd;
}
#define CONNECT_WITH(literal) connect_with(literal, SIZE(literal))

Test(proxy, the_log_has_the_client_and_the_balancer)
{
	char balancer[32], line[128];
	daemon_start(PLAIN PROXIED);
	int client = CONNECT_WITH(V4);
	client_echo(client, "hello\n");
	client_name(client, balancer);
	snprintf(line, sizeof(line), "%s: client address: 192.0.2.7:4711\n", balancer);
	cr_assert(log_contains(line), "%s", log_text());
	client_close(client);
	AWAIT(log_contains("192.0.2.7:4711: closed: reason=peer"));
	client_echo(CONNECT_WITH(V6), "hello\n");
	cr_assert(log_contains(": client address: [2001:db8::7]:4711\n"), "%s", log_text());
	daemon_finish();
}

Test(proxy, without_proxy_a_header_is_data)
{
	daemon_start(PLAIN LISTEN_MAIN);
	int client = CONNECT_WITH(V4);
	client_expect_bytes(client, V4, SIZE(V4));
	cr_assert(!log_contains("client address:"), "%s", log_text());
	daemon_finish();
}

Test(proxy, a_banner_is_sent_after_the_header)
{
	daemon_start(PLAIN PROXIED "echo { banner = \"hi\\n\" }\n");
	int client = client_connect("main"), other = CONNECT_WITH(LOCAL_CHECK);
	client_expect_bytes(other, "hi\n", 3);
	char byte; /* the first client has no answer yet */
	cr_assert_eq(recv(client, &byte, 1, MSG_DONTWAIT), -1);
	client_send_bytes(client, V4 "x", SIZE(V4) + 1);
	client_expect_bytes(client, "hi\nx", 4);
	daemon_finish();
}

Test(proxy, a_header_can_arrive_byte_by_byte)
{
	daemon_start(PLAIN PROXIED);
	int client = client_connect("main");
	for (size_t i = 0; i < SIZE(V4_TLV); i++) {
		client_send_bytes(client, &V4_TLV[i], 1);
		client_echo(CONNECT_WITH(LOCAL_CHECK), "the daemon turns\n");
	}
	client_echo(client, "hello\n");
	cr_assert(log_contains(": client address: 192.0.2.7:4711\n"), "%s", log_text());
	daemon_finish();
}

Test(proxy, an_invalid_header_closes_and_is_counted)
{
	daemon_start(PLAIN PROXIED);
	client_expect_eof(CONNECT_WITH("GET / HTTP/1.1\r\n\r\n"));
	cr_assert(log_contains(": closed: expected a PROXY protocol version 2 header, received "
			       "other data; "),
		  "%s", log_text());
	for (int i = 0; i < 20; i++)
		client_expect_eof(CONNECT_WITH(VERSION_1));
	client_expect_eof(CONNECT_WITH(HEAD("\x21", "\x11", "\0", "\0")));
	stats_await(CLOSED, 22);
	cr_assert_eq(stats_value("skeld_echo_messages_total"), 0);
	cr_assert_lt(log_count("expected a PROXY protocol version 2 header"), 22, "%s", log_text());
	client_echo(CONNECT_WITH(V4), "others are served\n");
	daemon_finish();
}

Test(proxy, an_incomplete_header_is_closed_in_time)
{
	daemon_start(PLAIN PROXIED "limits { idle_timeout = 0 }\n");
	int client = connect_with(V4, 20), talks = CONNECT_WITH(V4);
	client_echo(talks, "hello\n");
	client_expect_eof(client); /* after five seconds */
	cr_assert(log_contains("header, received nothing in time; "), "%s", log_text());
	stats_await(CLOSED, 1);
	client_echo(talks, "still there\n");
	daemon_finish();
}

Test(proxy, a_reload_switches_proxy_on_and_off)
{
	daemon_start(PLAIN LISTEN_MAIN);
	int before = client_connect("main");
	client_echo(before, "hello\n");
	config_write(PLAIN PROXIED);
	daemon_reload_and_wait();
	cr_assert(log_contains("listen \"main\".proxy: false -> true\n"), "%s", log_text());
	int proxied = CONNECT_WITH(V4);
	client_echo(proxied, "hello\n");
	cr_assert(log_contains(": client address: 192.0.2.7:4711\n"), "%s", log_text());
	client_expect_eof(CONNECT_WITH("x"));
	config_write(PLAIN LISTEN_MAIN);
	daemon_reload_and_wait();
	client_echo(client_connect("main"), "no header\n");
	client_echo(before, "open all the while\n");
	client_echo(proxied, "open all the while\n");
	daemon_finish();
}

/* The kernel completed these connections before the listener was removed or the stop began: their
 * headers are read. */
Test(proxy, waiting_connections_of_a_removed_listener_are_served)
{
	enum { CLIENTS = 20 };
	int clients[CLIENTS];
	daemon_start(PLAIN PROXIED "listen \"stays\" { address = \"127.0.0.2:0\" }\n");
	config_write(PLAIN "listen \"stays\" { address = \"127.0.0.2:0\" }\n");
	daemon_signal(SIGSTOP);
	for (size_t i = 0; i < CLIENTS; i++)
		clients[i] = CONNECT_WITH(V4 "early\n");
	daemon_signal(SIGHUP);
	daemon_signal(SIGCONT);
	for (size_t i = 0; i < CLIENTS; i++) {
		client_expect_bytes(clients[i], "early\n", 6);
		client_echo(clients[i], "and on\n");
	}
	cr_assert_eq(log_count(": client address: 192.0.2.7:4711\n"), CLIENTS);
	daemon_finish();
}

Test(proxy, waiting_connections_are_answered_by_a_stop)
{
	enum { CLIENTS = 20 };
	int clients[CLIENTS];
	daemon_start(PLAIN PROXIED);
	daemon_signal(SIGSTOP);
	for (size_t i = 0; i < CLIENTS; i++)
		clients[i] = CONNECT_WITH(V4 "early\n");
	daemon_signal(SIGTERM);
	daemon_signal(SIGCONT);
	for (size_t i = 0; i < CLIENTS; i++) {
		client_expect_bytes(clients[i], "early\n", 6);
		client_expect_eof(clients[i]);
	}
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(proxy, proxy_works_on_a_unix_socket)
{
	config_write(PLAIN "listen \"u\" { address = \"unix:%s/u\" proxy = true }\n", test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	int client = client_unix("u");
	client_send_bytes(client, V4, SIZE(V4));
	client_echo(client, "hello\n");
	cr_assert(log_contains("a unix peer: client address: 192.0.2.7:4711\n"), "%s", log_text());
	client_close(client);
	AWAIT(log_contains("192.0.2.7:4711: closed: reason=peer"));
	daemon_finish();
}

Test(proxy, the_self_test_ignores_proxy)
{
	config_write(PLAIN PROXIED);
	cr_assert_eq(skeld_run("-c", config_path, "--self-test=order", NULL), 0, "%s",
		     command_out.bytes);
}

Test(proxy, proxy_must_be_true_or_false)
{
	config_write("listen \"main\" {\n\tproxy = maybe\n}\n");
	cr_assert_eq(skeld_run("-c", config_path, "-t", NULL), 78);
	cr_assert(strstr(command_err.bytes, ":2: listen.proxy = \"maybe\": expected true or false"),
		  "%s", command_err.bytes);
	config_write(PROXIED);
	cr_assert_eq(skeld_run("-c", config_path, "-T", NULL), 0);
	cr_assert(strstr(command_out.bytes, "\tproxy = true\n"), "%s", command_out.bytes);
}
