/* data/listener: exclusive addresses, and removal without losing a connection. */
/* build: WRAP strdup */
#include "data/listener.h"
#include "fixture.h"
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

TestSuite(listener, .init = fixture_enter, .fini = fixture_leave);

static const struct listen_config config = {
	.location = {"skeld.conf", 7}, .title = "main", .backlog = 16};

static struct listener *open_well(const char *text, size_t n)
{
	struct errors e = {0};
	struct address a = address_of(text);
	struct listener *l = listener_open(&config, &a, n, false, &e);
	cr_assert(l && e.n == 0, "%s", errors_text(&e, 0));
	cr_assert_eq(listener_listen(l, &config, &e), 0);
	return l;
}

/* The unix address of file NAME. */
static const char *unix_text(const char *name)
{
	static char text[PATH_IN_MAX + 8];
	char path[PATH_IN_MAX];
	snprintf(text, sizeof(text), "unix:%s", path_in(name, path));
	return text;
}

static void expect_in_use(const struct address *a, size_t n)
{
	char text[ADDRESS_TEXT_MAX], begin[ADDRESS_TEXT_MAX + 128];
	struct errors e = {0};
	address_format(a, text);
	snprintf(begin, sizeof(begin),
		 "skeld.conf:7: cannot listen on %s (listen \"main\"): Address already", text);
	cr_assert_null(listener_open(&config, a, n, false, &e));
	cr_assert_eq(e.n, 1);
	cr_assert_eq(strncmp(errors_text(&e, 0), begin, strlen(begin)), 0, "%s",
		     errors_text(&e, 0));
	errors_clear(&e);
}

static int option(int fd, int level, int name)
{
	int value = 0;
	socklen_t length = sizeof(value);
	MUST(getsockopt(fd, level, name, &value, &length) == 0);
	return value;
}

static struct tcp_info tcp_info(int fd)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);
	MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
	return info;
}

/* Accept and close all waiting connections. Returns their number. */
static size_t accept_all(const struct listener *l)
{
	size_t n = 0;
	for (size_t i = 0; i < l->n_fds; i++)
		for (int fd; (fd = accept(l->fds[i], NULL, NULL)) >= 0; n++)
			close(fd);
	cr_assert_eq(errno, EAGAIN, "%s", strerror(errno));
	return n;
}

