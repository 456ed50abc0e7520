#include "data/proxy_protocol.h"

#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

/* Offsets in a header. Byte 12: version and command; byte 13: address family and transport. */
enum { COMMAND_OFFSET = 12, FAMILY_OFFSET = 13, LENGTH_OFFSET = 14, ADDRESSES_OFFSET = 16 };
enum { VERSION = 2, LOCAL = 0, PROXY = 1 };
enum { UNSPEC, INET, INET6, UNIX, N_FAMILIES };
enum { N_TRANSPORTS = 3 }; /* unspecified, stream, datagram */

/* The address block: source address, destination address, source port, destination port. */
static const size_t block_length[N_FAMILIES] = {
	[INET] = 4 + 4 + 2 + 2, [INET6] = 16 + 16 + 2 + 2, [UNIX] = 108 + 108};
enum { INET_PORT_OFFSET = 4 + 4, INET6_PORT_OFFSET = 16 + 16 };

static const uint8_t signature[COMMAND_OFFSET] = "\r\n\r\n\0\r\nQUIT\n";
static const char version_1[] = {'P', 'R', 'O', 'X', 'Y', ' '};

/* Do the N bytes begin with PREFIX, as far as they go? */
static bool matches_prefix(const void *bytes, size_t n, const void *prefix, size_t length)
{
	return memcmp(bytes, prefix, n < length ? n : length) == 0;
}

/* Read the source from the address block. */
static void read_client(const uint8_t *block, unsigned family, struct address *a)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a->sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a->sa;
	if (family == INET) {
		v4->sin_family = AF_INET;
		a->length = sizeof(*v4);
		memcpy(&v4->sin_addr, block, 4);
		memcpy(&v4->sin_port, block + INET_PORT_OFFSET, 2);
	} else if (family == INET6) {
		v6->sin6_family = AF_INET6;
		a->length = sizeof(*v6);
		memcpy(&v6->sin6_addr, block, 16);
		memcpy(&v6->sin6_port, block + INET6_PORT_OFFSET, 2);
	} else if (family == UNIX) {
		a->sa.ss_family = AF_UNIX;
		a->length = sizeof(a->sa.ss_family);
	}
}

enum proxy_result proxy_header_parse(const void *bytes, size_t n, struct proxy_header *p)
{
	const uint8_t *b = bytes;
	if (n && matches_prefix(b, n, version_1, sizeof(version_1)))
		return n < sizeof(version_1) ? PROXY_NEEDS_MORE : PROXY_VERSION_1;
	if (!matches_prefix(b, n, signature, sizeof(signature)))
		return PROXY_MALFORMED;
	if (n < ADDRESSES_OFFSET)
		return PROXY_NEEDS_MORE;
	unsigned version = b[COMMAND_OFFSET] >> 4, command = b[COMMAND_OFFSET] & 15;
	unsigned family = b[FAMILY_OFFSET] >> 4, transport = b[FAMILY_OFFSET] & 15;
	size_t length = (size_t)(b[LENGTH_OFFSET] << 8 | b[LENGTH_OFFSET + 1]);
	if (version != VERSION || command > PROXY)
		return PROXY_MALFORMED;
	/* Section 2.2: ignore the family of LOCAL, and addresses of an unspecified transport. */
	if (command == PROXY && (family >= N_FAMILIES || transport >= N_TRANSPORTS))
		return PROXY_MALFORMED;
	if (command == LOCAL || !transport)
		family = UNSPEC;
	if (length < block_length[family])
		return PROXY_MALFORMED;
	if (ADDRESSES_OFFSET + length > PROXY_HEADER_MAX)
		return PROXY_TOO_LONG;
	if (n < ADDRESSES_OFFSET + length)
		return PROXY_NEEDS_MORE;
	*p = (struct proxy_header){.length = ADDRESSES_OFFSET + length};
	read_client(b + ADDRESSES_OFFSET, family, &p->client);
	return PROXY_COMPLETE;
}
