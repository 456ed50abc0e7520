#include "control/selftest_client.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENT_PATIENCE = 20 }; /* seconds */

static bool probe(int fd, const struct service *its)
{
	char answer[1024];
	size_t got = 0, wanted = strlen(its->answer);
	if (wanted > sizeof(answer) || send(fd, its->probe, strlen(its->probe), MSG_NOSIGNAL) < 0)
		return false;
	while (got < wanted) {
		ssize_t n = recv(fd, answer + got, wanted - got, 0);
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return memcmp(answer, its->answer, wanted) == 0;
}

static void *run_client(void *arg)
{
	struct client *c = arg;
	struct timeval limit = {.tv_sec = CLIENT_PATIENCE};
	int fd = socket(c->address.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&c->address.sa, c->address.length) < 0)
		c->failure = "could not connect";
	while (!c->failure) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		char byte;
		if (c->its->probe && !probe(fd, c->its)) {
			if (!atomic_load(&c->may_end))
				c->failure = "was not answered before the drain";
			break;
		}
		c->rounds++;
		if (poll(&p, 1, 1) == 1 && recv(fd, &byte, 1, MSG_PEEK) <= 0) {
			if (!atomic_load(&c->may_end))
				c->failure = "was closed before the drain";
			break;
		}
	}
	close(fd);
	return NULL;
}

void client_start(struct client *c)
{
	sigset_t all, before; /* signals are for the control thread alone */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&c->thread, NULL, run_client, c) == 0)
		c->started = true;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

const char *client_join(struct client *c)
{
	if (!c->started)
		return "could not be started";
	pthread_join(c->thread, NULL);
	return c->failure;
}
