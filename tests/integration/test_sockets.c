/* Sockets that the service manager passes (sd_listen_fds(3)) and stores (FDSTORE). */
/* test: NEEDS ADMIN SOCKETS */
#include "client.h"
#include "http.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { PASSED_MAX = 72, FIRST = 3 };

/* The descriptors that the next daemon gets, from 3 on. */
static int passed[PASSED_MAX];
static size_t n_passed;
static char names[4096];
static const char *count;

static void setup(void)
{
	daemon_fixture_enter();
	n_passed = 0;
	*names = '\0';
	count = NULL;
}

TestSuite(sockets, .init = setup, .fini = daemon_fixture_leave);

/* Runs in the child before exec. The descriptors to pass have higher numbers than their targets. */
static void pass(void)
{
	char text[16];
	for (size_t i = 0; i < n_passed; i++)
		dup2(passed[i], FIRST + (int)i);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	snprintf(text, sizeof(text), "%zu", n_passed);
	setenv("LISTEN_FDS", count ? count : text, 1);
	setenv("LISTEN_FDNAMES", names, 1);
}

static void pass_descriptor(int fd, const char *name)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, 200);
	MUST(fd >= 0 && high >= 0 && n_passed < PASSED_MAX);
	close(fd);
	passed[n_passed++] = high;
	snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", *names ? ":" : "",
		 name);
	daemon_prepare = pass;
}

/* A listening socket on a free port, and its address. */
static int listening(char address[32])
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0 && listen(fd, 16) == 0);
	MUST(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	snprintf(address, 32, "127.0.0.1:%u", ntohs(a.sin_port));
	return fd;
}

static void expect_echo(const char *address)
{
	int client = client_try(address);
	cr_assert_geq(client, 0, "%s: %s", address, strerror(errno));
	client_echo(client, "hello");
	client_close(client);
}

Test(sockets, a_passed_socket_with_the_address_is_used_and_stays_open)
{
	char address[32], text[256];
	pass_descriptor(listening(address), "other");
	snprintf(text, sizeof(text), "listen \"main\" { address = \"%s\" }\n", address);
	config_write("workers = 2\nadmin { address = \"\" }\n%s", text);
	daemon_spawn();
	notify_wait("READY=1");
	cr_assert(log_contains("as other"), "%s", log_text());
	for (int i = 0; i < 4; i++)
		expect_echo(address);
	daemon_reload_and_wait();
	expect_echo(address);
	daemon_finish();
	/* The next daemon accepts the connections that wait in the queue. */
	cr_assert_geq(client_try(address), 0);
	close(passed[0]);
}

Test(sockets, a_passed_socket_with_the_title_is_used)
{
	char address[32];
	pass_descriptor(listening(address), "main");
	daemon_start(BASE);
	expect_echo(address);
	daemon_finish();
}

/* The same port of another loopback address, which nothing else is likely to use. */
static const char *other_host(const char *address)
{
	static char other[32];
	snprintf(other, sizeof(other), "127.0.0.2:%s", strrchr(address, ':') + 1);
	return other;
}

static void write_main(const char *address)
{
	config_write(
		"workers = 1\nadmin { address = \"\" }\nlisten \"main\" { address = \"%s\" }\n",
		address);
}

static void expect_listening(const char *address)
{
	char value[64];
	snprintf(value, sizeof(value), "main %s", address);
	expect_status("listening", value);
	expect_echo(address);
}

Test(sockets, the_title_does_not_override_another_address)
{
	char address[32];
	pass_descriptor(listening(address), "main");
	write_main(other_host(address));
	daemon_spawn();
	notify_wait("READY=1");
	expect_listening(other_host(address));
	cr_assert(strstr(log_line_with("unused socket: "), address), "%s", log_text());
	daemon_finish();
}

Test(sockets, a_changed_address_is_served_and_the_passed_socket_reported)
{
	char address[32];
	pass_descriptor(listening(address), "main");
	write_main(address);
	daemon_spawn();
	notify_wait("READY=1");
	expect_listening(address);
	write_main(other_host(address));
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	expect_listening(other_host(address));
	cr_assert(strstr(log_line_with("unused socket: "), address), "%s", log_text());
	write_main(address);
	daemon_reload_and_wait();
	expect_listening(address);
	daemon_finish();
}

