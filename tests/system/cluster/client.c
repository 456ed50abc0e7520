/*
 * A steady load: clients of an echo service that first sends its name.
 *
 *	client ADDRESS PORT SOURCE SHORT LONG PACE
 *
 * SHORT clients connect for each request, LONG clients keep their connection. Each begins a request
 * every PACE milliseconds, or as soon as the one before is answered. A request is a line that comes
 * back; on a new connection, a line with the server's name comes first.
 *
 * SIGUSR1: begin no request, and when none is open, print the counts since the last time in one
 * line. SIGUSR2: continue. A failure is printed at once:
 *
 *	KIND SERVER CONNECTED EXPLANATION	(CONNECTED: time of connect(2), microseconds)
 *
 * `failed`: a request without an answer. `crossed`: a request on a connection that had answered
 * before and that ended without a byte of this answer. It is sent again on a new connection, and
 * then counted as answered or failed. The test finds out if a server had read it.
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

enum { SLOTS_MAX = 4096, WORDS = 64, DEADLINE_SECONDS = 15 };

enum stage {
	RESTING, /* no connection */
	CONNECTING,
	NAMELESS, /* connected, the name of the server has not arrived */
	OPEN,	  /* connected, no request is open */
	ASKED
};

struct slot {
	enum stage stage;
	bool keeps; /* keeps its connection between requests */
	bool again; /* the last request crossed with the end of the connection */
	int fd;
	unsigned answered;	       /* on this connection */
	int64_t due, began, connected; /* microseconds of the epoch */
	char server[WORDS], question[WORDS], line[WORDS];
	size_t length; /* received bytes of line */
};

static struct slot slots[SLOTS_MAX];
static size_t n_slots;
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

static bool is_under_way(const struct slot *s)
{
	return s->stage == CONNECTING || s->stage == NAMELESS || s->stage == ASKED || s->again;
}

static void leave(struct slot *s)
{
	if (s->stage != RESTING)
		close(s->fd);
	s->stage = RESTING;
	s->answered = 0;
	s->length = 0;
	strcpy(s->server, "?");
}

static void tell(const char *kind, const struct slot *s, const char *why)
{
	printf("%s %s %lld %s, %s, after %lld ms\n", kind, s->server, (long long)s->connected,
	       s->keeps ? "long" : "short", why, (long long)(now() - s->began) / 1000);
	fflush(stdout);
}

/* The connection has ended. */
static void over(struct slot *s, const char *why)
{
	s->due = now() + pace;
	if (s->stage == OPEN) {
		counts.closed++;
	} else if (s->stage == ASKED && s->answered && !s->length && !s->again) {
		counts.crossed++;
		tell("crossed", s, why);
		leave(s);
		s->again = true;
		s->due = now();
		return;
	} else {
		counts.failed++;
		tell("failed", s, why);
		s->again = false;
	}
	leave(s);
}

static void watch(struct slot *s, uint32_t events, int how)
{
	struct epoll_event e = {.events = events, .data.ptr = s};
	if (epoll_ctl(poller, how, s->fd, &e) < 0)
		exit(70);
}

static void ask(struct slot *s)
{
	if (!s->again)
		snprintf(s->question, sizeof(s->question), "question %llu\n", ++asked);
	if (s->answered)
		s->began = now();
	s->stage = ASKED;
	s->length = 0;
	ssize_t n = send(s->fd, s->question, strlen(s->question), MSG_NOSIGNAL);
	if (n != (ssize_t)strlen(s->question))
		over(s, n < 0 ? strerror(errno) : "half of it was sent");
}

static void answered(struct slot *s)
{
	int64_t took = now() - s->began;
	if (strcmp(s->line, s->question) != 0) {
		s->length = 1; /* counted as failed, not as crossed */
		over(s, "another line came back");
		return;
	}
	counts.answered++;
	counts.slowest = took > counts.slowest ? took : counts.slowest;
	s->again = false;
	s->due = s->began + pace;
	s->answered++;
	s->stage = OPEN;
	s->length = 0;
	if (!s->keeps)
		leave(s);
}

/* Byte by byte: there are few. */
static void take(struct slot *s, char byte)
{
	s->line[s->length++] = byte;
	s->line[s->length] = '\0';
	if (byte != '\n' && s->length < sizeof(s->line) - 1)
		return;
	if (s->stage == ASKED) {
		answered(s);
	} else if (s->stage == NAMELESS) {
		snprintf(s->server, sizeof(s->server), "%.*s", (int)s->length - 1, s->line);
		ask(s);
	} else {
		over(s, "a line that nobody asked for");
	}
}

