/* Outgoing connections in a real service: services/proxy.c. */
/* test: TIMEOUT 180 */
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

DAEMON_SUITE(tcp_proxy, daemon_use(PROXY_BINARY));

/* A backend: a listening socket of the test. */
static int backend_listen(unsigned *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				.sin_port = htons((uint16_t)*port)};
	socklen_t length = sizeof(a);
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	MUST(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
	MUST(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 64) == 0);
	MUST(getsockname(fd, (struct sockaddr *)&a, &length) == 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static int backend_accept(int listener)
{
	int fd = -1;
	AWAIT((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
	return fd;
}

/* Start the proxy with backends on HOST; SECOND may be 0. */
static void start_proxy(const char *host, unsigned first, unsigned second)
{
	char config[1024];
	int n = snprintf(config, sizeof(config),
			 BASE "proxy {\nbackend \"a\" { address = \"%s:%u\" }\n", host, first);
	if (second)
		n += snprintf(config + n, sizeof(config) - (size_t)n,
			      "backend \"b\" { address = \"%s:%u\" }\n", host, second);
	snprintf(config + n, sizeof(config) - (size_t)n, "}\n");
	daemon_start(config);
}

Test(tcp_proxy, each_direction_ends_by_itself)
{
	unsigned port = 0;
	int listener = backend_listen(&port);
	start_proxy("127.0.0.1", port, 0);
	int client = client_connect("main"), server = backend_accept(listener);
	client_send(client, "question");
	client_expect(server, "question");
	client_shut(client);
	char byte;
	ssize_t n;
	AWAIT((n = recv(server, &byte, 1, 0)) == 0);
	client_send(server, "a long answer");
	client_expect(client, "a long answer");
	stats_await("skeld_connections_open", 1);
	close(server);
	client_expect_eof(client);
	stats_await("skeld_outgoing_connections_open", 0);
	cr_assert_eq(stats_value("proxy_relayed_total"), 1);
	close(listener);
	daemon_finish();
}

Test(tcp_proxy, a_server_that_ends_first_still_receives)
{
	unsigned port = 0;
	int listener = backend_listen(&port);
	start_proxy("127.0.0.1", port, 0);
	int client = client_connect("main"), server = backend_accept(listener);
	client_send(server, "greeting");
	MUST(shutdown(server, SHUT_WR) == 0);
	char byte;
	ssize_t n;
	client_expect(client, "greeting");
	AWAIT((n = recv(client, &byte, 1, 0)) == 0);
	client_send(client, "upload");
	client_expect(server, "upload");
	client_close(client);
	AWAIT((n = recv(server, &byte, 1, 0)) == 0);
	stats_await("skeld_outgoing_connections_open", 0);
	close(server);
	close(listener);
	daemon_finish();
}

/* backend_accept() returns before the proxy knows that it is connected. */
static void await_pair(int client, int server)
{
	client_send(client, "hello");
	client_expect(server, "hello");
}

Test(tcp_proxy, a_reset_is_passed_on_as_a_reset)
{
	const struct linger reset = {.l_onoff = 1};
	unsigned port = 0;
	char byte;
	int listener = backend_listen(&port);
	start_proxy("127.0.0.1", port, 0);
	int client = client_connect("main"), server = backend_accept(listener);
	await_pair(client, server);
	client_reset(client);
	AWAIT(recv(server, &byte, 1, 0) < 0 && errno == ECONNRESET);
	close(server);
	client = client_connect("main");
	server = backend_accept(listener);
	await_pair(client, server);
	MUST(setsockopt(server, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(server);
	AWAIT(recv(client, &byte, 1, 0) < 0 && errno == ECONNRESET);
	stats_await_open(0);
	close(listener);
	daemon_finish();
}

Test(tcp_proxy, a_backend_that_is_down_is_skipped_until_it_is_back)
{
	unsigned dead = 0, port = 0;
	int listener = backend_listen(&port);
	close(backend_listen(&dead));
	start_proxy("127.0.0.1", dead, port);
	for (int i = 0; i < 4; i++) {
		int client = client_connect("main"), server = backend_accept(listener);
		client_send(client, "hello");
		client_expect(server, "hello");
		close(server);
		client_expect_eof(client);
	}
	stats_dump();
	cr_assert_eq(stats_value("proxy_backend_failures_total"), 1, "it is not tried again");
	cr_assert_eq(stats_value("skeld_outgoing_connections_total{result=\"failed\"}"), 1);
	cr_assert_eq(log_count("backend failed:"), 1);
	/* A reload forgets; the backend is back. */
	int back = backend_listen(&dead);
	daemon_reload_and_wait();
	close(listener);
	int client = client_connect("main"), server = -1;
	AWAIT((server = accept4(back, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
	close(server);
	client_expect_eof(client);
	close(back);
	daemon_finish();
}

Test(tcp_proxy, without_a_backend_clients_are_reset)
{
	unsigned dead = 0;
	char byte;
	close(backend_listen(&dead));
	start_proxy("127.0.0.1", dead, 0);
	/* The reset may come before the test has noticed that it is connected. */
	const char *port = strchr(listener_address("main"), ':') + 1;
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				.sin_port = htons((uint16_t)atoi(port))};
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(client, (struct sockaddr *)&a, sizeof(a)) == 0)
		cr_assert_lt(recv(client, &byte, 1, 0), 0);
	cr_assert_eq(errno, ECONNRESET);
	close(client);
	daemon_finish();
}

Test(tcp_proxy, a_backend_may_be_a_name)
{
	unsigned port = 0;
	int listener = backend_listen(&port);
	start_proxy("localhost", port, 0);
	int client = client_connect("main"), server = backend_accept(listener);
	client_send(client, "hello");
	client_expect(server, "hello");
	close(server);
	client_expect_eof(client);
	close(listener);
	daemon_finish();
}

/* Bytes. */

static unsigned char byte_at(uint64_t offset)
{
	return (unsigned char)(offset * 31 + offset / 4099);
}

static void fill(unsigned char *bytes, uint64_t offset, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = byte_at(offset + i);
}

/* Send as much of the stream as the socket takes. Returns false if it takes nothing. */
static bool send_stream(int fd, uint64_t *offset, uint64_t end)
{
	unsigned char bytes[16384];
	uint64_t left = end - *offset;
	size_t n = left < sizeof(bytes) ? (size_t)left : sizeof(bytes);
	fill(bytes, *offset, n);
	ssize_t sent = n ? send(fd, bytes, n, MSG_NOSIGNAL) : 0;
	MUST(sent >= 0 || errno == EAGAIN);
	*offset += sent > 0 ? (uint64_t)sent : 0;
	return sent > 0;
}

static bool receive_stream(int fd, uint64_t *offset)
{
	unsigned char bytes[16384], expected[16384];
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
	MUST(n > 0 || (n < 0 && errno == EAGAIN));
	if (n < 0)
		return false;
	fill(expected, *offset, (size_t)n);
	cr_assert(memcmp(bytes, expected, (size_t)n) == 0, "behind %llu bytes",
		  (unsigned long long)*offset);
	*offset += (uint64_t)n;
	return true;
}

Test(tcp_proxy, bulk_flows_both_ways_and_stays_bounded_behind_a_stuck_reader)
{
	/* More than the buffers of the kernel hold, of which the largest has 32 MiB (tcp(7)). */
	const uint64_t total = 96 << 20, one_way = 16 << 20;
	uint64_t up = 0, up_got = 0, down = 0, down_got = 0;
	unsigned port = 0;
	int listener = backend_listen(&port);
	start_proxy("127.0.0.1", port, 0);
	int client = client_connect("main"), server = backend_accept(listener);
	/* The server reads nothing: the client is paused, the other direction goes on. */
	while (down_got < one_way) {
		send_stream(client, &up, total);
		send_stream(server, &down, total);
		receive_stream(client, &down_got);
	}
	cr_assert_lt(up, total, "the client was never paused");
	stats_dump();
	cr_assert_leq(stats_value("skeld_buffered_bytes"), 4 * 65536);
	while (up_got < total || down_got < total) {
		bool busy = send_stream(client, &up, total);
		busy = send_stream(server, &down, total) || busy;
		busy = receive_stream(client, &down_got) || busy;
		busy = receive_stream(server, &up_got) || busy;
		if (!busy) {
			struct pollfd both[] = {{.fd = client, .events = POLLIN},
						{.fd = server, .events = POLLIN}};
			cr_assert_gt(poll(both, 2, 30000), 0, "nothing moves: %llu %llu",
				     (unsigned long long)up_got, (unsigned long long)down_got);
		}
	}
	close(server);
	client_expect_eof(client);
	close(listener);
	daemon_finish();
}

Test(tcp_proxy, a_drain_waits_for_pairs)
{
	unsigned port = 0;
	int listener = backend_listen(&port);
	start_proxy("127.0.0.1", port, 0);
	int client = client_connect("main"), server = backend_accept(listener);
	client_send(client, "begin");
	client_expect(server, "begin");
	daemon_signal(SIGTERM);
	notify_wait("STOPPING=1");
	client_send(server, "middle");
	client_expect(client, "middle");
	client_send(client, "end");
	client_expect(server, "end");
	close(server);
	client_expect_eof(client);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("drained:"));
	close(listener);
}

Test(tcp_proxy, a_reload_replaces_the_backends)
{
	unsigned first = 0, second = 0;
	int listeners[] = {backend_listen(&first), backend_listen(&second)};
	start_proxy("127.0.0.1", first, 0);
	int client = client_connect("main"), server = backend_accept(listeners[0]);
	config_write(BASE "proxy { backend \"b\" { address = \"127.0.0.1:%u\" } }\n", second);
	daemon_reload_and_wait();
	cr_assert(log_contains("proxy.backend \"a\": removed"), "%s", log_text());
	cr_assert(log_contains("proxy.backend \"b\": added"), "%s", log_text());
	int new_client = client_connect("main"), new_server = backend_accept(listeners[1]);
	client_send(new_client, "new");
	client_expect(new_server, "new");
	client_send(client, "old");
	client_expect(server, "old");
	for (size_t i = 0; i < 2; i++)
		close(listeners[i]);
	close(server);
	close(new_server);
	client_expect_eof(client);
	client_expect_eof(new_client);
	daemon_finish();
}
