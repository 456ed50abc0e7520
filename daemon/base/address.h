/* Addresses as they are written in the configuration and in the log. Any thread. */
#ifndef SKELD_ADDRESS_H
#define SKELD_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define ADDRESS_ACCEPTED "host:port, [v6]:port or unix:/path (numbers: names are not looked up)"

enum { ADDRESS_TEXT_MAX = 128 }; /* the longest address as text, with its NUL */

struct address {
	struct sockaddr_storage sa;
	socklen_t length;
};

/* Numeric addresses only: a look-up could hold up a reload for as long as a name server likes. */
bool address_parse(const char *text, struct address *a);

/* As it would be written in the configuration; "unix:" alone for a socket without a name, and an
 * abstract one, which can only be passed, as "unix:@name". */
void address_show(const struct address *a, char out[ADDRESS_TEXT_MAX]);

/* Only this machine can reach it: a loopback address or a unix socket. */
bool address_is_local(const struct address *a);

bool address_equal(const struct address *a, const struct address *b);

/* Of two sockets that share nothing, can only one have its address? */
bool address_overlaps(const struct address *a, const struct address *b);

/* The TCP port, 0 for a unix address. */
unsigned address_port(const struct address *a);
void address_set_port(struct address *a, unsigned port);

#endif
