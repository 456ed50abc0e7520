/* The other side of a socket: clients, and listeners of other processes. */
#ifndef SKELD_TESTS_PEER_H
#define SKELD_TESTS_PEER_H

#include "base/address.h"

#include <sys/types.h>

/* Parse TEXT, a valid address. */
struct address address_of(const char *text);

/* Connect to A: a descriptor, or -1 and errno. */
int peer_connect(const struct address *a);

/* Begin to connect to A without waiting. */
int peer_begin(const struct address *a);

/* Connect to A by TCP, but the handshake is half done: the client's acknowledgement is delayed
 * until it sends, or for 200 ms at most (TCP_QUICKACK, tcp(7)). */
int peer_connect_half(const struct address *a);

/* A process that listens on A, with SO_REUSEPORT, until peer_end(). A's port 0 becomes its port. */
struct peer {
	pid_t pid;
	int end;
};
struct peer peer_listen(struct address *a);
void peer_end(struct peer p);

#endif
