/*
 * A steady load on echo services. The banner of each is the name of its server.
 *
 *	client ADDRESS PORT SOURCE SHORT LONG PACE
 *
 * SHORT clients connect for each request, LONG clients keep their connection. Each begins a request
 * every PACE milliseconds, or when the previous one is answered, if that is later. A request is a
 * line that the server echoes; on a new connection, the server first sends a line with its name.
 *
 * SIGUSR1: pause; when no request is open, print the counts since the previous pause in one line.
 * SIGUSR2: continue. A failure is printed at once:
 *
 *	KIND SERVER CONNECTED EXPLANATION	(CONNECTED: time of connect(2), microseconds)
 *
 * `failed`: a request without an answer. `crossed`: a request on a used connection that the server
 * closed before it sent a byte of the answer. The client repeats it on a new connection, and then
 * counts it as answered or failed. The script compares the counts with those of the servers: no
 * server may have read a crossed request.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 4096, WORDS = 64, DEADLINE_SECONDS = 15 };

enum stage {
	UNCONNECTED,
	CONNECTING,
	AWAITS_NAME, /* connected, the name of the server has not arrived */
	OPEN,	     /* connected, no request is open */
	ASKED
};

struct client {
	enum stage stage;
	bool keeps;   /* keeps its connection between requests */
	bool repeats; /* the last request crossed with a close and is sent again */
	int fd;
	unsigned answered;	       /* on this connection */
	int64_t due, began, connected; /* microseconds of the epoch */
	char server[WORDS], question[WORDS], line[WORDS];
	size_t length; /* received bytes of line */
};

static struct client clients[CLIENTS_MAX];
static size_t n_clients;
static int poller;
static int64_t pace;
static struct sockaddr_in target, source;
static struct {
	unsigned long long answered, failed, crossed, closed, connections;
	int64_t slowest;
} counts;
static unsigned long long asked;

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static bool has_open_request(const struct client *c)
{
	return c->stage == CONNECTING || c->stage == AWAITS_NAME || c->stage == ASKED || c->repeats;
}

static void disconnect(struct client *c)
{
	if (c->stage != UNCONNECTED)
		close(c->fd);
	c->stage = UNCONNECTED;
	c->answered = 0;
	c->length = 0;
	strcpy(c->server, "?");
}

static void print_failure(const char *kind, const struct client *c, const char *why)
{
	printf("%s %s %lld %s, %s, after %lld ms\n", kind, c->server, (long long)c->connected,
	       c->keeps ? "long" : "short", why, (long long)(now() - c->began) / 1000);
	fflush(stdout);
}

/* Count the end of the connection: closed between requests, crossed or failed. */
static void on_end(struct client *c, const char *why)
{
	c->due = now() + pace;
	if (c->stage == OPEN) {
		counts.closed++;
	} else if (c->stage == ASKED && c->answered && !c->length && !c->repeats) {
		counts.crossed++;
		print_failure("crossed", c, why);
		disconnect(c);
		c->repeats = true;
		c->due = now();
		return;
	} else {
		counts.failed++;
		print_failure("failed", c, why);
		c->repeats = false;
	}
	disconnect(c);
}

static void watch(struct client *c, uint32_t events, int how)
{
	struct epoll_event e = {.events = events, .data.ptr = c};
	if (epoll_ctl(poller, how, c->fd, &e) < 0)
		exit(70);
}

static void ask(struct client *c)
{
	if (!c->repeats)
		snprintf(c->question, sizeof(c->question), "question %llu\n", ++asked);
	if (c->answered)
		c->began = now();
	c->stage = ASKED;
	c->length = 0;
	ssize_t n = send(c->fd, c->question, strlen(c->question), MSG_NOSIGNAL);
	if (n != (ssize_t)strlen(c->question))
		on_end(c, n < 0 ? strerror(errno) : "partial send");
}

static void answered(struct client *c)
{
	int64_t took = now() - c->began;
	if (strcmp(c->line, c->question) != 0) {
		c->length = 1; /* counted as failed, not as crossed */
		on_end(c, "wrong answer");
		return;
	}
	counts.answered++;
	counts.slowest = took > counts.slowest ? took : counts.slowest;
	c->repeats = false;
	c->due = c->began + pace;
	c->answered++;
	c->stage = OPEN;
	c->length = 0;
	if (!c->keeps)
		disconnect(c);
}

