#include "data/proxy.h"

#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

/* Where things are in a header. */
enum { AT_COMMAND = 12, AT_FAMILY = 13, AT_LENGTH = 14, AT_ADDRESSES = 16 };
enum { VERSION = 2, LOCAL = 0, PROXY = 1 };
enum { UNSPEC, INET, INET6, UNIX, N_FAMILIES };
enum { N_TRANSPORTS = 3 }; /* unspecified, stream, datagram */

/* Of both addresses, and both ports; and where the first port is: after the addresses. */
static const size_t lengths[N_FAMILIES] = {
	[INET] = 4 + 4 + 2 + 2, [INET6] = 16 + 16 + 2 + 2, [UNIX] = 108 + 108};
enum { AT_PORT = 8, AT_PORT_6 = 32 };

static const uint8_t signature[AT_COMMAND] = "\r\n\r\n\0\r\nQUIT\n";
static const char version_1[] = {'P', 'R', 'O', 'X', 'Y', ' '};

/* The first N bytes of the two are equal, or as many as there are. */
static bool begins(const void *bytes, size_t n, const void *with, size_t length)
{
	return memcmp(bytes, with, n < length ? n : length) == 0;
}

/* The source: it is the first of the two addresses, and its port the first of the two. */
static void take_client(const uint8_t *at, unsigned family, struct address *a)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a->sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a->sa;
	if (family == INET) {
		v4->sin_family = AF_INET;
		a->length = sizeof(*v4);
		memcpy(&v4->sin_addr, at, 4);
		memcpy(&v4->sin_port, at + AT_PORT, 2);
	} else if (family == INET6) {
		v6->sin6_family = AF_INET6;
		a->length = sizeof(*v6);
		memcpy(&v6->sin6_addr, at, 16);
		memcpy(&v6->sin6_port, at + AT_PORT_6, 2);
	} else if (family == UNIX) {
		a->sa.ss_family = AF_UNIX;
		a->length = sizeof(a->sa.ss_family);
	}
}

enum proxy_result proxy_parse(const void *bytes, size_t n, struct proxy *p)
{
	const uint8_t *b = bytes;
	if (n && begins(b, n, version_1, sizeof(version_1)))
		return n < sizeof(version_1) ? PROXY_NEEDS_MORE : PROXY_VERSION_1;
	if (!begins(b, n, signature, sizeof(signature)))
		return PROXY_MALFORMED;
	if (n < AT_ADDRESSES)
		return PROXY_NEEDS_MORE;
	unsigned version = b[AT_COMMAND] >> 4, command = b[AT_COMMAND] & 15;
	unsigned family = b[AT_FAMILY] >> 4, transport = b[AT_FAMILY] & 15;
	size_t length = (size_t)(b[AT_LENGTH] << 8 | b[AT_LENGTH + 1]);
	if (version != VERSION || command > PROXY)
		return PROXY_MALFORMED;
	/* What LOCAL says of a family is to be ignored, and so are addresses without a transport.
	 */
	if (command == PROXY && (family >= N_FAMILIES || transport >= N_TRANSPORTS))
		return PROXY_MALFORMED;
	if (command == LOCAL || !transport)
		family = UNSPEC;
	if (length < lengths[family])
		return PROXY_MALFORMED;
	if (AT_ADDRESSES + length > PROXY_HEADER_MAX)
		return PROXY_TOO_LONG;
	if (n < AT_ADDRESSES + length)
		return PROXY_NEEDS_MORE;
	*p = (struct proxy){.length = AT_ADDRESSES + length};
	take_client(b + AT_ADDRESSES, family, &p->client);
	return PROXY_COMPLETE;
}
