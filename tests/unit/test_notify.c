/* control/notify: the service manager gets all messages in order, and never blocks the
 * daemon. */
#include "control/notify.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(notify, .init = fixture_enter, .fini = fixture_leave);

static struct notify n;

/* The socket of the service manager. NAME is as in NOTIFY_SOCKET: '@' means a NUL, and the length
 * is exact. */
static int listen_as_manager(const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	memcpy(a.sun_path, name, strlen(name));
	if (*name == '@')
		a.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&a, length) == 0);
	MUST(setenv("NOTIFY_SOCKET", name, 1) == 0);
	return fd;
}

static void expect_received(int fd, const char *expected)
{
	char text[2 * NOTIFY_MAX];
	ssize_t length = recv(fd, text, sizeof(text) - 1, 0);
	text[length < 0 ? 0 : length] = '\0';
	cr_assert_str_eq(text, expected, "\"%s\", expected \"%s\"", text, expected);
}

static void expect_notified(const char *name)
{
	int fd = listen_as_manager(name);
	notify_open(&n);
	cr_assert_null(getenv("NOTIFY_SOCKET"));
	cr_assert(fcntl(n.fd, F_GETFD) & FD_CLOEXEC);
	notify_send(&n, "READY=1\nSTATUS=%d %s", 5, "connections");
	expect_received(fd, "READY=1\nSTATUS=5 connections");
	notify_send(&n, "STOPPING=1");
	expect_received(fd, "STOPPING=1");
	expect_received(fd, "");
	notify_close(&n);
	cr_assert_eq(n.fd, -1);
	close(fd);
}

Test(notify, notifications_go_to_a_socket_path)
{
	char path[PATH_IN_MAX];
	expect_notified(path_in("notify", path));
	EXPECT_NOTHING_LEFT();
}

Test(notify, an_abstract_socket_has_its_exact_length)
{
	char name[64], longest[108];
	snprintf(name, sizeof(name), "@skeld-unit-%d", (int)getpid());
	expect_notified(name);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[107] = '\0';
	memcpy(longest, name, strlen(name));
	expect_notified(longest);
	EXPECT_NOTHING_LEFT();
}

Test(notify, without_notify_socket_nothing_is_sent)
{
	MUST(unsetenv("NOTIFY_SOCKET") == 0);
	notify_open(&n);
	cr_assert_eq(n.fd, -1);
	notify_send(&n, "READY=1");
	notify_retry(&n);
	cr_assert_eq(n.pending[0], '\0');
	notify_close(&n);
	EXPECT_NOTHING_LEFT();
}

Test(notify, bad_values_of_notify_socket_are_ignored)
{
	static char too_long[] =
		"/23456789012345678901234567890123456789012345678901234567890123456789"
		"012345678901234567890123456789012345678";
	static const char *const bad[] = {"", "relative", "./notify", "unix:/notify", too_long};
	cr_assert_eq(strlen(too_long), 108);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		MUST(setenv("NOTIFY_SOCKET", bad[i], 1) == 0);
		notify_open(&n);
		cr_assert_eq(n.fd, -1, "%s", bad[i]);
		cr_assert_null(getenv("NOTIFY_SOCKET"));
		notify_send(&n, "READY=1");
		notify_close(&n);
	}
	EXPECT_NOTHING_LEFT();
}

Test(notify, a_missing_manager_is_not_an_error)
{
	char path[PATH_IN_MAX];
	int fd = listen_as_manager(path_in("notify", path));
	notify_open(&n);
	close(fd);
	notify_send(&n, "READY=1");
	cr_assert_eq(n.pending[0], '\0', "it would be kept forever");
	notify_close(&n);
	EXPECT_NOTHING_LEFT();
}

/* Fill the socket with the messages "0", "1" and so on. Returns their number. */
static int fill(void)
{
	for (int i = 0;; i++) {
		notify_send(&n, "%d", i);
		if (n.pending[0])
			return i;
		cr_assert_lt(i, 100000);
	}
}

