#include "cli/selftest_client.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ANSWER_SECONDS = 20 };

static bool send_probe(const struct client *c)
{
	const char *probe = c->service->probe;
	return !probe || send(c->fd, probe, strlen(probe), MSG_NOSIGNAL) == (ssize_t)strlen(probe);
}

static bool read_answer(const struct client *c)
{
	char answer[1024];
	size_t got = 0, wanted = c->service->probe ? strlen(c->service->answer) : 0;
	while (got < wanted && wanted <= sizeof(answer)) {
		ssize_t n = recv(c->fd, answer + got, wanted - got, 0);
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return got == wanted && (!wanted || memcmp(answer, c->service->answer, wanted) == 0);
}

/* Has the daemon closed the connection? Without a probe, discard what the service sends: it would
 * hide the end. A reset is an end, too. */
static bool has_ended(const struct client *c)
{
	char bytes[1024];
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	int flags = c->service->probe ? MSG_PEEK : 0;
	return poll(&p, 1, 1) == 1 && recv(c->fd, bytes, sizeof(bytes), flags) <= 0;
}

static void *run_client(void *arg)
{
	struct client *c = arg;
	do {
		if (!read_answer(c)) {
			if (!atomic_load(&c->may_end) || !c->requests)
				c->failure = "was not answered";
			break;
		}
		c->requests++;
		if (has_ended(c)) {
			if (c->service->probe && !atomic_load(&c->may_end))
				c->failure = "was closed before the drain";
			break;
		}
	} while (send_probe(c));
	close(c->fd);
	return NULL;
}

void client_start(struct client *c)
{
	struct timeval limit = {.tv_sec = ANSWER_SECONDS};
	c->fd = socket(c->address.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(c->fd, (struct sockaddr *)&c->address.sa, c->address.length) < 0 ||
	    !send_probe(c)) {
		c->failure = "could not connect";
		return;
	}
	sigset_t all, before; /* only the control thread handles signals */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&c->thread, NULL, run_client, c) == 0)
		c->started = true;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

const char *client_join(struct client *c)
{
	if (c->started)
		pthread_join(c->thread, NULL);
	else if (!c->failure)
		c->failure = "could not start";
	return c->failure;
}
