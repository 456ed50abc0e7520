/*
 * The receiving side of the PROXY protocol, version 2: a header in which a load balancer names the
 * client (https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt, section 2.2). Stateless, any
 * thread.
 */
#ifndef SKELD_PROXY_PROTOCOL_H
#define SKELD_PROXY_PROTOCOL_H

#include "base/address.h"

/*
 * The longest header accepted, in bytes. A header with unix addresses has 232 bytes. Extensions (a
 * certificate's name, an id) stay far below this limit; the protocol itself allows 65,551 bytes.
 */
enum { PROXY_HEADER_MAX = 4096 };

enum proxy_result {
	PROXY_COMPLETE,
	PROXY_NEEDS_MORE, /* the bytes are the beginning of a header */
	PROXY_VERSION_1,  /* the text format of version 1 */
	PROXY_TOO_LONG,	  /* longer than PROXY_HEADER_MAX */
	PROXY_MALFORMED
};

struct proxy_header {
	size_t length; /* bytes of the header; the bytes of the client follow */
	/*
	 * The client. AF_UNSPEC: the header names no client, so the peer of the connection is the
	 * client, as in a health check of the balancer. AF_UNIX: the path is not stored.
	 */
	struct address client;
};

/* Parse the header that begins BYTES. Sets *P only if it is complete. Ignores extensions. */
enum proxy_result proxy_header_parse(const void *bytes, size_t n, struct proxy_header *p);

#endif
