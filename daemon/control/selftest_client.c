#include "control/selftest_client.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENT_PATIENCE = 20 }; /* seconds */

static bool ask(const struct client *c)
{
	const char *probe = c->its->probe;
	return !probe || send(c->fd, probe, strlen(probe), MSG_NOSIGNAL) == (ssize_t)strlen(probe);
}

static bool is_answered(const struct client *c)
{
	char answer[1024];
	size_t got = 0, wanted = c->its->probe ? strlen(c->its->answer) : 0;
	while (got < wanted && wanted <= sizeof(answer)) {
		ssize_t n = recv(c->fd, answer + got, wanted - got, 0);
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return got == wanted && memcmp(answer, c->its->answer, wanted) == 0;
}

static void *run_client(void *arg)
{
	struct client *c = arg;
	do {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		char byte;
		if (!is_answered(c)) {
			if (!atomic_load(&c->may_end) || !c->rounds)
				c->failure = "was not answered";
			break;
		}
		c->rounds++;
		if (poll(&p, 1, 1) == 1 && recv(c->fd, &byte, 1, MSG_PEEK) <= 0) {
			if (!atomic_load(&c->may_end))
				c->failure = "was closed before the drain";
			break;
		}
	} while (ask(c));
	close(c->fd);
	return NULL;
}

void client_start(struct client *c)
{
	struct timeval limit = {.tv_sec = CLIENT_PATIENCE};
	c->fd = socket(c->address.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(c->fd, (struct sockaddr *)&c->address.sa, c->address.length) < 0 || !ask(c)) {
		c->failure = "could not connect";
		return;
	}
	sigset_t all, before; /* signals are for the control thread alone */
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
		c->failure = "could not be started";
	return c->failure;
}
