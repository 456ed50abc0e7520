/* admin/http: slow, silent and surplus clients. The test runs each turn of the loop. */
/* build: WRAP clock_gettime accept4 calloc log_line */
/* test: NEEDS ADMIN */
#include "admin/http.h"
#include "fixture.h"
#include "peer.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(http, .init = fixture_enter, .fini = fixture_leave);

enum { BATCH = 16, SECONDS = 5, TURNS_MAX = 20000, BIG = 65536, SMALL = 4096 };

/* The daemon of the callbacks, which is opaque to the server. */
struct daemon {
	size_t metrics; /* bytes */
	const char *unready;
};
static struct daemon daemon_stub = {.metrics = BIG};

static void print_metrics(const struct daemon *d, FILE *out)
{
	for (size_t i = 0; i < d->metrics; i++)
		fputc('m', out);
}

static void print_status(const struct daemon *d, FILE *out)
{
	(void)d;
	fputs("state=test\n", out);
}

static bool is_ready(const struct daemon *d, char *why, size_t size)
{
	snprintf(why, size, "%s", d->unready ? d->unready : "");
	return !d->unready;
}

/* Seconds by which the daemon's clock is ahead of libevent's; a stopped clock: its time. */
static int ahead;
static struct timespec stopped_at;
int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	int result = __real_clock_gettime(clock, t);
	if (stopped_at.tv_sec)
		*t = stopped_at;
	t->tv_sec += ahead;
	return result;
}

/* The errno of accept4(2), 0: it succeeds. */
static int accept_error;
int __real_accept4(int fd, struct sockaddr *a, socklen_t *n, int flags);
int __wrap_accept4(int fd, struct sockaddr *a, socklen_t *n, int flags);
int __wrap_accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
	errno = accept_error;
	return accept_error ? -1 : __real_accept4(fd, a, n, flags);
}

static bool refuses_memory;
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return refuses_memory ? NULL : __real_calloc(n, size);
}

/* Warnings that nothing can be accepted. */
static unsigned warnings;
void __wrap_log_line(int level, const char *format, ...);
void __wrap_log_line(int level, const char *format, ...)
{
	(void)level;
	warnings += strstr(format, "cannot accept") != NULL;
}

static struct event_base *base;
static struct admin *admin;
static struct listener *listener;
static size_t descriptors; /* without clients */

static void listen_on(struct listener *l)
{
	const struct snapshot s = {.admin = l, .listener = {l}, .n_listeners = 1};
	admin_listen(admin, &s);
}