static void on_event(struct slot *s)
{
	char bytes[WORDS];
	int error = 0;
	socklen_t size = sizeof(error);
	if (s->stage == CONNECTING) {
		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error) {
			over(s, strerror(error));
			return;
		}
		s->stage = NAMELESS;
		watch(s, EPOLLIN, EPOLL_CTL_MOD);
		return;
	}
	ssize_t n = recv(s->fd, bytes, sizeof(bytes), 0);
	if (n > 0)
		for (ssize_t i = 0; i < n && s->stage > CONNECTING; i++)
			take(s, bytes[i]);
	else if (n == 0 || errno != EAGAIN)
		over(s, n ? strerror(errno) : "closed");
}

static void begin(struct slot *s)
{
	int one = 1;
	char byte;
	if (s->stage == OPEN && recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0) {
		on_event(s); /* the server closed it between two requests */
		return;
	}
	if (s->stage == OPEN) {
		ask(s);
		return;
	}
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	s->began = s->connected = now();
	s->stage = CONNECTING;
	counts.connections++;
	setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&source, sizeof(source)) < 0 ||
	    (connect(s->fd, (struct sockaddr *)&target, sizeof(target)) < 0 &&
	     errno != EINPROGRESS)) {
		over(s, strerror(errno));
		return;
	}
	watch(s, EPOLLOUT, EPOLL_CTL_ADD);
}

/* Begin requests that are due, and end those that take too long. Returns the milliseconds to the
 * next event. */
static int turn(bool paused)
{
	int64_t t = now(), next = t + 100000;
	for (struct slot *s = slots; s < slots + n_slots; s++) {
		if (is_under_way(s) && !(s->again && s->stage <= RESTING)) {
			if (t - s->began > DEADLINE_SECONDS * 1000000LL) {
				s->length = 1;
				over(s, "no answer");
			}
		} else if (paused && !s->again) {
			continue;
		} else if (s->due <= t) {
			begin(s);
		} else if (s->due < next) {
			next = s->due;
		}
	}
	return next <= t ? 0 : (int)((next - t + 999) / 1000);
}

static bool report(void)
{
	for (size_t i = 0; i < n_slots; i++)
		if (is_under_way(&slots[i]))
			return false;
	printf("counted answered=%llu failed=%llu crossed=%llu closed=%llu connections=%llu "
	       "slowest=%lldms\n",
	       counts.answered, counts.failed, counts.crossed, counts.closed, counts.connections,
	       (long long)counts.slowest / 1000);
	fflush(stdout);
	memset(&counts, 0, sizeof(counts));
	return true;
}

static bool understood(char **argv)
{
	size_t n_short = strtoul(argv[4], NULL, 10);
	target = (struct sockaddr_in){.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10))};
	source = (struct sockaddr_in){.sin_family = AF_INET};
	n_slots = n_short + strtoul(argv[5], NULL, 10);
	pace = strtol(argv[6], NULL, 10) * 1000;
	for (size_t i = 0; i < n_slots && i < SLOTS_MAX; i++) {
		slots[i].keeps = i >= n_short;
		/* Spread the first requests over time. */
		slots[i].due = now() + pace * (int64_t)i / (int64_t)n_slots;
		strcpy(slots[i].server, "?");
	}
	return n_slots && n_slots <= SLOTS_MAX && pace >= 0 &&
	       inet_pton(AF_INET, argv[1], &target.sin_addr) == 1 &&
	       inet_pton(AF_INET, argv[3], &source.sin_addr) == 1;
}

int main(int argc, char **argv)
{
	struct epoll_event ready[64], e = {.events = EPOLLIN};
	struct signalfd_siginfo told;
	bool paused = false, owed = false;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (argc != 7 || !understood(argv) || signals < 0 || poller < 0 ||
	    epoll_ctl(poller, EPOLL_CTL_ADD, signals, &e) < 0) {
		fprintf(stderr, "client ADDRESS PORT SOURCE SHORT LONG PACE\n");
		return 64;
	}
	for (;;) {
		int n = epoll_wait(poller, ready, 64, turn(paused));
		for (int i = 0; i < n; i++)
			if (ready[i].data.ptr)
				on_event(ready[i].data.ptr);
		while (read(signals, &told, sizeof(told)) == sizeof(told))
			paused = owed = told.ssi_signo == SIGUSR1;
		if (owed && report())
			owed = false;
	}
}
