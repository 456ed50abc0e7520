/*
 * The example services proxy.c and chat.c with clients that other projects wrote: iperf3 and nc. A
 * test is skipped if they are not installed; see the file packages in this folder.
 */
/* test: TIMEOUT 180 LABELS all */
#include "client.h"
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

DAEMON_SUITE(proxy_clients);

static const char *port(void)
{
	return strrchr(listener_address("main"), ':') + 1;
}

/* A port that is free. Another program may take it before it is used; the test fails then. */
static unsigned free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	     getsockname(fd, (struct sockaddr *)&a, &length) == 0 && close(fd) == 0);
	return ntohs(a.sin_port);
}

/* The control connection of iperf3 and its data go through the proxy, in both directions. */
Test(proxy_clients, iperf3_sends_bulk_in_both_directions)
{
	char config[512];
	unsigned backend = free_port();
	if (shell_run("command -v iperf3") != 0)
		cr_skip_test("iperf3 is not installed");
	snprintf(config, sizeof(config),
		 BASE "proxy { backend \"a\" { address = \"127.0.0.1:%u\" } }\n", backend);
	daemon_use(PROXY_BINARY);
	daemon_start(config);
	/* The server is busy for a moment after each test, because it reads what the proxy has. */
	cr_assert_eq(
		shell_run("iperf3 -s -B 127.0.0.1 -p %1$u >server 2>&1 & server=$!; "
			  "client() { until iperf3 -c 127.0.0.1 \"$@\" >client 2>&1; do "
			  "grep -E 'busy|refused' client || { cat client; return 1; }; done; }; "
			  "client -p %1$u -n 1K && client -p %2$s -n 100M -P 4 && "
			  "client -p %2$s -n 100M -P 4 -R; "
			  "status=$?; kill $server; exit $status",
			  backend, port()),
		0, "%s", command_out.bytes);
	stats_await_open(0);
	/* A receiver that has seen the end of a test leaves the rest. */
	cr_assert_gt(stats_value("skeld_outgoing_sent_bytes_total"), 50 << 20);
	cr_assert_gt(stats_value("skeld_outgoing_received_bytes_total"), 50 << 20);
	daemon_finish();
}

/* nc ends its input when the room has sent its message back. */
Test(proxy_clients, nc_chats_with_a_client_of_another_worker)
{
	if (shell_run("command -v nc") != 0)
		cr_skip_test("netcat-openbsd is not installed");
	daemon_use(CHAT_BINARY);
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	int listener = client_connect("main");
	client_expect(listener, "name?\n");
	client_send(listener, "listener\n");
	client_expect(listener, "*: listener\n");
	cr_assert_eq(shell_run(": >client; { printf 'nc\\nhello from nc\\n'; until grep -q hello "
			       "client; do :; done; } | "
			       "nc -N 127.0.0.1 %s >client; cat client",
			       port()),
		     0, "%s", command_err.bytes);
	cr_assert(strstr(command_out.bytes, "nc: hello from nc\n"), "%s", command_out.bytes);
	client_expect(listener, "*: nc\nnc: hello from nc\n");
	client_close(listener);
	stats_await_open(0);
	daemon_finish();
}
