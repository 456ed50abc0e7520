#include "crowd.h"

#include "skeleton.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { SLOTS = 16, PATIENCE_MS = 8000 };

static const char WORDS[] = "anybody there?\n";
enum { WORDS_SIZE = sizeof(WORDS) - 1 };

struct endpoint {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_un un;
	};
	socklen_t length;
};

/* The processes cannot fail a test: they record the failure and continue. */
static void fail(struct crowd *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct crowd *c, const char *format, ...)
{
	va_list ap;
	if (atomic_fetch_add(&c->failed, 1))
		return;
	va_start(ap, format);
	vsnprintf(c->failure, sizeof(c->failure), format, ap);
	va_end(ap);
}

static struct endpoint endpoint_of(const char *address)
{
	struct endpoint p = {.length = sizeof(p.un)};
	if (strncmp(address, "unix:", 5) == 0) {
		p.un.sun_family = AF_UNIX;
		snprintf(p.un.sun_path, sizeof(p.un.sun_path), "%s", address + 5);
		return p;
	}
	char host[64];
	const char *port = strrchr(address, ':');
	MUST(port);
	snprintf(host, sizeof(host), "%.*s", (int)(port - address), address);
	p.in.sin_family = AF_INET;
	p.in.sin_port = htons((uint16_t)atoi(port + 1));
	MUST(inet_pton(AF_INET, host, &p.in.sin_addr) == 1);
	p.length = sizeof(p.in);
	return p;
}

