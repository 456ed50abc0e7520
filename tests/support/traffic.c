#include "traffic.h"

#include "observe.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* The message repeats after a prime number of bytes, which divides no buffer size. */
enum { PERIOD = 65521 };

size_t scaled(size_t n)
{
	return SANITIZED("") ? n : n / 5;
}

size_t allow_descriptors(size_t n)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return 0;
	if (r.rlim_cur < n) {
		r.rlim_cur = n < r.rlim_max ? n : r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
		getrlimit(RLIMIT_NOFILE, &r);
	}
	return (size_t)r.rlim_cur;
}

/* PERIOD bytes of the message from byte AT. */
static const char *message(uint64_t at)
{
	static char text[2 * PERIOD];
	if (!text[0])
		for (uint32_t i = 0; i < 2 * PERIOD; i++)
			text[i] = (char)(1 + (i % PERIOD * 2654435761U >> 16) % 255);
	return text + at % PERIOD;
}

bool pump_send(struct pump *p)
{
	uint64_t before = p->sent;
	while (p->sent < p->total) {
		uint64_t left = p->total - p->sent;
		ssize_t n = send(p->fd, message(p->sent), left < PERIOD ? (size_t)left : PERIOD,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			break;
		MUST(n > 0);
		p->sent += (uint64_t)n;
	}
	return p->sent > before;
}

/* Does every thread of the daemon sleep? */
static bool sleeps(void)
{
	char path[64];
	bool all = true;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)daemon_pid);
	DIR *tasks = opendir(path);
	MUST(tasks);
	for (struct dirent *entry; (entry = readdir(tasks)) && all;) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/stat", (int)daemon_pid,
			 entry->d_name);
		const char *text = file_text(path), *name = text ? strrchr(text, ')') : NULL;
		all = !name || name[2] == 'S';
	}
	closedir(tasks);
	return all;
}

void await_idle(void)
{
	AWAIT(sleeps());
}

void pump_fill(struct pump *p)
{
	double received = -1, before;
	do {
		while (pump_send(p))
			;
		await_idle();
		before = received;
		received = stats_fresh("skeld_received_bytes_total");
	} while (pump_send(p) || received > before);
}

static void pump_receive(struct pump *p)
{
	char bytes[PERIOD];
	while (p->received < p->total) {
		ssize_t n = recv(p->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return;
		MUST(n >= 0);
		if (n == 0 || p->received + (uint64_t)n > p->sent ||
		    memcmp(bytes, message(p->received), (size_t)n) != 0)
			fail_test("%zd wrong bytes after %llu of %llu", n,
				  (unsigned long long)p->received, (unsigned long long)p->total);
		p->received += (uint64_t)n;
	}
}

void pump_run(struct pump *p)
{
	for (int64_t until = deadline(); p->received < p->total;) {
		short events = p->sent < p->total ? POLLIN | POLLOUT : POLLIN;
		await_fd(p->fd, events, until, "a long message to go through");
		pump_send(p);
		pump_receive(p);
	}
}

size_t client_read_all(int fd, char *text, size_t size)
{
	int64_t until = deadline();
	size_t have = 0;
	for (;;) {
		await_fd(fd, POLLIN, until, "all answers, and EOF");
		ssize_t n = recv(fd, text + have, size - 1 - have, MSG_DONTWAIT);
		MUST(n >= 0 && have < size - 1);
		if (n == 0)
			break;
		have += (size_t)n;
	}
	text[have] = '\0';
	client_close(fd);
	return have;
}

void client_shut(int fd)
{
	MUST(shutdown(fd, SHUT_WR) == 0);
}

void client_reset(int fd)
{
	struct linger now = {.l_onoff = 1};
	MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
	client_close(fd);
}

/* Receive a part of a reply. Returns false when the connection has ended. */
static bool receive_reply(int fd, const char *reply, size_t *received)
{
	char bytes[4096];
	size_t size = strlen(reply), at = *received % size, left = size - at;
	await_fd(fd, POLLIN, deadline(), "a reply or EOF");
	ssize_t n = recv(fd, bytes, left < sizeof(bytes) ? left : sizeof(bytes), MSG_DONTWAIT);
	if (n > 0 && memcmp(bytes, reply + at, (size_t)n) != 0)
		fail_test("wrong after %zu bytes of a reply: %.*s", at, (int)n, bytes);
	*received += n > 0 ? (size_t)n : 0;
	return n > 0;
}

void drain_with_clients(const char *request, const char *reply)
{
	enum { CLIENTS = 20, ROUNDS = 20 };
	int clients[CLIENTS];
	size_t received[CLIENTS] = {0}, open = CLIENTS, size = strlen(reply);
	for (size_t i = 0; i < CLIENTS; i++)
		clients[i] = client_connect("main");
	for (size_t round = 0; open; round++) {
		for (size_t i = 0; i < CLIENTS; i++)
			if (clients[i] >= 0 && received[i] % size == 0)
				send(clients[i], request, strlen(request), MSG_NOSIGNAL);
		if (round == ROUNDS) /* requests are on their way */
			daemon_signal(SIGTERM);
		for (size_t i = 0; i < CLIENTS; i++) {
			if (clients[i] < 0 || receive_reply(clients[i], reply, &received[i]))
				continue;
			if (round < ROUNDS || received[i] % size)
				fail_test("client %zu: closed in round %zu after %zu bytes of a "
					  "reply",
					  i, round, received[i] % size);
			client_close(clients[i]);
			clients[i] = -1;
			open--;
		}
	}
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("drained: cut_off=0"), "%s", log_text());
}