static void serve(void)
{
	static const struct listen_config config = {.title = "admin", .backlog = 128};
	const struct admin_callbacks callbacks = {&daemon_stub, print_metrics, print_status,
						  print_status, is_ready};
	struct errors e = {0};
	struct address a = address_of("127.0.0.1:0");
	int small = SMALL; /* accepted sockets inherit it */
	base = event_base_new();
	listener = listener_open(&config, &a, 1, false, &e);
	MUST(base && listener && listener_listen(listener, &config, &e) == 0);
	MUST(setsockopt(listener->fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
	admin = admin_new(base, &callbacks);
	MUST(admin);
	listen_on(listener);
	descriptors = open_descriptors();
}

static void end(void)
{
	admin_free(admin);
	listener_unref(listener);
	event_base_free(base);
	EXPECT_NOTHING_LEFT();
}

static void step(void)
{
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static int dial(void)
{
	int small = SMALL, fd = peer_connect(&listener->actual);
	MUST(fd >= 0);
	MUST(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0);
	return fd;
}

static int ask(const char *path)
{
	char text[64];
	int fd = dial(), n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n\r\n", path);
	MUST(send(fd, text, (size_t)n, MSG_NOSIGNAL) == n);
	return fd;
}

/* Returns true if the server has closed or reset FD. Otherwise no input is consumed. */
static bool is_closed(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
	return n == 0 || (n < 0 && errno != EAGAIN);
}

/* Read the whole answer. Returns its length; HEAD gets its first bytes. */
static size_t read_answer(int fd, char *head, size_t size)
{
	char bytes[SMALL];
	size_t got = 0;
	for (int i = 0; i < TURNS_MAX; i++) {
		step();
		ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n == 0)
			break;
		for (ssize_t k = 0; k < n; k++, got++)
			if (got + 1 < size)
				head[got] = bytes[k], head[got + 1] = '\0';
		if (n < 0)
			poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 1);
	}
	close(fd);
	return got;
}

static void expect_status(int fd, const char *status)
{
	char head[128] = "";
	read_answer(fd, head, sizeof(head));
	cr_assert_eq(strncmp(head, status, strlen(status)), 0, "%s", head);
}

/* Run the loop until the server has this many clients. */
static void expect_clients(size_t n)
{
	for (int i = 0; i < TURNS_MAX && open_descriptors() - descriptors != n; i++)
		step();
	cr_assert_eq(open_descriptors() - descriptors, n);
}

Test(http, slow_reader_gets_the_whole_answer)
{
	char head[512];
	serve();
	size_t n = read_answer(ask("/metrics"), head, sizeof(head));
	const char *body = strstr(head, "\r\n\r\n");
	cr_assert(body && strstr(head, "Content-Length: 65536\r\n"), "%s", head);
	cr_assert_eq(n, (size_t)(body + 4 - head) + BIG);
	end();
}

Test(http, not_ready_is_503_with_the_reason)
{
	char head[512];
	daemon_stub.unready = "draining";
	serve();
	read_answer(ask("/readyz"), head, sizeof(head));
	cr_assert_eq(strncmp(head, "HTTP/1.1 503 ", 13), 0, "%s", head);
	cr_assert(strstr(head, "\r\n\r\ndraining\n"), "%s", head);
	end();
}

Test(http, one_turn_accepts_a_batch_at_most)
{
	int fd[2 * BATCH];
	serve();
	descriptors += 2 * BATCH; /* the descriptors of the test */
	for (int i = 0; i < 2 * BATCH; i++)
		fd[i] = dial();
	step();
	cr_assert_eq(open_descriptors() - descriptors, BATCH);
	expect_clients(2 * BATCH);
	for (int i = 0; i < 2 * BATCH; i++)
		close(fd[i]);
	descriptors -= 2 * BATCH;
	expect_clients(0);
	end();
}

Test(http, surplus_client_evicts_the_oldest_finished_or_silent_client)
{
	int fd[ADMIN_CLIENTS + 2];
	serve();
	descriptors += ADMIN_CLIENTS;
	fd[0] = ask("/metrics"); /* the oldest is being written to */
	for (int i = 1; i < ADMIN_CLIENTS; i++)
		fd[i] = i == 9 ? ask("/livez") : dial();
	expect_clients(ADMIN_CLIENTS);
	fd[ADMIN_CLIENTS] = dial(); /* replaces the answered client */
	fd[ADMIN_CLIENTS + 1] = dial();
	descriptors += 2;
	for (int i = 0; i < TURNS_MAX && !is_closed(fd[1]); i++)
		step();
	cr_assert(is_closed(fd[1]), "the oldest silent one");
	for (int i = 2; i < ADMIN_CLIENTS + 2; i++)
		if (i != 9)
			cr_assert(!is_closed(fd[i]), "%d", i);
	expect_status(fd[9], "HTTP/1.1 200 OK");
	cr_assert_gt(read_answer(fd[0], NULL, 0), BIG);
	for (int i = 1; i < ADMIN_CLIENTS + 2; i++)
		if (i != 9)
			close(fd[i]);
	end();
}

Test(http, clients_are_closed_after_five_seconds_in_each_state)
{
	serve();
	descriptors += 3;
	MUST(clock_gettime(CLOCK_MONOTONIC, &stopped_at) == 0);
	int silent = dial(), slow = ask("/metrics"), answered = ask("/livez");
	expect_clients(3);
	ahead = SECONDS - 1;
	for (int i = 0; i < 200; i++) { /* 200 ms: the timer runs every 100 ms */
		step();
		poll(NULL, 0, 1);
	}
	cr_assert_eq(open_descriptors() - descriptors, 3);
	ahead = SECONDS;
	expect_clients(0);
	close(silent);
	close(slow);
	close(answered);
	end();
}

Test(http, clients_wait_while_nothing_can_be_accepted)
{
	serve();
	accept_error = EMFILE;
	int fd = ask("/livez");
	for (int i = 0; i < 300; i++) {
		step();
		poll(NULL, 0, 1);
	}
	cr_assert(!is_closed(fd));
	accept_error = 0;
	expect_status(fd, "HTTP/1.1 200 OK");
	end();
}

Test(http, listening_is_retried_after_a_lack_of_memory)
{
	serve();
	listen_on(NULL);
	refuses_memory = true;
	listen_on(listener);
	int fd = ask("/livez");
	for (int i = 0; i < 300; i++) {
		step();
		poll(NULL, 0, 1);
	}
	cr_assert(!is_closed(fd));
	refuses_memory = false;
	expect_status(fd, "HTTP/1.1 200 OK");
	end();
}

/* A client is accepted between two failures. */
static void suffer_shortage(void)
{
	accept_error = EMFILE;
	int fd = dial();
	for (int turn = 0; turn < 200; turn++) {
		step();
		poll(NULL, 0, 1);
	}
	accept_error = 0;
	descriptors++;
	expect_clients(1);
	close(fd);
	descriptors--;
	expect_clients(0);
}

Test(http, shortage_that_comes_and_goes_warns_once_a_minute)
{
	serve();
	for (int i = 0; i < 5; i++)
		suffer_shortage();
	cr_assert_eq(warnings, 1);
	ahead = 61;
	suffer_shortage();
	cr_assert_eq(warnings, 2);
	end();
}

/* No time passes: its five seconds are not over. */
Test(http, connect_is_answered_and_closed_at_once)
{
	static const char request[] = "CONNECT evil.example:443 HTTP/1.1\r\n\r\n";
	char head[128] = "";
	serve();
	descriptors++;
	int fd = dial();
	expect_clients(1);
	ahead = -1000;
	MUST(send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0);
	read_answer(fd, head, sizeof(head));
	cr_assert_eq(strncmp(head, "HTTP/1.1 405 ", 13), 0, "%s", head);
	descriptors--;
	expect_clients(0);
	end();
}