Test(notify, unsent_lines_are_kept_in_order)
{
	char path[PATH_IN_MAX], number[16], owed[64];
	int fd = listen_as_manager(path_in("notify", path));
	notify_open(&n);
	int sent = fill();
	notify_send(&n, "RELOADING=1");
	notify_send(&n, "READY=1\nSTATUS=%s", "x");
	notify_retry(&n);
	for (int i = 0; i < sent; i++) {
		snprintf(number, sizeof(number), "%d", i);
		expect_received(fd, number);
	}
	expect_received(fd, "");
	snprintf(owed, sizeof(owed), "%d\nRELOADING=1\nREADY=1\nSTATUS=x", sent);
	notify_retry(&n);
	expect_received(fd, owed);
	notify_retry(&n);
	expect_received(fd, "");
	/* New lines are sent behind unsent lines. */
	sent = fill();
	for (int i = 0; i < sent; i++)
		free(fd_text(fd));
	notify_send(&n, "STOPPING=1");
	snprintf(owed, sizeof(owed), "%d\nSTOPPING=1", sent);
	expect_received(fd, owed);
	notify_close(&n);
	close(fd);
	EXPECT_NOTHING_LEFT();
}

static void read_messages(int fd, int sent)
{
	for (int i = 0; i < sent; i++)
		free(fd_text(fd));
}

/* systemd uses the first STATUS= of a datagram, so it must contain only the newest. */
Test(notify, the_newest_unsent_line_of_each_key_is_sent)
{
	char path[PATH_IN_MAX], owed[NOTIFY_MAX];
	int fd = listen_as_manager(path_in("notify", path));
	notify_open(&n);
	int sent = fill();
	notify_send(&n, "RELOADING=1\nMONOTONIC_USEC=1\nSTATUS=reloading");
	notify_send(&n, "READY=1\nSTATUS=rejected");
	for (int i = 0; i < NOTIFY_MAX; i++) /* while the manager is missing */
		notify_send(&n, "WATCHDOG=1");
	notify_send(&n, "RELOADING=1\nMONOTONIC_USEC=2\nSTATUS=reloading again");
	notify_send(&n, "READY=1\nSTATUS=running");
	read_messages(fd, sent);
	notify_retry(&n);
	snprintf(owed, sizeof(owed),
		 "%d\nWATCHDOG=1\nRELOADING=1\nMONOTONIC_USEC=2\nREADY=1\nSTATUS=running", sent);
	expect_received(fd, owed);
	notify_close(&n);
	close(fd);
	EXPECT_NOTHING_LEFT();
}

Test(notify, an_unreachable_manager_is_logged_once)
{
	char path[PATH_IN_MAX];
	int fd = listen_as_manager(path_in("notify", path));
	notify_open(&n);
	for (int i = 0; i < 3; i++) {
		MUST(close(fd) == 0 && unlink("notify") == 0);
		for (int k = 0; k < 3; k++)
			notify_send(&n, "WATCHDOG=1");
		cr_assert(n.warned);
		fd = listen_as_manager(path);
		notify_send(&n, "WATCHDOG=1");
		expect_received(fd, "WATCHDOG=1");
		cr_assert_not(n.warned);
	}
	notify_close(&n);
	close(fd);
	EXPECT_NOTHING_LEFT();
}

Test(notify, close_sends_unsent_lines)
{
	char path[PATH_IN_MAX], owed[64];
	int fd = listen_as_manager(path_in("notify", path));
	notify_open(&n);
	int sent = fill();
	notify_send(&n, "STOPPING=1");
	for (int i = 0; i < sent; i++)
		MUST(recv(fd, owed, sizeof(owed), 0) > 0);
	notify_close(&n);
	snprintf(owed, sizeof(owed), "%d\nSTOPPING=1", sent);
	expect_received(fd, owed);
	close(fd);
	EXPECT_NOTHING_LEFT();
}

Test(notify, unsent_lines_are_bounded_and_keep_the_newest)
{
	char path[PATH_IN_MAX], text[2 * NOTIFY_MAX] = "";
	int fd = listen_as_manager(path_in("notify", path));
	notify_open(&n);
	int sent = fill();
	for (int i = 0; i < NOTIFY_MAX; i++)
		notify_send(&n, "STATUS=%d", i);
	notify_send(&n, "READY=1");
	cr_assert_lt(strlen(n.pending), NOTIFY_MAX);
	for (int i = 0; i < sent; i++)
		MUST(recv(fd, text, sizeof(text), 0) > 0);
	notify_retry(&n);
	ssize_t length = recv(fd, text, sizeof(text) - 1, 0);
	MUST(length > 0);
	text[length] = '\0';
	cr_assert(strstr(text, "\nREADY=1"), "what counts most was dropped: ...%s",
		  text + length - 30);
	notify_close(&n);
	close(fd);
	EXPECT_NOTHING_LEFT();
}

