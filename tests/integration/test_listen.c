/* A reload adds, removes and moves listeners, and loses no connection. */
#include "client.h"
#include "observe.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

FIXTURE_SUITE(listen);

#define PLAIN "workers = 1\nadmin { address = \"\" }\n"

static void expect_refused(const char *address)
{
	int fd = client_try(f, address);
	cr_assert_lt(fd, 0, "%s accepts", address);
}

static void copy_address(const char *title, char address[static 128])
{
	snprintf(address, 128, "%s", listener_address(f, title));
}

Test(listen, a_reload_adds_a_listener)
{
	daemon_start(f, BASE);
	int client = client_connect(f, "main");
	config_write(f, BASE "listen \"second\" { address = \"127.0.0.1:0\" }\n");
	daemon_reload_and_wait(f);
	client_echo(f, client_connect(f, "second"), "new\n");
	client_echo(f, client_connect(f, "main"), "old\n");
	client_echo(f, client, "open all the while\n");
	daemon_finish(f);
}

Test(listen, a_reload_removes_a_listener)
{
	char second[128];
	daemon_start(f, BASE "listen \"second\" { address = \"127.0.0.1:0\" }\n");
	copy_address("second", second);
	int client = client_connect(f, "second");
	client_echo(f, client, "before\n");
	config_write(f, BASE);
	daemon_reload_and_wait(f);
	expect_refused(second);
	client_echo(f, client, "its connections stay\n");
	client_echo(f, client_connect(f, "main"), "the other stays\n");
	daemon_finish(f);
}

Test(listen, a_reload_moves_a_listener)
{
	char old[128];
	daemon_start(f, BASE);
	copy_address("main", old);
	int client = client_connect(f, "main");
	client_echo(f, client, "before\n");
	config_write(f, PLAIN "listen \"main\" { address = \"127.0.0.2:0\" }\n");
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "ok");
	cr_assert_eq(strncmp(listener_address(f, "main"), "127.0.0.2:", 10), 0);
	client_echo(f, client_connect(f, "main"), "moved\n");
	expect_refused(old);
	client_echo(f, client, "open all the while\n");
	daemon_finish(f);
}

Test(listen, an_unchanged_listener_keeps_its_port)
{
	char address[128];
	daemon_start(f, BASE);
	copy_address("main", address);
	config_write(f, BASE "drain_timeout = 5\n");
	daemon_reload_and_wait(f);
	int client = client_try(f, address);
	cr_assert_geq(client, 0);
	client_echo(f, client, "same port\n");
	daemon_finish(f);
}

Test(listen, a_port_chosen_by_the_kernel_can_be_configured_later)
{
	char address[128];
	daemon_start(f, BASE);
	copy_address("main", address);
	int client = client_connect(f, "main");
	config_write(f, PLAIN "listen \"main\" { address = \"%s\" }\n", address);
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "ok");
	client_echo(f, client_try(f, address), "there\n");
	client_echo(f, client, "still there\n");
	daemon_finish(f);
}

Test(listen, two_listeners_can_swap_their_addresses)
{
	char a[64], b[64];
	path_in(f, "a", a);
	path_in(f, "b", b);
	for (int i = 0; i < 3; i++) {
		config_write(f,
			     PLAIN "listen \"a\" { address = \"unix:%s\" }\n"
				   "listen \"b\" { address = \"unix:%s\" }\n",
			     i % 2 ? b : a, i % 2 ? a : b);
		if (i == 0) {
			daemon_spawn(f);
			notify_wait(f, "READY=1");
		} else {
			daemon_reload_and_wait(f);
			expect_status(f, "last_reload", "ok");
		}
		client_echo(f, client_unix(f, "a"), "there\n");
		client_echo(f, client_unix(f, "b"), "there\n");
	}
	daemon_finish(f);
}

Test(listen, an_address_in_use_rejects_the_whole_reload)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof(in);
	int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(bind(taken, (struct sockaddr *)&in, n) == 0 && listen(taken, 1) == 0);
	MUST(getsockname(taken, (struct sockaddr *)&in, &n) == 0);

	char before[sizeof(f->value)], address[32];
	snprintf(address, sizeof(address), "127.0.0.1:%d", ntohs(in.sin_port));
	daemon_start(f, BASE);
	int client = client_connect(f, "main");
	client_echo(f, client, "before\n");
	strcpy(before, proc_fds(f));
	config_write(f,
		     PLAIN "drain_timeout = 3\nlisten \"first\" { address = \"unix:%s/first\" }\n"
			   "listen \"second\" { address = \"%s\" }\n",
		     f->dir, address);
	daemon_reload_and_wait(f);
	expect_rejected(f, 1, address);
	cr_assert_not_null(strstr(status_get(f, "last_reload_error"), "skeld.conf:5: "), "%s",
			   f->value);
	const char *after = proc_fds(f);
	cr_assert(strcmp(before, after) == 0, "before:\n%s\nafter:\n%s", before, after);
	char path[64];
	cr_assert_neq(access(path_in(f, "first", path), F_OK), 0, "%s was left", path);
	client_echo(f, client, "served on\n");
	client_echo(f, client_connect(f, "main"), "and accepted on\n");
	close(taken);
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "ok");
	daemon_finish(f);
}

/* A reload rejects an address that a start would reject, also if this daemon, or a process with
 * SO_REUSEPORT, has the port. */