static void receive_byte(struct client *c, char byte)
{
	c->line[c->length++] = byte;
	c->line[c->length] = '\0';
	if (byte != '\n' && c->length < sizeof(c->line) - 1)
		return;
	if (c->stage == ASKED) {
		answered(c);
	} else if (c->stage == AWAITS_NAME) {
		snprintf(c->server, sizeof(c->server), "%.*s", (int)c->length - 1, c->line);
		ask(c);
	} else {
		on_end(c, "unexpected line");
	}
}

static void on_event(struct client *c)
{
	char bytes[WORDS];
	int error = 0;
	socklen_t size = sizeof(error);
	if (c->stage == CONNECTING) {
		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error) {
			on_end(c, strerror(error));
			return;
		}
		c->stage = AWAITS_NAME;
		watch(c, EPOLLIN, EPOLL_CTL_MOD);
		return;
	}
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
	if (n > 0)
		for (ssize_t i = 0; i < n && c->stage > CONNECTING; i++)
			receive_byte(c, bytes[i]);
	else if (n == 0 || errno != EAGAIN)
		on_end(c, n ? strerror(errno) : "closed");
}

static void begin(struct client *c)
{
	int one = 1;
	char byte;
	if (c->stage == OPEN && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0) {
		on_event(c); /* closed by the server between two requests */
		return;
	}
	if (c->stage == OPEN) {
		ask(c);
		return;
	}
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	c->began = c->connected = now();
	c->stage = CONNECTING;
	counts.connections++;
	setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&source, sizeof(source)) < 0 ||
	    (connect(c->fd, (struct sockaddr *)&target, sizeof(target)) < 0 &&
	     errno != EINPROGRESS)) {
		on_end(c, strerror(errno));
		return;
	}
	watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

/* Begin requests that are due, and end those that take too long. Returns the milliseconds to the
 * next event. */
static int turn(bool paused)
{
	int64_t t = now(), next = t + 100000;
	for (struct client *c = clients; c < clients + n_clients; c++) {
		if (has_open_request(c) && !(c->repeats && c->stage == UNCONNECTED)) {
			if (t - c->began > DEADLINE_SECONDS * 1000000LL) {
				c->length = 1;
				on_end(c, "no answer");
			}
		} else if (paused && !c->repeats) {
			continue;
		} else if (c->due <= t) {
			begin(c);
		} else if (c->due < next) {
			next = c->due;
		}
	}
	return next <= t ? 0 : (int)((next - t + 999) / 1000);
}

static bool report(void)
{
	for (size_t i = 0; i < n_clients; i++)
		if (has_open_request(&clients[i]))
			return false;
	printf("counted answered=%llu failed=%llu crossed=%llu closed=%llu connections=%llu "
	       "slowest=%lldms\n",
	       counts.answered, counts.failed, counts.crossed, counts.closed, counts.connections,
	       (long long)counts.slowest / 1000);
	fflush(stdout);
	memset(&counts, 0, sizeof(counts));
	return true;
}

static bool parse_arguments(char **argv)
{
	size_t n_short = strtoul(argv[4], NULL, 10);
	target = (struct sockaddr_in){.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10))};
	source = (struct sockaddr_in){.sin_family = AF_INET};
	n_clients = n_short + strtoul(argv[5], NULL, 10);
	pace = strtol(argv[6], NULL, 10) * 1000;
	for (size_t i = 0; i < n_clients && i < CLIENTS_MAX; i++) {
		clients[i].keeps = i >= n_short;
		/* Spread the first requests over time. */
		clients[i].due = now() + pace * (int64_t)i / (int64_t)n_clients;
		strcpy(clients[i].server, "?");
	}
	return n_clients && n_clients <= CLIENTS_MAX && pace >= 0 &&
	       inet_pton(AF_INET, argv[1], &target.sin_addr) == 1 &&
	       inet_pton(AF_INET, argv[3], &source.sin_addr) == 1;
}

int main(int argc, char **argv)
{
	struct epoll_event ready[64], e = {.events = EPOLLIN};
	struct signalfd_siginfo info;
	bool paused = false, counts_due = false;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (argc != 7 || !parse_arguments(argv) || signals < 0 || poller < 0 ||
	    epoll_ctl(poller, EPOLL_CTL_ADD, signals, &e) < 0) {
		fprintf(stderr, "client ADDRESS PORT SOURCE SHORT LONG PACE\n");
		return 64;
	}
	for (;;) {
		int n = epoll_wait(poller, ready, 64, turn(paused));
		for (int i = 0; i < n; i++)
			if (ready[i].data.ptr)
				on_event(ready[i].data.ptr);
		while (read(signals, &info, sizeof(info)) == sizeof(info))
			paused = counts_due = info.ssi_signo == SIGUSR1;
		if (counts_due && report())
			counts_due = false;
	}
}