Test(notify, a_message_that_is_too_long_drops_no_other_message)
{
	static char text[3 * NOTIFY_MAX], many[2 * NOTIFY_MAX];
	char path[PATH_IN_MAX];
	int fd = listen_as_manager(path_in("notify", path));
	notify_open(&n);
	int sent = fill();
	notify_send(&n, "READY=1");
	memset(many, 'x', sizeof(many) - 1);
	notify_send(&n, "STATUS=%s", many);
	for (int i = 0; i < sent; i++)
		MUST(recv(fd, text, sizeof(text), 0) > 0);
	notify_retry(&n);
	ssize_t length = recv(fd, text, sizeof(text) - 1, 0);
	MUST(length > 0);
	text[length] = '\0';
	cr_assert(strstr(text, "READY=1\nSTATUS=xxx"), "%.40s", text);
	notify_close(&n);
	close(fd);
	EXPECT_NOTHING_LEFT();
}

Test(notify, descriptors_are_stored_and_removed)
{
	char path[PATH_IN_MAX], text[64];
	union {
		char bytes[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} control;
	int fd = listen_as_manager(path_in("notify", path)), ends[2], passed[2];
	notify_open(&n);
	MUST(pipe2(ends, O_CLOEXEC) == 0);
	notify_store(&n, "main", ends, 2);
	struct iovec data = {text, sizeof(text)};
	struct msghdr m = {.msg_iov = &data,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = sizeof(control.bytes)};
	ssize_t length = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	cr_assert(length == 21 && memcmp(text, "FDSTORE=1\nFDNAME=main", 21) == 0);
	const struct cmsghdr *rights = CMSG_FIRSTHDR(&m);
	cr_assert(rights && rights->cmsg_len == CMSG_LEN(sizeof(passed)));
	memcpy(passed, CMSG_DATA(rights), sizeof(passed));
	MUST(write(passed[1], "x", 1) == 1 && read(ends[0], text, 1) == 1);
	notify_store(&n, "main", NULL, 0);
	expect_received(fd, "FDSTOREREMOVE=1\nFDNAME=main");
	for (int i = 0; i < 2; i++) {
		close(passed[i]);
		close(ends[i]);
	}
	notify_close(&n);
	close(fd);
	EXPECT_NOTHING_LEFT();
}

/* A message holds a limited number of descriptors: more are not stored, with a warning. */
Test(notify, more_descriptors_than_fit_in_a_message_are_not_stored)
{
	enum { MANY = 254 };
	char path[PATH_IN_MAX];
	int fd = listen_as_manager(path_in("notify", path)), fds[MANY];
	notify_open(&n);
	for (size_t i = 0; i < MANY; i++)
		fds[i] = fd;
	cr_assert(notify_store(&n, "main", fds, MANY - 1));
	cr_assert_not(notify_store(&n, "main", fds, MANY));
	notify_close(&n);
	close(fd);
	EXPECT_NOTHING_LEFT();
}

static void expect_watchdog(const char *usec, const char *pid, double seconds)
{
	MUST(setenv("WATCHDOG_USEC", usec, 1) == 0);
	MUST(pid ? setenv("WATCHDOG_PID", pid, 1) == 0 : unsetenv("WATCHDOG_PID") == 0);
	double is = notify_watchdog();
	cr_assert_eq(is, seconds, "WATCHDOG_USEC=%s: %g", usec, is);
	cr_assert_null(getenv("WATCHDOG_USEC"));
	cr_assert_null(getenv("WATCHDOG_PID"));
}

Test(notify, the_watchdog_needs_our_pid_and_a_valid_interval)
{
	char pid[16];
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	MUST(unsetenv("WATCHDOG_USEC") == 0);
	cr_assert_eq(notify_watchdog(), 0);
	expect_watchdog("2500000", NULL, 2.5);
	expect_watchdog("2500000", pid, 2.5);
	expect_watchdog("2500000", "1", 0);
	expect_watchdog("1000", NULL, 0.001);
	/* A shorter timer would use the whole CPU, an endless one would never expire. */
	static const char *const bad[] = {
		"",   "0",   "999", "1",   "inf",  "nan",      "1e300",
		"-1", "0x9", " 9",  "9 x", "1e-9", "2500000s", "99999999999999999999"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect_watchdog(bad[i], NULL, 0);
	EXPECT_NOTHING_LEFT();
}
