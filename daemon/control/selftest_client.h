/* The self-test's client: a probe, its answer, and again, until the daemon closes the connection.
 */
#ifndef SKELD_SELFTEST_CLIENT_H
#define SKELD_SELFTEST_CLIENT_H

#include "base/address.h"
#include "service.h"

#include <pthread.h>
#include <stdatomic.h>

struct client {
	const struct service *its;
	struct address address;
	int fd;
	_Atomic bool may_end; /* the daemon drains: being closed is no failure any more */
	pthread_t thread;
	bool started;
	unsigned rounds; /* probes that were answered */
	const char *failure;
};

/* Connects and sends the first probe at once: what comes after finds a client there. */
void client_start(struct client *c);

/* Wait for its end. NULL, or what went wrong. */
const char *client_join(struct client *c);

#endif
