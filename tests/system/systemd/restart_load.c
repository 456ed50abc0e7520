/*
 * A load for the tests of restarts. Each client connects, sends a question, expects an answer and
 * closes the connection, in a loop. Counts how each attempt ended, and prints the counts on
 * SIGTERM. An attempt is `late` if no answer arrives in time, and `slow` if the server closed the
 * connection because the client sent nothing for longer than the grace period of a drain.
 *
 * usage: restart_load PORT CLIENTS QUESTION ANSWER, on 127.0.0.1
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 64, PAUSE_MS = 1, TIMEOUT_SECONDS = 10, ANSWER_MAX = 4096, SLOW_MS = 200 };

enum outcome { OK, REFUSED, RESET, CLOSED, LATE, SLOW, WRONG, N_OUTCOMES };
static const char *const outcome_names[N_OUTCOMES] = {
	[OK] = "ok",	 [REFUSED] = "refused", [RESET] = "reset", [CLOSED] = "closed",
	[LATE] = "late", [SLOW] = "slow",	[WRONG] = "wrong"};

static _Atomic unsigned long count[N_OUTCOMES];
static atomic_bool stopping;
static uint16_t port;
static const char *question, *expected;

static enum outcome outcome_of(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return REFUSED;
	case ECONNRESET:
	case EPIPE:
		return RESET;
	case EAGAIN:
	case EINPROGRESS: /* SO_SNDTIMEO limits connect(2) */
	case ETIMEDOUT:
		return LATE;
	default:
		fprintf(stderr, "restart_load: %s\n", strerror(error));
		return WRONG;
	}
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static enum outcome talk(int fd, const struct sockaddr_in *from, const struct sockaddr_in *to)
{
	char answer[ANSWER_MAX];
	size_t n = 0, all = strlen(expected);
	int64_t began = now_ms();
	if (bind(fd, (const struct sockaddr *)from, sizeof(*from)) < 0 ||
	    connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
		return outcome_of(errno);
	ssize_t sent = send(fd, question, strlen(question), MSG_NOSIGNAL);
	bool slow = now_ms() - began >= SLOW_MS;
	if (sent < 0)
		return slow && outcome_of(errno) == RESET ? SLOW : outcome_of(errno);
	while (n < all) {
		ssize_t r = recv(fd, answer + n, all - n, 0);
		enum outcome outcome = r < 0 ? outcome_of(errno) : CLOSED;
		if (r <= 0)
			return slow && (outcome == RESET || outcome == CLOSED) ? SLOW : outcome;
		n += (size_t)r;
	}
	return memcmp(expected, answer, all) == 0 ? OK : WRONG;
}

/* Each connection uses another address of 127.0.0.0/8: one address has too few ports. */
static void *run_client(void *arg)
{
	int one = 1;
	struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (uint32_t i = (uint32_t)(size_t)arg; !atomic_load(&stopping); i += CLIENTS_MAX) {
		struct sockaddr_in from = {.sin_family = AF_INET};
		from.sin_addr.s_addr = htonl((INADDR_LOOPBACK & 0xff000000) | (i % 65536 + 1));
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
		count[talk(fd, &from, &to)]++;
		close(fd);
		poll(NULL, 0, PAUSE_MS);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[CLIENTS_MAX];
	size_t clients = argc == 5 ? strtoul(argv[2], NULL, 10) : 0;
	if (!clients || clients > CLIENTS_MAX || strlen(argv[4]) > ANSWER_MAX) {
		fprintf(stderr,
			"usage: restart_load PORT CLIENTS QUESTION ANSWER, at most %d clients\n",
			CLIENTS_MAX);
		return 64;
	}
	port = (uint16_t)strtoul(argv[1], NULL, 10);
	question = argv[3];
	expected = argv[4];

	int signal = 0;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (size_t i = 0; i < clients; i++)
		if (pthread_create(&thread[i], NULL, run_client, (void *)i))
			abort();
	sigwait(&set, &signal);
	atomic_store(&stopping, true);
	for (size_t i = 0; i < clients; i++)
		pthread_join(thread[i], NULL);
	for (size_t i = 0; i < N_OUTCOMES; i++)
		printf("%s=%lu%s", outcome_names[i], count[i], i < N_OUTCOMES - 1 ? " " : "\n");
	return 0;
}
