#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, BUFFER = 65536, PATIENCE_US = 5000000 };

struct client {
	int fd;
	size_t sent, received; /* of the request, of the reply */
	double since;
	bool waits_to_write;
	bool greeted; /* it was answered once */
};

static void client_greeted(struct load *load, struct client *client)
{
	load->ungreeted -= !client->greeted;
	client->greeted = true;
}

static void client_lost(struct load *load, struct client *client)
{
	load->errors++;
	load->live--;
	client_greeted(load, client);
	close(client->fd);
	client->fd = -1;
}

static bool client_open(struct load *load, struct client *client)
{
	struct epoll_event watch = {.events = EPOLLIN, .data.ptr = client};

	client->fd = client_connect(load->port, load->opened++, false);
	client->waits_to_write = false;
	if (client->fd < 0)
		return false;
	if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, client->fd, &watch))
		die("epoll_ctl");
	return true;
}

/* Writes what is left of the request; waits for EPOLLOUT only when it does not fit at once. */
static void client_write(struct load *load, struct client *client)
{
	struct epoll_event watch = {.events = EPOLLIN, .data.ptr = client};
	ssize_t n = send(client->fd, load->request + client->sent,
			 load->request_size - client->sent, MSG_NOSIGNAL);
	bool wait;

	if (n < 0 && errno != EAGAIN) {
		client_lost(load, client);
		return;
	}
	client->sent += n > 0 ? (size_t)n : 0;
	wait = client->sent < load->request_size;
	if (wait == client->waits_to_write)
		return;
	client->waits_to_write = wait;
	if (wait)
		watch.events |= EPOLLOUT;
	epoll_ctl(load->epoll, EPOLL_CTL_MOD, client->fd, &watch);
}

static void client_ask(struct load *load, struct client *client, double since)
{
	client->sent = client->received = 0;
	client->since = since;
	client_write(load, client);
}

static void client_answered(struct load *load, struct client *client)
{
	double now = clock_us();

	client_greeted(load, client);
	samples_add(&load->latency, now - client->since);
	if (load->reconnect) {
		close(client->fd);
		now = clock_us();
		if (!client_open(load, client)) {
			load->errors++;
			load->live--;
			return;
		}
	}
	if (load->rate > 0) {
		load->idle[(load->idle_first + load->idle_count++) % load->connections] = client;
		return;
	}
	client_ask(load, client, now);
}

static void client_read(struct load *load, struct client *client)
{
	static char buffer[BUFFER];
	ssize_t n = read(client->fd, buffer, sizeof(buffer));

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || (size_t)n > load->reply_size - client->received ||
	    memcmp(buffer, load->reply + client->received, (size_t)n) != 0) {
		client_lost(load, client);
		return;
	}
	client->received += (size_t)n;
	if (client->received == load->reply_size)
		client_answered(load, client);
}

/* Sends every message that is due and has an idle connection; returns the time to the next. */
static double send_due(struct load *load)
{
	double now = clock_us();

	while (load->idle_count && load->due <= now) {
		struct client *client = load->idle[load->idle_first];

		load->idle_first = (load->idle_first + 1) % load->connections;
		load->idle_count--;
		client_ask(load, client, load->due);
		load->due += 1e6 / load->rate;
	}
	return load->idle_count ? load->due - now : 1e5;
}

/* epoll_wait() counts in milliseconds, which is too coarse for a rate. */
static void wait_until_due(struct load *load, double us)
{
	struct pollfd ready = {.fd = load->epoll, .events = POLLIN};
	struct timespec timeout = {.tv_nsec = us > 0 ? (long)(us * 1e3) : 0};

	ppoll(&ready, 1, &timeout, NULL);
}

void load_open(struct load *load)
{
	load->epoll = epoll_create1(EPOLL_CLOEXEC);
	load->clients = calloc(load->connections, sizeof(*load->clients));
	load->idle = calloc(load->connections, sizeof(struct client *));
	if (load->epoll < 0 || !load->clients || !load->idle)
		die("no room for %zu connections", load->connections);
	for (size_t i = 0; i < load->connections; i++) {
		if (!client_open(load, &load->clients[i]))
			die("connection %zu of %zu to port %d", i + 1, load->connections,
			    load->port);
		load->live++;
		load->ungreeted++;
		if (load->rate > 0)
			load->idle[load->idle_count++] = &load->clients[i];
		else
			client_ask(load, &load->clients[i], clock_us());
	}
	load->due = clock_us();
}

static void turn(struct load *load)
{
	struct epoll_event events[EVENTS];
	int n;

	if (load->rate > 0)
		wait_until_due(load, send_due(load));
	n = epoll_wait(load->epoll, events, EVENTS, load->rate > 0 ? 0 : 100);
	for (int i = 0; i < n; i++) {
		struct client *client = events[i].data.ptr;

		if (client->waits_to_write && events[i].events & EPOLLOUT)
			client_write(load, client);
		if (client->fd >= 0 && events[i].events & ~(unsigned)EPOLLOUT)
			client_read(load, client);
	}
}

void load_greet(struct load *load)
{
	double end = clock_us() + PATIENCE_US;

	while (load->ungreeted) {
		if (clock_us() > end)
			diex("%zu of %zu connections are not answered after 5 s", load->ungreeted,
			     load->connections);
		turn(load);
	}
}

void load_run(struct load *load, double seconds)
{
	double end = clock_us() + seconds * 1e6;

	while (load->live && clock_us() < end)
		turn(load);
}

void load_close(struct load *load)
{
	for (size_t i = 0; i < load->connections; i++)
		if (load->clients[i].fd >= 0)
			close(load->clients[i].fd);
	close(load->epoll);
	free(load->clients);
	free(load->idle);
	samples_free(&load->latency);
}
