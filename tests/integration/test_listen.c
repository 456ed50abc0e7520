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

DAEMON_SUITE(listen);

#define PLAIN "workers = 1\nadmin { address = \"\" }\n"

static void expect_refused(const char *address)
{
	int fd = client_try(address);
	cr_assert_lt(fd, 0, "%s accepts", address);
}

static void copy_address(const char *title, char address[static 128])
{
	snprintf(address, 128, "%s", listener_address(title));
}

Test(listen, a_reload_adds_a_listener)
{
	daemon_start(BASE);
	int client = client_connect("main");
	config_write(BASE "listen \"second\" { address = \"127.0.0.1:0\" }\n");
	daemon_reload_and_wait();
	client_echo(client_connect("second"), "new\n");
	client_echo(client_connect("main"), "old\n");
	client_echo(client, "open all the while\n");
	daemon_finish();
}

Test(listen, a_reload_removes_a_listener)
{
	char second[128];
	daemon_start(BASE "listen \"second\" { address = \"127.0.0.1:0\" }\n");
	copy_address("second", second);
	int client = client_connect("second");
	client_echo(client, "before\n");
	config_write(BASE);
	daemon_reload_and_wait();
	expect_refused(second);
	client_echo(client, "its connections stay\n");
	client_echo(client_connect("main"), "the other stays\n");
	daemon_finish();
}

Test(listen, the_log_names_a_renamed_listener_as_its_section)
{
	char second[128], text[256];
	daemon_start(BASE "listen \"second\" { address = \"127.0.0.1:0\" }\n");
	copy_address("second", second);
	config_write("%slisten \"third\" { address = \"%s\" }\n", BASE, second);
	daemon_reload_and_wait();
	config_write(BASE);
	daemon_reload_and_wait();
	snprintf(text, sizeof(text), "no longer listening: %s (third)", second);
	cr_assert(log_contains(text), "%s", log_text());
	daemon_finish();
}

Test(listen, a_reload_moves_a_listener)
{
	char old[128];
	daemon_start(BASE);
	copy_address("main", old);
	int client = client_connect("main");
	client_echo(client, "before\n");
	config_write(PLAIN "listen \"main\" { address = \"127.0.0.2:0\" }\n");
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	cr_assert_eq(strncmp(listener_address("main"), "127.0.0.2:", 10), 0);
	client_echo(client_connect("main"), "moved\n");
	expect_refused(old);
	client_echo(client, "open all the while\n");
	daemon_finish();
}

Test(listen, an_unchanged_listener_keeps_its_port)
{
	char address[128];
	daemon_start(BASE);
	copy_address("main", address);
	config_write(BASE "drain_timeout = 5\n");
	daemon_reload_and_wait();
	int client = client_try(address);
	cr_assert_geq(client, 0);
	client_echo(client, "same port\n");
	daemon_finish();
}

Test(listen, a_port_chosen_by_the_kernel_can_be_configured_later)
{
	char address[128];
	daemon_start(BASE);
	copy_address("main", address);
	int client = client_connect("main");
	config_write(PLAIN "listen \"main\" { address = \"%s\" }\n", address);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	client_echo(client_try(address), "there\n");
	client_echo(client, "still there\n");
	daemon_finish();
}

Test(listen, two_listeners_can_swap_their_addresses)
{
	char a[64], b[64];
	path_in("a", a);
	path_in("b", b);
	for (int i = 0; i < 3; i++) {
		config_write(PLAIN "listen \"a\" { address = \"unix:%s\" }\n"
				   "listen \"b\" { address = \"unix:%s\" }\n",
			     i % 2 ? b : a, i % 2 ? a : b);
		if (i == 0) {
			daemon_spawn();
			notify_wait("READY=1");
		} else {
			daemon_reload_and_wait();
			expect_status("last_reload", "ok");
		}
		client_echo(client_unix("a"), "there\n");
		client_echo(client_unix("b"), "there\n");
	}
	daemon_finish();
}