const char *client_name(int fd, char name[static 32])
{
	struct sockaddr_in in;
	socklen_t n = sizeof(in);
	MUST(getsockname(fd, (struct sockaddr *)&in, &n) == 0);
	snprintf(name, 32, "%s:%d", inet_ntoa(in.sin_addr), ntohs(in.sin_port));
	return name;
}

double stats_fresh(const char *metric)
{
	stats_dump();
	return stats_value(metric);
}

void stats_await(const char *metric, double value)
{
	double have;
	for (int64_t until = deadline(); (have = stats_fresh(metric)) < value || have > value;) {
		char what[160];
		snprintf(what, sizeof(what), "%s %.0f, it is %.0f", metric, value, have);
		await_turn(until, what);
	}
}

/* accepted - closed - open, in the last dump. */
static double unaccounted(void)
{
	static const char *const reasons[] = {"peer",	  "service", "error",	"idle",
					      "overflow", "limit",   "memory",	"proxy",
					      "tls",	  "drain",   "deadline"};
	double n = stats_value("skeld_connections_accepted_total") -
		   stats_value("skeld_connections_open");
	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++) {
		char metric[96];
		snprintf(metric, sizeof(metric), "skeld_connections_closed_total{reason=\"%s\"}",
			 reasons[i]);
		n -= stats_value(metric);
	}
	return n;
}

void stats_await_open(size_t n)
{
	stats_await("skeld_connections_open", (double)n);
	/* A worker updates its counters shortly after the effect is visible. */
	for (int64_t until = deadline(); unaccounted() < 0 || unaccounted() > 0; stats_dump())
		await_turn(until, "accepted = closed + open");
}

double seconds_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_of_daemon(void)
{
	clockid_t clock;
	struct timespec t;
	MUST((errno = clock_getcpuclockid(daemon_pid, &clock)) == 0);
	MUST(clock_gettime(clock, &t) == 0);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

double measure_cpu(unsigned ms)
{
	struct itimerspec period = {
		.it_value = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000L}};
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	MUST(timer >= 0 && timerfd_settime(timer, 0, &period, NULL) == 0);
	double before = cpu_of_daemon();
	await_fd(timer, POLLIN, deadline(), "a measurement");
	close(timer);
	return cpu_of_daemon() - before;
}