/* Close with a reset. It leaves no TIME_WAIT, so ports are not used up. */
static void reset(int fd)
{
	struct linger now = {.l_onoff = 1};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/* Churn: blocking sockets, one at a time. */

static bool echoed(int fd)
{
	char got[WORDS_SIZE];
	return send(fd, WORDS, WORDS_SIZE, MSG_NOSIGNAL) == WORDS_SIZE &&
	       recv(fd, got, WORDS_SIZE, MSG_WAITALL) == WORDS_SIZE &&
	       memcmp(got, WORDS, WORDS_SIZE) == 0;
}

static void churn_once(struct crowd *c, const struct endpoint *p, size_t i)
{
	struct timeval limit = {.tv_sec = PATIENCE_MS / 1000};
	char byte;
	int fd = socket(p->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	errno = 0;
	if (connect(fd, &p->sa, p->length) < 0) {
		fail(c, "connect: %s", strerror(errno));
		close(fd);
		return;
	}
	atomic_fetch_add(&c->connected, 1);
	if (i % 3 == 0) {
		if (i % 2 && send(fd, WORDS, WORDS_SIZE, MSG_NOSIGNAL) < 0)
			fail(c, "send: %s", strerror(errno));
		atomic_fetch_add(&c->left, 1);
		reset(fd);
		return;
	}
	if (!echoed(fd))
		fail(c, "no echo: %s", errno ? strerror(errno) : "EOF");
	else if (i % 3 == 1 && (shutdown(fd, SHUT_WR) < 0 || recv(fd, &byte, 1, 0) != 0))
		fail(c, "no EOF: %s", strerror(errno));
	else
		atomic_fetch_add(&c->served[0], 1);
	close(fd);
}

/* Knock: many connections at a time. */

struct slot {
	int fd; /* -1: free */
	bool connected;
	size_t address;
};

static void leave(struct slot *s)
{
	reset(s->fd);
	s->fd = -1;
}

static void on_connected(struct crowd *c, struct slot *s)
{
	s->connected = true;
	atomic_fetch_add(&c->connected, 1);
	if (send(s->fd, WORDS, WORDS_SIZE, MSG_NOSIGNAL) == WORDS_SIZE)
		return;
	fail(c, "address %zu: connected, but could not send: %s", s->address, strerror(errno));
	leave(s);
}

static void on_refused(struct crowd *c, struct slot *s, int error)
{
	if (error == ECONNREFUSED || error == ENOENT)
		atomic_fetch_add(&c->refused, 1);
	else if (error != EAGAIN) /* the backlog of a unix socket is full */
		fail(c, "address %zu: connect: %s", s->address, strerror(error));
	leave(s);
}

static void knock(struct crowd *c, struct slot *s, const struct endpoint *p)
{
	s->connected = false;
	s->fd = socket(p->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (connect(s->fd, &p->sa, p->length) == 0)
		on_connected(c, s);
	else if (errno != EINPROGRESS)
		on_refused(c, s, errno);
}

static void go_on(struct crowd *c, struct slot *s)
{
	int error = 0;
	socklen_t size = sizeof(error);
	if (!s->connected) {
		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error)
			on_refused(c, s, error);
		else
			on_connected(c, s);
		return;
	}
	char got[WORDS_SIZE + 1];
	ssize_t n = recv(s->fd, got, sizeof(got), 0);
	if (n == WORDS_SIZE && memcmp(got, WORDS, WORDS_SIZE) == 0)
		atomic_fetch_add(&c->served[s->address], 1);
	else
		fail(c, "address %zu: connected, but not served: %s", s->address,
		     n < 0 ? strerror(errno)
		     : n   ? "wrong bytes"
			   : "EOF");
	leave(s);
}

static void knock_until_stopped(struct crowd *c, const struct endpoint *endpoints, size_t n)
{
	struct slot slot[SLOTS];
	struct pollfd p[SLOTS];
	size_t next = 0, busy = 1;
	for (size_t i = 0; i < SLOTS; i++)
		slot[i] = (struct slot){.fd = -1};
	while (busy) {
		bool stop = atomic_load(&c->stop);
		busy = stop ? 0 : 1;
		for (size_t i = 0; i < SLOTS; i++) {
			if (slot[i].fd < 0 && !stop) {
				slot[i].address = next++ % n;
				knock(c, &slot[i], &endpoints[slot[i].address]);
			}
			p[i] = (struct pollfd){.fd = slot[i].fd,
					       .events = slot[i].connected ? POLLIN : POLLOUT};
			busy += slot[i].fd >= 0;
		}
		if (poll(p, SLOTS, stop && busy ? PATIENCE_MS : 10) == 0 && stop && busy) {
			fail(c, "%zu connections came to no end", busy);
			return;
		}
		for (size_t i = 0; i < SLOTS; i++)
			if (slot[i].fd >= 0 && p[i].revents)
				go_on(c, &slot[i]);
	}
}

/* The processes. */

static struct crowd *start(const struct endpoint *endpoints, size_t n, size_t each)
{
	struct crowd *c =
		mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(c != MAP_FAILED);
	for (size_t i = 0; i < CROWD_PROCESSES; i++) {
		pid_t pid = fork();
		MUST(pid >= 0);
		if (pid) {
			c->pid[i] = pid;
			continue;
		}
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (size_t k = 0; k < each || (each && !atomic_load(&c->stop)); k++)
			churn_once(c, endpoints, k);
		if (!each)
			knock_until_stopped(c, endpoints, n);
		atomic_fetch_add(&c->ended, 1);
		_exit(0);
	}
	return c;
}

struct crowd *crowd_churn(const char *address, size_t n)
{
	struct endpoint p = endpoint_of(address);
	return start(&p, 1, n);
}

struct crowd *crowd_knock(const char *const addresses[], size_t n)
{
	struct endpoint p[ADDRESSES_MAX];
	MUST(n <= ADDRESSES_MAX);
	for (size_t i = 0; i < n; i++)
		p[i] = endpoint_of(addresses[i]);
	return start(p, n, 0);
}

bool crowd_is_over(const struct crowd *c)
{
	return atomic_load(&c->ended) == CROWD_PROCESSES;
}

size_t crowd_served(const struct crowd *c)
{
	size_t n = 0;
	for (size_t i = 0; i < ADDRESSES_MAX; i++)
		n += atomic_load(&c->served[i]);
	return n;
}

void crowd_join(struct crowd *c)
{
	atomic_store(&c->stop, true);
	for (size_t i = 0; i < CROWD_PROCESSES; i++)
		reap(c->pid[i]);
	if (c->failed)
		fail_test("%u of %zu connections failed, the first: %s", c->failed, c->connected,
			  c->failure);
}

void crowd_free(struct crowd *c)
{
	munmap(c, sizeof(*c));
}