Test(listen, only_a_removed_listener_frees_its_address)
{
	char address[128], config[256];
	int one = 1, other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	daemon_start(f, BASE);
	copy_address("main", address);
	const char *port = strchr(address, ':');
	snprintf(config, sizeof(config), PLAIN "listen \"main\" { address = \"%s\" }\n", address);

	config_write(f, "%slisten \"all\" { address = \"0.0.0.0%s\" }\n", config, port);
	daemon_reload_and_wait(f);
	expect_rejected(f, 1, "listen \"all\" and listen \"main\" have the same address");

	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_addr = {htonl(INADDR_LOOPBACK + 1)},
				 .sin_port = htons((uint16_t)atoi(port + 1))};
	MUST(setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0);
	MUST(bind(other, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(other, 1) == 0);
	config_write(f, PLAIN "listen \"main\" { address = \"127.0.0.2%s\" }\n", port);
	daemon_reload_and_wait(f);
	expect_rejected(f, 1, "cannot listen on 127.0.0.2:");
	close(other);

	config_write(f, PLAIN "listen \"all\" { address = \"0.0.0.0%s\" }\n", port);
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "ok");
	client_echo(f, client_try(f, address), "there\n");
	daemon_finish(f);
}

Test(listen, an_address_in_use_at_the_start_is_reported)
{
	char address[128];
	daemon_start(f, BASE);
	copy_address("main", address);
	struct fixture *second = fixture_new();
	config_write(second, PLAIN "listen \"main\" { address = \"%s\" }\n", address);
	daemon_spawn(second);
	cr_assert_neq(daemon_wait_exit(second), 0);
	cr_assert(log_contains(second, address), "%s", log_text(second));
	cr_assert(!runtime_file_exists(second, "skeld.pid"));
	fixture_free(second);
	daemon_finish(f);
}

Test(listen, a_unix_socket_is_served)
{
	char path[64];
	config_write(f, PLAIN "listen \"u\" { address = \"unix:%s/sock\" }\n", f->dir);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
	client_echo(f, client_connect(f, "u"), "over unix\n");
	daemon_reload_and_wait(f);
	client_echo(f, client_connect(f, "u"), "after a reload\n");
	daemon_finish(f);
	cr_assert_neq(access(path_in(f, "sock", path), F_OK), 0, "%s was left", path);
}

Test(listen, a_stale_unix_socket_is_replaced)
{
	config_write(f, PLAIN "listen \"u\" { address = \"unix:%s/sock\" }\n", f->dir);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
	cr_assert_eq(daemon_stop(f, SIGKILL), 128 + SIGKILL);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
	client_echo(f, client_connect(f, "u"), "again\n");
	daemon_finish(f);
}

Test(listen, a_file_instead_of_a_unix_socket_is_not_changed)
{
	char path[64];
	daemon_start(f, BASE);
	file_write(f, path_in(f, "precious", path), "data\n", 5);
	config_write(f, PLAIN "listen \"u\" { address = \"unix:%s\" }\n", path);
	daemon_reload_and_wait(f);
	expect_rejected(f, 1, "precious");
	cr_assert_str_eq(file_text(f, path), "data\n");
	daemon_finish(f);
	cr_assert_str_eq(file_text(f, path), "data\n");
}

Test(listen, ipv6_is_served)
{
	int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	bool possible = probe >= 0 && bind(probe, (struct sockaddr *)&in6, sizeof(in6)) == 0;
	close(probe);
	if (!possible)
		cr_skip_test("no IPv6 here");
	daemon_start(f, PLAIN "listen \"six\" { address = \"[::1]:0\" }\n");
	cr_assert_eq(strncmp(listener_address(f, "six"), "[::1]:", 6), 0);
	daemon_finish(f);
}

/* The daemon is stopped while CLIENTS connect: the kernel completes the connections. */
static void connect_while_stopped(const char *title, int clients[], size_t n)
{
	char address[128];
	copy_address(title, address);
	MUST(kill(f->pid, SIGSTOP) == 0);
	for (size_t i = 0; i < n; i++) {
		clients[i] = client_try(f, address);
		cr_assert_geq(clients[i], 0);
		client_send(f, clients[i], "early\n", 6);
	}
}

Test(listen, a_waiting_connection_of_a_removed_listener_is_served)
{
	enum { CLIENTS = 20 };
	int clients[CLIENTS];
	daemon_start(f, BASE "listen \"second\" { address = \"127.0.0.1:0\" }\n");
	config_write(f, BASE);
	connect_while_stopped("second", clients, CLIENTS);
	daemon_signal(f, SIGHUP);
	daemon_signal(f, SIGCONT);
	notify_wait(f, "RELOADING=1");
	notify_wait(f, "READY=1");
	for (size_t i = 0; i < CLIENTS; i++) {
		client_expect(f, clients[i], "early\n", 6);
		client_echo(f, clients[i], "and on\n");
	}
	daemon_finish(f);
}

Test(listen, a_waiting_connection_is_answered_by_a_stop)
{
	enum { CLIENTS = 20 };
	int clients[CLIENTS];
	daemon_start(f, BASE);
	connect_while_stopped("main", clients, CLIENTS);
	daemon_signal(f, SIGTERM);
	daemon_signal(f, SIGCONT);
	for (size_t i = 0; i < CLIENTS; i++) {
		client_expect(f, clients[i], "early\n", 6);
		client_expect_eof(f, clients[i]);
	}
	cr_assert_eq(daemon_wait_exit(f), 0);
}
