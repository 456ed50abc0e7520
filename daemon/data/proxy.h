/*
 * The PROXY protocol, version 2, as its receiver: the header by which a balancer says for whom it
 * connects (https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt, 2.2). Bytes in, an
 * address out; any thread.
 */
#ifndef SKELD_PROXY_H
#define SKELD_PROXY_H

#include "base/address.h"

/*
 * The longest header that is taken. With a unix address it has 232 bytes; what a sender adds (a
 * certificate's name, an id) stays far below this. 65,551 could be asked for.
 */
enum { PROXY_HEADER_MAX = 4096 };

enum proxy_result {
	PROXY_COMPLETE,
	PROXY_NEEDS_MORE, /* so far it is the beginning of one */
	PROXY_VERSION_1,  /* the text of version 1 */
	PROXY_TOO_LONG,
	PROXY_MALFORMED
};

struct proxy {
	size_t length; /* of the header: what comes next is the client's */
	/*
	 * The client; its port is 0 where it has none. AF_UNSPEC: nothing is said about it, the
	 * peer of the connection stands for itself (a health check, say). AF_UNIX: without a name.
	 */
	struct address client;
};

/* P is filled when it is complete. What follows the addresses in the header is not looked at. */
enum proxy_result proxy_parse(const void *bytes, size_t n, struct proxy *p);

#endif
