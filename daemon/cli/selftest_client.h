/*
 * The self-test's client, on a separate thread: sends the service's probe, waits for the answer,
 * and repeats that until the daemon closes the connection. Without a probe it only connects, and
 * the service may close the connection at any time, as a proxy does without a server.
 */
#ifndef SKELD_SELFTEST_CLIENT_H
#define SKELD_SELFTEST_CLIENT_H

#include "base/address.h"
#include "service.h"

#include <pthread.h>
#include <stdatomic.h>

struct client {
	const struct service *service;
	struct address address;
	int fd;
	_Atomic bool may_end; /* the daemon drains: it may close the connection */
	pthread_t thread;
	bool started;
	unsigned requests; /* probes that were answered; read after client_join() */
	const char *failure;
};

/* Connect, send the first probe, and start the thread. */
void client_start(struct client *c);

/* Wait for the thread to end. Returns NULL, or the failure. */
const char *client_join(struct client *c);

#endif