Test(listen, an_address_in_use_rejects_the_whole_reload)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof(in);
	int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(bind(taken, (struct sockaddr *)&in, n) == 0 && listen(taken, 1) == 0);
	MUST(getsockname(taken, (struct sockaddr *)&in, &n) == 0);

	char before[sizeof(last_value)], address[32];
	snprintf(address, sizeof(address), "127.0.0.1:%d", ntohs(in.sin_port));
	daemon_start(BASE);
	int client = client_connect("main");
	client_echo(client, "before\n");
	strcpy(before, proc_fds());
	config_write(PLAIN "drain_timeout = 3\nlisten \"first\" { address = \"unix:%s/first\" }\n"
			   "listen \"second\" { address = \"%s\" }\n",
		     test_dir, address);
	daemon_reload_and_wait();
	expect_rejected(1, address);
	cr_assert_not_null(strstr(status_get("last_reload_error"), "skeld.conf:5: "), "%s",
			   last_value);
	const char *after = proc_fds();
	cr_assert(strcmp(before, after) == 0, "before:\n%s\nafter:\n%s", before, after);
	char path[64];
	cr_assert_neq(access(path_in("first", path), F_OK), 0, "%s was left", path);
	client_echo(client, "served on\n");
	client_echo(client_connect("main"), "and accepted on\n");
	close(taken);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	daemon_finish();
}

/* A reload rejects an address that a start would reject, also if this daemon, or a process with
 * SO_REUSEPORT, has the port. */
Test(listen, only_a_removed_listener_frees_its_address)
{
	char address[128], config[256];
	int one = 1, other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	daemon_start(BASE);
	copy_address("main", address);
	const char *port = strchr(address, ':');
	snprintf(config, sizeof(config), PLAIN "listen \"main\" { address = \"%s\" }\n", address);

	config_write("%slisten \"all\" { address = \"0.0.0.0%s\" }\n", config, port);
	daemon_reload_and_wait();
	expect_rejected(1, "listen \"all\" and listen \"main\" have the same address");

	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_addr = {htonl(INADDR_LOOPBACK + 1)},
				 .sin_port = htons((uint16_t)atoi(port + 1))};
	MUST(setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0);
	MUST(bind(other, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(other, 1) == 0);
	config_write(PLAIN "listen \"main\" { address = \"127.0.0.2%s\" }\n", port);
	daemon_reload_and_wait();
	expect_rejected(1, "cannot listen on 127.0.0.2:");
	close(other);

	config_write(PLAIN "listen \"all\" { address = \"0.0.0.0%s\" }\n", port);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	client_echo(client_try(address), "there\n");
	daemon_finish();
}

Test(listen, an_address_in_use_at_the_start_is_reported)
{
	char address[128];
	daemon_start(BASE);
	copy_address("main", address);
	MUST(mkdir("second", 0755) == 0);
	config_write(PLAIN "listen \"main\" { address = \"%s\" }\n", address);
	cr_assert_neq(skeld_run("-c", config_path, "-r", "second", NULL), 0);
	cr_assert(strstr(command_err.bytes, address), "%s", command_err.bytes);
	cr_assert(!file_exists("second/skeld.pid"));
	daemon_finish();
}

