#include "client.h"
#include "observe.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { QUOTED_MAX = 160 };

const char *listener_address(const char *title)
{
	char part[80];
	snprintf(part, sizeof(part), " (%s)", title);
	const char *text = log_text(), *found = NULL;
	size_t length = 0;
	for (const char *at = text; (at = strstr(at, "listening: "));) {
		at += strlen("listening: ");
		size_t n = strcspn(at, " \n");
		if (strncmp(at + n, part, strlen(part)) == 0)
			found = at, length = n;
	}
	if (!found)
		fail_test("the log names no listener%s", part);
	snprintf(last_value, sizeof(last_value), "%.*s", (int)length, found);
	return last_value;
}

static bool delays_acks; /* the next client */

static int connect_to(int type, const struct sockaddr *a, socklen_t n)
{
	int error = 0, zero = 0, fd = socket(a->sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t size = sizeof(error);
	MUST(fd >= 0 && n_clients < CLIENTS_MAX);
	client_fds[n_clients++] = fd;
	if (delays_acks)
		MUST(setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &zero, sizeof(zero)) == 0);
	if (connect(fd, a, n) < 0) {
		error = errno;
		if (error == EINPROGRESS) {
			await_fd(fd, POLLOUT, deadline(), "a connection, or its refusal");
			MUST(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0);
		}
	}
	if (!error)
		return fd;
	client_close(fd);
	errno = error;
	return -1;
}

void client_close(int fd)
{
	for (size_t i = 0; i < n_clients; i++)
		if (client_fds[i] == fd) {
			close(fd);
			client_fds[i] = client_fds[--n_clients];
			return;
		}
}

int client_try(const char *address)
{
	if (strncmp(address, "unix:", 5) == 0) {
		struct sockaddr_un un = {.sun_family = AF_UNIX};
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", address + 5);
		return connect_to(SOCK_STREAM, (struct sockaddr *)&un, sizeof(un));
	}
	char host[64];
	bool udp = strncmp(address, "udp:", 4) == 0;
	address += udp ? 4 : 0;
	const char *port = strrchr(address, ':');
	MUST(port);
	snprintf(host, sizeof(host), "%.*s", (int)(port - address), address);
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10))};
	MUST(inet_pton(AF_INET, host, &in.sin_addr) == 1);
	return connect_to(udp ? SOCK_DGRAM : SOCK_STREAM, (struct sockaddr *)&in, sizeof(in));
}

int client_connect(const char *title)
{
	int fd = client_try(listener_address(title));
	if (fd < 0)
		fail_test("connect to %s: %s", title, strerror(errno));
	return fd;
}

int client_connect_half(const char *title)
{
	delays_acks = true;
	int fd = client_connect(title);
	delays_acks = false;
	return fd;
}

int client_unix(const char *name)
{
	char address[128];
	snprintf(address, sizeof(address), "unix:%s/%s", test_dir, name);
	int fd = client_try(address);
	if (fd < 0)
		fail_test("connect to %s: %s", address, strerror(errno));
	return fd;
}

void client_send_bytes(int fd, const void *bytes, size_t n)
{
	int64_t until = deadline();
	for (size_t sent = 0; sent < n;) {
		ssize_t r =
			send(fd, (const char *)bytes + sent, n - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r > 0)
			sent += (size_t)r;
		else if (errno == EAGAIN)
			await_fd(fd, POLLOUT, until, "room to send");
		else
			fail_test("send after %zu of %zu bytes: %s", sent, n, strerror(errno));
	}
}

/* At least one byte, 0 at EOF. */
static size_t receive(int fd, void *bytes, size_t n, int64_t until, const char *what)
{
	await_fd(fd, POLLIN, until, what);
	ssize_t r = recv(fd, bytes, n, MSG_DONTWAIT);
	if (r < 0)
		fail_test("recv while waiting for %s: %s", what, strerror(errno));
	return (size_t)r;
}

/* The first bytes, printable, in quotes. */
static const char *quoted(const char *bytes, size_t n, char text[static QUOTED_MAX])
{
	size_t used = 0, i = 0;
	text[used++] = '"';
	for (; i < n && used < QUOTED_MAX - 8; i++) {
		unsigned char c = (unsigned char)bytes[i];
		if (c == '\n')
			used += (size_t)sprintf(text + used, "\\n");
		else
			used += (size_t)sprintf(text + used, isprint(c) ? "%c" : "\\x%02x", c);
	}
	strcpy(text + used, i < n ? "\"..." : "\"");
	return text;
}

void client_expect_bytes(int fd, const void *bytes, size_t n)
{
	char expected[QUOTED_MAX], received[QUOTED_MAX], what[QUOTED_MAX + 32],
		*got = malloc(n + 1);
	int64_t until = deadline();
	MUST(got);
	snprintf(what, sizeof(what), "%zu bytes, %s", n, quoted(bytes, n, expected));
	size_t have = 0, r = 1;
	for (; have < n && r; have += r)
		r = receive(fd, got + have, n - have, until, what);
	if (have != n || memcmp(got, bytes, n) != 0)
		fail_test("received %zu bytes, %s, expected %s", have, quoted(got, have, received),
			  what);
	free(got);
}

void client_send(int fd, const char *text)
{
	client_send_bytes(fd, text, strlen(text));
}

void client_expect(int fd, const char *text)
{
	client_expect_bytes(fd, text, strlen(text));
}

void client_expect_eof(int fd)
{
	char byte;
	if (receive(fd, &byte, 1, deadline(), "EOF"))
		fail_test("received 0x%02x, expected EOF", (unsigned char)byte);
	client_close(fd);
}

void client_await_end(int fd)
{
	char bytes[4096];
	ssize_t n;
	int64_t until = deadline();
	do {
		await_fd(fd, POLLIN, until, "the end of the connection");
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	} while (n > 0);
	if (n < 0 && errno != ECONNRESET)
		fail_test("recv while waiting for the end: %s", strerror(errno));
	client_close(fd);
}

void client_echo(int fd, const char *text)
{
	client_send(fd, text);
	client_expect_bytes(fd, text, strlen(text));
}
