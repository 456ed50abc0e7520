#include "channel.h"
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, BUFFER = 65536, TIMEOUT_US = 5000000, HOLD_BATCH = 100 };

struct client {
	struct channel channel;
	size_t sent, received; /* of the request, of the reply */
	double since_us;       /* start of the latency of this message */
	bool watches_write;    /* the socket is watched for room, too */
	bool answered;	       /* has received its first reply */
};

static void set_answered(struct load *load, struct client *client)
{
	load->unanswered -= !client->answered;
	client->answered = true;
}

static void client_fail(struct load *load, struct client *client)
{
	load->errors++;
	load->live--;
	set_answered(load, client);
	channel_close(&client->channel);
}

static bool client_open(struct load *load, struct client *client)
{
	struct epoll_event watch = {.events = EPOLLIN, .data.ptr = client};

	client->sent = load->request_size; /* nothing to send until client_request() */
	client->watches_write = false;
	if (!channel_open(&client->channel, load->port, load->opened++, false))
		return false;
	if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, client->channel.fd, &watch))
		die("epoll_ctl");
	return true;
}

/* Write the rest of the request. Waits for EPOLLOUT only if the socket does not take all of it. */
static void client_write(struct load *load, struct client *client)
{
	struct epoll_event watch = {.events = EPOLLIN, .data.ptr = client};
	ssize_t n = 1;
	bool wait;

	while (n > 0 && client->sent < load->request_size) {
		n = channel_send(&client->channel, load->request + client->sent,
				 load->request_size - client->sent);
		client->sent += n > 0 ? (size_t)n : 0;
	}
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		client_fail(load, client);
		return;
	}
	wait = client->channel.waits_to_write;
	if (wait == client->watches_write)
		return;
	client->watches_write = wait;
	if (wait)
		watch.events |= EPOLLOUT;
	epoll_ctl(load->epoll, EPOLL_CTL_MOD, client->channel.fd, &watch);
}

static void client_request(struct load *load, struct client *client, double since_us)
{
	client->sent = client->received = 0;
	client->since_us = since_us;
	client_write(load, client);
}

static void client_complete(struct load *load, struct client *client)
{
	double now = clock_us();

	set_answered(load, client);
	samples_add(&load->latency, now - client->since_us);
	load->errors += !channel_resumed_as_asked(&client->channel);
	if (load->hold)
		return;
	if (load->reconnect) {
		channel_close(&client->channel);
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
	client_request(load, client, now);
}

static bool is_expected(const struct load *load, size_t at, const char *bytes, size_t n)
{
	size_t one = load->reply_size / load->depth;

	if (memcmp(bytes, load->reply + at, n) == 0)
		return true;
	for (size_t i = 0; i < n; i++) {
		size_t in_one = (at + i) % one;

		if (bytes[i] != load->reply[at + i] &&
		    (in_one < load->skip_from || in_one >= load->skip_to))
			return false;
	}
	return true;
}

static void client_read(struct load *load, struct client *client)
{
	static char buffer[BUFFER];

	do {
		ssize_t n = channel_receive(&client->channel, buffer, sizeof(buffer));

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 || (size_t)n > load->reply_size - client->received ||
		    !is_expected(load, client->received, buffer, (size_t)n)) {
			client_fail(load, client);
			return;
		}
		client->received += (size_t)n;
		if (client->received == load->reply_size) {
			client_complete(load, client);
			return;
		}
	} while (load->kind != CHANNEL_TCP);
}

/* Send the messages that are due, while connections are idle. Returns the time to the next one. */
static double send_due(struct load *load)
{
	double now = clock_us();

	while (load->idle_count && load->due_us <= now) {
		struct client *client = load->idle[load->idle_first];

		load->idle_first = (load->idle_first + 1) % load->connections;
		load->idle_count--;
		client_request(load, client, load->due_us);
		load->due_us += 1e6 / load->rate;
	}
	return load->idle_count ? load->due_us - now : 1e5;
}

/* The timeout of epoll_wait(2) is in milliseconds, too coarse for a rate. */
static void wait_until_due(struct load *load, double us)
{
	struct pollfd ready = {.fd = load->epoll, .events = POLLIN};
	struct timespec timeout = {.tv_nsec = us > 0 ? (long)(us * 1e3) : 0};

	ppoll(&ready, 1, &timeout, NULL);
}

static void run_once(struct load *load)
{
	struct epoll_event events[EVENTS];
	int n;

	if (load->rate > 0)
		wait_until_due(load, send_due(load));
	n = epoll_wait(load->epoll, events, EVENTS, load->rate > 0 ? 0 : 100);
	for (int i = 0; i < n; i++) {
		struct client *client = events[i].data.ptr;

		/* A write may wait for bytes: those of the TLS handshake. */
		if (client->sent < load->request_size)
			client_write(load, client);
		if (client->channel.fd >= 0 && events[i].events & ~(unsigned)EPOLLOUT)
			client_read(load, client);
	}
}

void load_wait_first_replies(struct load *load)
{
	double end = clock_us() + TIMEOUT_US;

	while (load->unanswered) {
		if (clock_us() > end)
			diex("%zu of %zu connections have no reply after 5 s", load->unanswered,
			     load->connections);
		run_once(load);
	}
}

static void open_client(struct load *load, size_t i)
{
	struct client *client = &load->clients[i];

	client->channel = (struct channel){.fd = -1, .kind = load->kind};
	if (!client_open(load, client))
		die("cannot open connection %zu of %zu to port %d", i + 1, load->connections,
		    load->port);
	load->live++;
	load->unanswered++;
	if (load->rate > 0)
		load->idle[load->idle_count++] = client;
	else
		client_request(load, client, clock_us());
}

void load_open(struct load *load)
{
	load->epoll = epoll_create1(EPOLL_CLOEXEC);
	load->clients = calloc(load->connections, sizeof(*load->clients));
	load->idle = calloc(load->connections, sizeof(struct client *));
	if (load->epoll < 0 || !load->clients || !load->idle)
		die("cannot allocate %zu connections", load->connections);
	for (size_t i = 0; i < load->connections; i++) {
		open_client(load, i);
		if (load->hold && (i + 1) % HOLD_BATCH == 0)
			load_wait_first_replies(load);
	}
	load->due_us = clock_us();
}

void load_run(struct load *load, double seconds)
{
	double end = clock_us() + seconds * 1e6;

	while (load->live && clock_us() < end)
		run_once(load);
}

void load_close(struct load *load)
{
	for (size_t i = 0; i < load->connections; i++)
		channel_free(&load->clients[i].channel);
	close(load->epoll);
	free(load->clients);
	free(load->idle);
	free(load->request);
	free(load->reply);
	samples_free(&load->latency);
}