Test(listen, a_unix_socket_is_served)
{
	char path[64];
	config_write(PLAIN "listen \"u\" { address = \"unix:%s/sock\" }\n", test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	client_echo(client_connect("u"), "over unix\n");
	daemon_reload_and_wait();
	client_echo(client_connect("u"), "after a reload\n");
	daemon_finish();
	cr_assert_neq(access(path_in("sock", path), F_OK), 0, "%s was left", path);
}

Test(listen, a_stale_unix_socket_is_replaced)
{
	config_write(PLAIN "listen \"u\" { address = \"unix:%s/sock\" }\n", test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	cr_assert_eq(daemon_stop(SIGKILL), 128 + SIGKILL);
	daemon_spawn();
	notify_wait("READY=1");
	client_echo(client_connect("u"), "again\n");
	daemon_finish();
}

Test(listen, a_file_instead_of_a_unix_socket_is_not_changed)
{
	char path[64];
	daemon_start(BASE);
	file_write_bytes(path_in("precious", path), "data\n", 5);
	config_write(PLAIN "listen \"u\" { address = \"unix:%s\" }\n", path);
	daemon_reload_and_wait();
	expect_rejected(1, "precious");
	cr_assert_str_eq(file_text(path), "data\n");
	daemon_finish();
	cr_assert_str_eq(file_text(path), "data\n");
}

Test(listen, ipv6_is_served)
{
	if (!has_ipv6())
		cr_skip_test("no IPv6 here");
	daemon_start(PLAIN "listen \"six\" { address = \"[::1]:0\" }\n");
	cr_assert_eq(strncmp(listener_address("six"), "[::1]:", 6), 0);
	daemon_finish();
}

/* The daemon is stopped while CLIENTS connect: the kernel completes the connections. */
static void connect_while_stopped(const char *title, int clients[], size_t n)
{
	char address[128];
	copy_address(title, address);
	MUST(kill(daemon_pid, SIGSTOP) == 0);
	for (size_t i = 0; i < n; i++) {
		clients[i] = client_try(address);
		cr_assert_geq(clients[i], 0);
		client_send_bytes(clients[i], "early\n", 6);
	}
}

Test(listen, a_waiting_connection_of_a_removed_listener_is_served)
{
	enum { CLIENTS = 20 };
	int clients[CLIENTS];
	daemon_start(BASE "listen \"second\" { address = \"127.0.0.1:0\" }\n");
	config_write(BASE);
	connect_while_stopped("second", clients, CLIENTS);
	daemon_signal(SIGHUP);
	daemon_signal(SIGCONT);
	notify_wait("RELOADING=1");
	notify_wait("READY=1");
	for (size_t i = 0; i < CLIENTS; i++) {
		client_expect_bytes(clients[i], "early\n", 6);
		client_echo(clients[i], "and on\n");
	}
	daemon_finish();
}

Test(listen, a_waiting_connection_is_answered_by_a_stop)
{
	enum { CLIENTS = 20 };
	int clients[CLIENTS];
	daemon_start(BASE);
	connect_while_stopped("main", clients, CLIENTS);
	daemon_signal(SIGTERM);
	daemon_signal(SIGCONT);
	for (size_t i = 0; i < CLIENTS; i++) {
		client_expect_bytes(clients[i], "early\n", 6);
		client_expect_eof(clients[i]);
	}
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(listen, a_half_done_handshake_with_a_moved_listener_is_served)
{
	char old[128];
	daemon_start(BASE);
	copy_address("main", old);
	config_write(PLAIN "listen \"main\" { address = \"127.0.0.2:0\" }\n");
	int client = client_connect_half("main");
	daemon_reload_and_wait();
	expect_refused(old);
	client_echo(client, "late\n");
	daemon_finish();
}

/* The removed listener is closed a second later. */
Test(listen, an_address_can_be_left_and_used_again_at_once)
{
	char old[128];
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	copy_address("main", old);
	for (int i = 0; i < 6; i++) {
		config_write("workers = 2\nadmin { address = \"\" }\n"
			     "listen \"main\" { address = \"%s%s\" }\n",
			     i % 3 == 0	  ? "127.0.0.2"
			     : i % 3 == 1 ? "0.0.0.0"
					  : "127.0.0.1",
			     strchr(old, ':'));
		daemon_reload_and_wait();
		expect_status("last_reload", "ok");
		if (i % 3 == 0)
			expect_refused(old);
		else
			for (int k = 0; k < 8; k++)
				client_echo(client_try(old), "there\n");
	}
	daemon_finish();
}
