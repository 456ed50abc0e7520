/* Socket addresses, and their text form in the configuration and in the log. Any thread. */
#ifndef SKELD_ADDRESS_H
#define SKELD_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define ADDRESS_SYNTAX "host:port, [v6]:port or unix:/path (numeric, names are not looked up)"

enum { ADDRESS_TEXT_MAX = 128 }; /* the longest text form, with its NUL */

struct address {
	struct sockaddr_storage sa;
	socklen_t length;
	bool datagram;	   /* udp:, otherwise a stream */
	bool no_interface; /* [fe80::1%eth9]:80, and there is no eth9 now */
};

/* Parse ADDRESS_SYNTAX, or udp:host:port. Names are rejected, because a slow name server would
 * delay a reload. */
bool address_parse(const char *text, struct address *a);

/*
 * Write to OUT what is expected in place of TEXT, which address_parse() has rejected: "a port from
 * 0 to 65535: 70000 is above 65535".
 */
void address_explain(const char *text, char *out, size_t size);

/*
 * Write the text form. An unnamed unix socket is "unix:". An abstract one is "unix:@name"; only the
 * service manager can pass such a socket, address_parse() rejects the name.
 */
void address_format(const struct address *a, char out[ADDRESS_TEXT_MAX]);

/* Can only this machine reach the address: is it a loopback address or a unix socket? */
bool address_is_local(const struct address *a);

/* Two addresses without their interfaces are never equal, nor are those of TCP and UDP. */
bool address_equal(const struct address *a, const struct address *b);

/* Does a socket without SO_REUSEPORT on A prevent another one on B? */
bool address_overlaps(const struct address *a, const struct address *b);

/* The port, 0 for a unix address. */
unsigned address_port(const struct address *a);
void address_set_port(struct address *a, unsigned port);

#endif