Test(listener, all_sockets_of_a_listener_have_one_port)
{
	struct listener *l = open_well("127.0.0.1:0", 4);
	cr_assert_eq(l->n_fds, 4);
	cr_assert_eq(l->refs, 1);
	cr_assert_str_eq(l->title, "main");
	cr_assert_eq(address_port(&l->configured), 0);
	unsigned port = address_port(&l->actual);
	cr_assert_gt(port, 0);
	for (size_t i = 0; i < 4; i++) {
		struct address a = {.length = sizeof(a.sa)};
		int fd = l->fds[i];
		MUST(getsockname(fd, (struct sockaddr *)&a.sa, &a.length) == 0);
		cr_assert(address_equal(&a, &l->actual));
		cr_assert(option(fd, SOL_SOCKET, SO_ACCEPTCONN));
		cr_assert(option(fd, SOL_SOCKET, SO_REUSEPORT));
		cr_assert(option(fd, IPPROTO_TCP, TCP_NODELAY));
		cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	}
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

Test(listener, the_backlog_is_configured)
{
	struct listener *l = open_well("127.0.0.1:0", 2);
	cr_assert_eq(tcp_info(l->fds[0]).tcpi_sacked, 16);
	listener_set_backlog(l, 5);
	cr_assert_eq(tcp_info(l->fds[0]).tcpi_sacked, 5);
	cr_assert_eq(tcp_info(l->fds[1]).tcpi_sacked, 5);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

Test(listener, an_ipv6_listener_does_not_accept_ipv4)
{
	struct errors e = {0};
	struct address six = address_of("[::]:0");
	if (!has_ipv6())
		cr_skip_test("no IPv6 here");
	struct listener *l = listener_open(&config, &six, 1, false, &e);
	cr_assert(l, "%s", errors_text(&e, 0));
	struct address four = address_of("0.0.0.0:0");
	address_set_port(&four, address_port(&l->actual));
	struct listener *other = listener_open(&config, &four, 1, false, &e);
	cr_assert(other, "%s", errors_text(&e, 0));
	listener_unref(l);
	listener_unref(other);
	EXPECT_NOTHING_LEFT();
}

Test(listener, an_address_of_another_process_is_in_use)
{
	struct address a = address_of("127.0.0.1:0");
	struct peer other = peer_listen(&a);
	expect_in_use(&a, 1);
	expect_in_use(&a, 4);
	peer_end(other);
	/* SO_REUSEADDR: the address is free after the close. */
	int client;
	struct errors e = {0};
	struct listener *l = listener_open(&config, &a, 4, false, &e);
	cr_assert(l && listener_listen(l, &config, &e) == 0, "%s", errors_text(&e, 0));
	MUST((client = peer_connect(&a)) >= 0);
	cr_assert_eq(accept_all(l), 1);
	close(client);
	listener_unref(l);
	l = listener_open(&config, &a, 4, false, &e);
	cr_assert(l && listener_listen(l, &config, &e) == 0, "%s", errors_text(&e, 0));
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

Test(listener, an_address_of_this_process_is_in_use_unless_shared)
{
	struct errors e = {0};
	struct listener *l = open_well("127.0.0.1:0", 2);
	expect_in_use(&l->actual, 2);
	struct address any = address_of("0.0.0.0:0");
	address_set_port(&any, address_port(&l->actual));
	expect_in_use(&any, 2);
	struct listener *shared = listener_open(&config, &any, 2, true, &e);
	cr_assert(shared, "%s", errors_text(&e, 0));
	listener_unref(shared);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

Test(listener, errors_have_the_address)
{
	struct errors e = {0};
	struct address a = address_of("192.0.2.1:1"); /* TEST-NET-1, not assigned to any host */
	cr_assert_null(listener_open(&config, &a, 1, false, &e));
	cr_assert_str_eq(errors_text(&e, 0),
			 "skeld.conf:7: cannot listen on 192.0.2.1:1 (listen \"main\"): "
			 "Cannot assign requested address");
	errors_clear(&e);
	a = address_of("unix:/nowhere/at/all");
	cr_assert_null(listener_open(&config, &a, 1, false, &e));
	cr_assert_str_eq(errors_text(&e, 0), "skeld.conf:7: cannot listen on unix:/nowhere/at/all "
					     "(listen \"main\"): No such file or directory");
	errors_clear(&e);
	EXPECT_NOTHING_LEFT();
}

Test(listener, a_unix_listener_has_one_socket)
{
	struct listener *l = open_well(unix_text("sock"), 4);
	cr_assert_eq(l->n_fds, 1);
	int client = peer_connect(&l->configured);
	MUST(client >= 0);
	cr_assert_eq(accept_all(l), 1);
	close(client);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

Test(listener, a_stale_unix_socket_is_replaced)
{
	struct listener *l = open_well(unix_text("sock"), 1);
	listener_unref(l); /* closed, and not retired: the file stays */
	cr_assert(file_exists("sock"));
	l = open_well(unix_text("sock"), 1);
	int client = peer_connect(&l->configured);
	MUST(client >= 0);
	close(client);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

Test(listener, a_live_unix_socket_is_not_replaced)
{
	struct address a = address_of(unix_text("sock"));
	struct peer other = peer_listen(&a);
	expect_in_use(&a, 1);
	int client = peer_connect(&a);
	cr_assert_geq(client, 0, "the other one was cut off");
	close(client);
	peer_end(other);
	EXPECT_NOTHING_LEFT();
}

Test(listener, a_unix_socket_with_a_full_queue_is_not_replaced)
{
	struct address a = address_of(unix_text("sock"));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(fd >= 0 && bind(fd, (const struct sockaddr *)&a.sa, a.length) == 0);
	MUST(listen(fd, 0) == 0);
	int waiting = peer_connect(&a); /* a backlog of 0 holds one connection */
	MUST(waiting >= 0);
	expect_in_use(&a, 1);
	cr_assert(file_exists("sock"));
	close(waiting);
	close(fd);
	EXPECT_NOTHING_LEFT();
}

Test(listener, a_file_that_is_not_a_socket_is_not_replaced)
{
	struct address a = address_of(unix_text("file"));
	file_write("file", "precious\n");
	expect_in_use(&a, 1);
	cr_assert(file_exists("file"));
	MUST(unlink("file") == 0 && symlink("missing", "file") == 0);
	expect_in_use(&a, 1);
	cr_assert(file_exists("file"));
	MUST(unlink("file") == 0 && mkdir("file", 0755) == 0);
	expect_in_use(&a, 1);
	EXPECT_NOTHING_LEFT();
}

static void expect_refused(const struct address *a)
{
	cr_assert_eq(peer_connect(a), -1);
	cr_assert_eq(errno, ECONNREFUSED, "%s", strerror(errno));
}

Test(listener, a_retired_listener_refuses_connections_and_keeps_its_queue)
{
	enum { BEFORE = 10 };
	int client[BEFORE];
	struct listener *l = open_well("127.0.0.1:0", 3);
	for (int i = 0; i < BEFORE; i++)
		MUST((client[i] = peer_connect(&l->actual)) >= 0);
	listener_retire(l);
	cr_assert(l->refuses);
	expect_refused(&l->actual);
	cr_assert_eq(accept_all(l), BEFORE);
	expect_refused(&l->actual);
	for (int i = 0; i < BEFORE; i++)
		close(client[i]);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

static void expect_handshake_to_complete(const char *address)
{
	struct listener *l = open_well(address, 2);
	int client = peer_connect_half(&l->actual);
	cr_assert_eq(accept_all(l), 0);
	listener_retire(l);
	expect_refused(&l->actual);
	MUST(send(client, "x", 1, MSG_NOSIGNAL) == 1);
	cr_assert_eq(accept_all(l), 1);
	close(client);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

Test(listener, a_handshake_that_has_begun_completes_after_the_retirement)
{
	expect_handshake_to_complete("127.0.0.1:0");
}

Test(listener, an_ipv6_handshake_that_has_begun_completes_after_the_retirement)
{
	if (!has_ipv6())
		cr_skip_test("no IPv6 here");
	expect_handshake_to_complete("[::1]:0");
}

Test(listener, a_retired_listener_gets_no_connection_of_its_successor)
{
	enum { AFTER = 16 }; /* the backlog */
	int client[AFTER];
	struct errors e = {0};
	struct listener *old = open_well("127.0.0.1:0", 2);
	listener_retire(old);
	struct listener *l = listener_open(&config, &old->actual, 2, true, &e);
	cr_assert(l && listener_listen(l, &config, &e) == 0, "%s", errors_text(&e, 0));
	for (int i = 0; i < AFTER; i++)
		MUST((client[i] = peer_connect(&l->actual)) >= 0);
	cr_assert_eq(accept_all(old), 0);
	cr_assert_eq(accept_all(l), AFTER);
	for (int i = 0; i < AFTER; i++)
		close(client[i]);
	listener_unref(old);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

Test(listener, a_retired_unix_listener_refuses_connections)
{
	int client[3];
	struct listener *l = open_well(unix_text("sock"), 1);
	struct address a = l->configured;
	for (int i = 0; i < 3; i++)
		MUST((client[i] = peer_connect(&a)) >= 0);
	MUST(link("sock", "same") == 0);
	listener_retire(l);
	cr_assert_not(file_exists("sock"));
	struct address same = address_of(unix_text("same"));
	cr_assert_eq(peer_connect(&same), -1);
	cr_assert_eq(errno, ECONNREFUSED);
	size_t n = 0;
	for (int fd; (fd = accept(l->fds[0], NULL, NULL)) >= 0; n++)
		close(fd);
	cr_assert_eq(n, 3);
	for (int i = 0; i < 3; i++)
		close(client[i]);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

Test(listener, a_replaced_socket_file_is_not_removed)
{
	struct listener *l = open_well(unix_text("sock"), 1);
	MUST(rename("sock", "moved") == 0);
	struct listener *other = open_well(unix_text("sock"), 1);
	listener_retire(l);
	cr_assert(file_exists("sock"));
	listener_unref(l);
	listener_retire(other);
	cr_assert_not(file_exists("sock"));
	listener_unref(other);
	EXPECT_NOTHING_LEFT();
}

Test(listener, the_last_reference_closes_the_sockets)
{
	struct listener *l = open_well("127.0.0.1:0", 2);
	struct address a = l->actual;
	cr_assert_eq(listener_ref(l), l);
	listener_unref(l);
	int client = peer_connect(&a);
	cr_assert_geq(client, 0);
	close(client);
	listener_unref(l);
	cr_assert_eq(peer_connect(&a), -1);
	cr_assert_eq(errno, ECONNREFUSED);
	EXPECT_NOTHING_LEFT();
}

/* UDP. */

static void expect_datagrams(const struct listener *l, size_t expected)
{
	char byte;
	size_t n = 0;
	for (size_t i = 0; i < l->n_fds; i++)
		while (recv(l->fds[i], &byte, 1, MSG_DONTWAIT) == 1)
			n++;
	cr_assert_eq(errno, EAGAIN, "%s", strerror(errno));
	cr_assert_eq(n, expected, "%zu datagrams, expected %zu", n, expected);
}

/* Send a datagram from N different ports. */
static void send_from_ports(const struct address *a, size_t n)
{
	while (n--) {
		int client = peer_connect(a);
		MUST(client >= 0 && send(client, "x", 1, 0) == 1);
		close(client);
	}
}

Test(listener, udp_sockets_share_a_port_and_nothing_else_can_bind_it)
{
	struct listener *l = open_well("udp:127.0.0.1:0", 3), *all;
	struct errors e = {0};
	struct address wildcard = address_of("udp:0.0.0.0:0");
	cr_assert_eq(l->n_fds, 3);
	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(option(l->fds[i], SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
		cr_assert(option(l->fds[i], SOL_SOCKET, SO_REUSEPORT));
		cr_assert_not(option(l->fds[i], SOL_SOCKET, SO_REUSEADDR));
		cr_assert(fcntl(l->fds[i], F_GETFL) & O_NONBLOCK);
	}
	expect_in_use(&l->actual, 1);
	expect_in_use(&l->actual, 3);
	address_set_port(&wildcard, address_port(&l->actual));
	expect_in_use(&wildcard, 1);
	all = listener_open(&config, &wildcard, 2, true, &e); /* in place of L */
	cr_assert(all, "%s", errors_text(&e, 0));
	listener_unref(all);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

Test(listener, tcp_and_udp_can_have_the_same_port)
{
	struct listener *l = open_well("127.0.0.1:0", 2);
	struct address a = address_of("udp:127.0.0.1:0");
	struct errors e = {0};
	address_set_port(&a, address_port(&l->actual));
	struct listener *udp = listener_open(&config, &a, 2, false, &e);
	cr_assert(udp, "%s", errors_text(&e, 0));
	listener_unref(udp);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

/* A client that sends to the retired listener learns it at once, or another listener answers it. */
static void expect_retired(const char *text, const char *to, const char *other_text)
{
	struct errors e = {0};
	struct listener *l = open_well(text, 2);
	struct address client = address_of(to), other = address_of(other_text);
	address_set_port(&client, address_port(&l->actual));
	address_set_port(&other, address_port(&l->actual));
	send_from_ports(&client, 10);
	listener_retire(l);
	int fd = peer_connect(&client);
	MUST(send(fd, "x", 1, 0) == 1);
	cr_assert_eq(send(fd, "x", 1, 0), -1);
	cr_assert_eq(errno, ECONNREFUSED);
	close(fd);
	struct listener *new = listener_open(&config, &other, 2, true, &e);
	cr_assert(new, "%s", errors_text(&e, 0));
	send_from_ports(&client, 5);
	expect_datagrams(l, 10);
	expect_datagrams(new, 5);
	listener_unref(new);
	listener_unref(l);
}

Test(listener, a_retired_udp_listener_keeps_its_queue_and_receives_nothing_more)
{
	expect_retired("udp:127.0.0.1:0", "udp:127.0.0.1:0", "udp:0.0.0.0:0");
	expect_retired("udp:127.0.0.1:0", "udp:127.0.0.1:0", "udp:127.0.0.1:0");
	expect_retired("udp:0.0.0.0:0", "udp:127.0.0.1:0", "udp:0.0.0.0:0");
	expect_retired("udp:0.0.0.0:0", "udp:127.0.0.1:0", "udp:127.0.0.1:0");
	if (has_ipv6()) {
		expect_retired("udp:[::]:0", "udp:[::1]:0", "udp:[::]:0");
		expect_retired("udp:[::1]:0", "udp:[::1]:0", "udp:[::]:0");
		expect_retired("udp:[::]:0", "udp:[::1]:0", "udp:[::1]:0");
	}
	EXPECT_NOTHING_LEFT();
}

Test(listener, a_passed_udp_socket_is_adopted_unless_it_is_connected)
{
	struct listeners all = {0};
	struct errors e = {0};
	struct listener *l = open_well("udp:127.0.0.1:0", 2);
	MUST(connect(l->fds[1], (struct sockaddr *)&l->actual.sa, l->actual.length) == 0);
	cr_assert(listeners_adopt(&all, dup(l->fds[0]), "main", KEEPER_UNIT, &e));
	cr_assert(address_equal(&all.listener[0]->actual, &l->actual));
	cr_assert_not(listeners_adopt(&all, dup(l->fds[1]), "main", KEEPER_STORE, &e));
	cr_assert_not(listeners_adopt(&all, socket(AF_INET, SOCK_DGRAM, 0), "x", KEEPER_UNIT, &e));
	cr_assert_not(listeners_adopt(&all, socket(AF_UNIX, SOCK_DGRAM, 0), "x", KEEPER_UNIT, &e));
	cr_assert_eq(e.n, 3);
	listener_retire(all.listener[0]); /* the unit's socket receives on */
	send_from_ports(&l->actual, 1);
	expect_datagrams(all.listener[0], 1);
	errors_clear(&e);
	listeners_clear(&all);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

/* Replaces strdup(3) in data/listener.c. */
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
static bool refuses;

char *__wrap_strdup(const char *text)
{
	return refuses ? NULL : __real_strdup(text);
}

Test(listener, a_passed_socket_is_not_adopted_without_memory_for_its_name)
{
	struct listener *l = open_well("127.0.0.1:0", 1);
	struct listeners all = {0};
	struct errors e = {0};
	int fd = dup(l->fds[0]);
	MUST(fd >= 0);
	refuses = true;
	cr_assert_not(listeners_adopt(&all, fd, "main", KEEPER_UNIT, &e));
	refuses = false;
	cr_assert_eq(all.n, 0);
	cr_assert(fcntl(fd, F_GETFD) < 0, "it stays open");
	cr_assert(strstr(errors_text(&e, 0), "(main): out of memory"), "%s", errors_text(&e, 0));
	errors_clear(&e);
	listeners_clear(&all);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

static struct stat file_of(const char *name)
{
	struct stat st;
	char path[PATH_IN_MAX];
	MUST(lstat(path_in(name, path), &st) == 0);
	return st;
}

/* A group that this process may give to its files, if possible not its own. */
static gid_t other_group(void)
{
	gid_t groups[64];
	int n = getgroups(64, groups);
	if (geteuid() == 0)
		return 12345;
	for (int i = 0; i < n; i++)
		if (groups[i] != getegid())
			return groups[i];
	return getegid();
}

Test(listener, the_file_of_a_unix_socket_gets_its_mode_and_group_before_clients_connect)
{
	struct listen_config c = config;
	struct errors e = {0};
	c.mode = (char[]){"0604"};
	c.group = (char[]){"some"};
	c.gid = other_group();
	struct address a = address_of(unix_text("s"));
	struct listener *l = listener_open(&c, &a, 1, false, &e); /* and no listener_listen() yet */
	cr_assert(l, "%s", errors_text(&e, 0));
	cr_assert_eq(file_of("s").st_mode & 07777, 0604);
	cr_assert_eq(file_of("s").st_gid, c.gid);
	/* A change, in a reload. */
	c.mode = (char[]){"0660"};
	cr_assert_eq(listener_set_access(l, &c), 0);
	cr_assert_eq(file_of("s").st_mode & 07777, 0660);
	/* "" leaves the file as it is. */
	c.mode = c.group = (char[]){""};
	cr_assert_eq(listener_set_access(l, &c), 0);
	cr_assert_eq(file_of("s").st_mode & 07777, 0660);
	/* A change of the owner keeps the group. */
	listener_chown(l, geteuid(), getegid());
	cr_assert_eq(file_of("s").st_gid, other_group());
	listener_retire(l);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

Test(listener, another_file_in_place_of_the_socket_keeps_its_mode)
{
	struct listen_config c = config;
	char path[PATH_IN_MAX];
	struct listener *l = open_well(unix_text("s"), 1);
	MUST(unlink(path_in("s", path)) == 0);
	file_write("s", "x");
	MUST(chmod(path, 0600) == 0);
	c.mode = (char[]){"0666"};
	cr_assert_eq(listener_set_access(l, &c), 0);
	cr_assert_eq(file_of("s").st_mode & 07777, 0600);
	listener_unref(l);
	EXPECT_NOTHING_LEFT();
}

Test(listener, a_group_that_cannot_be_set_is_an_error)
{
	struct listen_config c = config;
	struct errors e = {0};
	char path[PATH_IN_MAX];
	if (geteuid() == 0)
		cr_skip_test("root may set any group");
	c.group = (char[]){"root"};
	struct address a = address_of(unix_text("s"));
	cr_assert_null(listener_open(&c, &a, 1, false, &e));
	cr_assert_eq(e.n, 1);
	errors_clear(&e);
	cr_assert_neq(access(path_in("s", path), F_OK), 0, "the file was left");
	EXPECT_NOTHING_LEFT();
}