Test(sockets, an_address_that_a_passed_socket_occupies_is_rejected_and_named)
{
	char address[32], wildcard[32], hint[192];
	pass_descriptor(listening(address), "main");
	write_main(address);
	daemon_spawn();
	notify_wait("READY=1");
	snprintf(wildcard, sizeof(wildcard), "0.0.0.0:%s", strrchr(address, ':') + 1);
	snprintf(hint, sizeof(hint), "skeld.conf:3: unused socket: %s, passed as main, is not %s",
		 address, wildcard);
	write_main(wildcard);
	daemon_reload_and_wait();
	expect_rejected(1, "cannot listen on ");
	cr_assert(log_contains(hint), "%s", log_text());
	expect_listening(address);
	daemon_finish();
}

Test(sockets, the_admin_server_uses_a_passed_socket)
{
	char address[32], taken[32];
	pass_descriptor(listening(address), "main");
	pass_descriptor(listening(taken), "admin");
	daemon_start("workers = 1\nadmin { address = \"127.0.0.1:0\" }\n" LISTEN_MAIN);
	expect_echo(address);
	int client = client_try(taken);
	client_send_bytes(client, "GET /readyz HTTP/1.0\r\n\r\n", 24);
	cr_assert_eq(http_read(client), 200);
	daemon_finish();
}

Test(sockets, passed_sockets_of_one_address_are_one_listener)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof(a);
	char address[32];
	int one = 1;
	for (int i = 0; i < 3; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		MUST(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0);
		MUST(bind(fd, (struct sockaddr *)&a, n) == 0 && listen(fd, 16) == 0);
		MUST(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
		pass_descriptor(fd, "main");
	}
	snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(a.sin_port));
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	cr_assert_eq(log_count("using passed socket: "), 1, "%s", log_text());
	for (int i = 0; i < 32; i++) /* the kernel spreads them over all three */
		expect_echo(address);
	daemon_finish();
}

Test(sockets, an_unused_passed_socket_is_used_after_a_reload)
{
	char address[32];
	pass_descriptor(listening(address), "other");
	daemon_start(BASE);
	cr_assert(log_contains("passed as other, matches no listen section"), "%s", log_text());
	config_write(BASE "listen \"more\" { address = \"%s\" }\n", address);
	daemon_reload_and_wait();
	expect_echo(address);
	config_write("%s", BASE);
	daemon_reload_and_wait();
	int waits = client_try(address); /* the manager still has it, and it listens */
	cr_assert_geq(waits, 0);
	cr_assert_eq(log_count("unused socket: "), 2, "%s", log_text());
	cr_assert(!log_contains("no longer listening"), "%s", log_text());
	config_write(BASE "listen \"more\" { address = \"%s\" }\n", address);
	daemon_reload_and_wait();
	client_echo(waits, "at last");
	daemon_finish();
}

Test(sockets, a_passed_descriptor_that_is_not_a_listening_stream_is_closed)
{
	char path[64], address[32];
	pass_descriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "idle");
	pass_descriptor(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "unbound");
	pass_descriptor(open(path_in("file", path), O_RDWR | O_CREAT | O_CLOEXEC, 0600), "file");
	pass_descriptor(listening(address), "main");
	daemon_start(BASE);
	static const char *const lines[] = {"descriptor 3 (idle)", "descriptor 4 (unbound)",
					    "descriptor 5 (file)"};
	for (size_t i = 0; i < 3; i++)
		cr_assert(strstr(log_line_with(lines[i]), "neither a listening stream socket nor"),
			  "%s", log_text());
	cr_assert(!strstr(proc_fds(), "/file"), "%s", proc_fds());
	expect_echo(address);
	daemon_finish();
}

Test(sockets, surplus_passed_sockets_are_closed)
{
	char address[32];
	for (int i = 0; i < 66; i++)
		pass_descriptor(listening(address), "many");
	daemon_start(BASE);
	cr_assert_eq(log_count("(many): too many; closed"), 1, "%s", log_text());
	daemon_finish();
}

Test(sockets, an_invalid_listen_fds_is_reported)
{
	char address[32];
	pass_descriptor(listening(address), "main");
	count = "all";
	daemon_start(BASE);
	cr_assert(log_contains("LISTEN_FDS=all"), "%s", log_text());
	expect_echo(listener_address("main"));
	daemon_finish();
}

static void pass_to_another(void)
{
	pass();
	setenv("LISTEN_PID", "1", 1);
}

Test(sockets, descriptors_for_another_process_are_ignored)
{
	char address[32];
	pass_descriptor(listening(address), "main");
	daemon_prepare = pass_to_another;
	daemon_start(BASE);
	cr_assert_eq(log_count("passed as"), 0, "%s", log_text());
	daemon_finish();
}

static void promise_sockets(void)
{
	char pid[16];
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "64", 1);
}

/* Missing descriptors: the daemon must not close its own. */
Test(sockets, missing_passed_sockets_do_no_harm)
{
	daemon_prepare = promise_sockets;
	daemon_start(BASE);
	int c = client_connect("main");
	client_echo(c, "served\n");
	cr_assert(log_contains("descriptor 3 (unknown): neither a listening stream socket"), "%s",
		  log_text());
	daemon_finish();
}

/* The descriptor store. */

static void with_store(void)
{
	if (n_passed)
		pass();
	setenv("FDSTORE", "64", 1);
}

/* Receive the stored descriptors: the next daemon gets them. One datagram can hold several. */
static void take_stored(void)
{
	char text[512];
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * 64)];
	} control;
	for (;;) {
		struct iovec io = {text, sizeof(text) - 1};
		struct msghdr m = {.msg_iov = &io,
				   .msg_iovlen = 1,
				   .msg_control = &control,
				   .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(notify_fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0)
			break;
		text[n] = '\0';
		const char *name = strstr(text, "FDNAME=");
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		if (!c || !strstr(text, "FDSTORE=1"))
			continue;
		char word[64];
		snprintf(word, sizeof(word), "%.*s", (int)strcspn(name + 7, "\n"), name + 7);
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			pass_descriptor(fd, word);
		}
	}
}

/* As daemon_start(), but the test reads the datagrams itself and waits for the status file. */
static void start_with_store(const char *config)
{
	char path[96];
	snprintf(path, sizeof(path), "%s/status", runtime_dir);
	config_write("%s", config);
	daemon_prepare = with_store;
	daemon_spawn();
	for (int64_t until = deadline();
	     !file_text(path) || !strstr(file_text(path), "state=running\n");)
		if (is_past(until))
			fail_test("not running");
	take_stored();
}

#define TWO "workers = 2\nadmin { address = \"127.0.0.1:0\" }\n" LISTEN_MAIN

Test(sockets, stored_sockets_are_used_after_a_crash)
{
	char main[64], admin[64], config[512];
	start_with_store(TWO);
	cr_assert_eq(n_passed, 3, "two of main, one of admin: %zu", n_passed);
	snprintf(main, sizeof(main), "%s", listener_address("main"));
	snprintf(admin, sizeof(admin), "%s", listener_address("admin"));
	kill(daemon_pid, SIGKILL);
	daemon_wait_exit();
	int waits = client_try(main); /* the connection is not refused */
	cr_assert_geq(waits, 0);
	snprintf(config, sizeof(config),
		 "workers = 2\nadmin { address = \"%s\" }\nlisten \"main\" { address = \"%s\" }\n",
		 admin, main);
	config_write("%s", config);
	daemon_spawn();
	notify_wait("READY=1");
	client_echo(waits, "still there");
	expect_echo(main);
	int client = client_try(admin);
	client_send_bytes(client, "GET /livez HTTP/1.0\r\n\r\n", 23);
	cr_assert_eq(http_read(client), 200);
	daemon_finish();
}

Test(sockets, a_stored_socket_without_section_is_removed)
{
	start_with_store("workers = 1\nadmin { address = \"\" }\n" LISTEN_MAIN);
	cr_assert_eq(n_passed, 1);
	kill(daemon_pid, SIGKILL);
	daemon_wait_exit();
	config_write("%s", BASE);
	daemon_spawn();
	notify_wait("READY=1");
	cr_assert(log_line_with("unused socket: "), "%s", log_text());
	cr_assert(strstr(log_line_with("unused socket: "), "; closed"), "%s", log_text());
	cr_assert(strstr(notices.bytes, "FDSTOREREMOVE=1"), "%s", notices.bytes);
	daemon_finish();
}
