#include "base/address.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static bool parse_unix(const char *path, struct address *a)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&a->sa;
	size_t n = strlen(path);
	if (*path != '/' || n >= sizeof(un->sun_path))
		return false;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, n + 1);
	a->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	return true;
}

static bool parse_v4(const char *host, struct address *a)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&a->sa;
	in->sin_family = AF_INET;
	a->length = sizeof(*in);
	return inet_pton(AF_INET, host, &in->sin_addr) == 1;
}

/* The interface of a link-local address may not exist yet: it is an address that cannot be bound.
 */
static bool parse_without_interface(const char *host, struct address *a)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->sa;
	char number[INET6_ADDRSTRLEN];
	size_t n = strcspn(host, "%"), scope = host[n] ? strlen(host + n + 1) : 0;
	if (n >= sizeof(number) || scope == 0 || scope >= IF_NAMESIZE || strchr(host + n, '/'))
		return false;
	memcpy(number, host, n);
	number[n] = '\0';
	in6->sin6_family = AF_INET6;
	a->length = sizeof(*in6);
	a->no_interface = true;
	return inet_pton(AF_INET6, number, &in6->sin6_addr) == 1 &&
	       (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) ||
		IN6_IS_ADDR_MC_LINKLOCAL(&in6->sin6_addr));
}

/* getaddrinfo(3) parses a scope, fe80::1%eth0. AI_NUMERICHOST: it queries no name server. */
static bool parse_v6(const char *host, struct address *a)
{
	struct addrinfo hints = {.ai_family = AF_INET6, .ai_flags = AI_NUMERICHOST}, *found;
	if (!strchr(host, ':'))
		return false;
	if (getaddrinfo(host, NULL, &hints, &found) != 0)
		return parse_without_interface(host, a);
	memcpy(&a->sa, found->ai_addr, found->ai_addrlen);
	a->length = found->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

static bool parse_port(const char *text, unsigned *port)
{
	*port = 0;
	if (!*text || strlen(text) > 5 || text[strspn(text, "0123456789")])
		return false;
	while (*text)
		*port = *port * 10 + (unsigned)(*text++ - '0');
	return *port <= 65535;
}

bool address_parse(const char *text, struct address *a)
{
	*a = (struct address){0};
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, a);
	a->datagram = strncmp(text, "udp:", 4) == 0;
	text += a->datagram ? 4 : 0;
	const char *colon = strrchr(text, ':');
	char host[ADDRESS_TEXT_MAX];
	unsigned port;
	if (!colon || !parse_port(colon + 1, &port) || colon - text >= ADDRESS_TEXT_MAX)
		return false;
	size_t n = (size_t)(colon - text);
	bool v6 = *text == '[' && n > 2 && text[n - 1] == ']';
	snprintf(host, sizeof(host), "%.*s", (int)(v6 ? n - 2 : n), v6 ? text + 1 : text);
	if (strpbrk(host, "[]") || !(v6 ? parse_v6(host, a) : parse_v4(host, a)))
		return false;
	address_set_port(a, port);
	return true;
}

static bool is_v6(const char *host, size_t n)
{
	char copy[ADDRESS_TEXT_MAX];
	struct address a = {0};
	snprintf(copy, sizeof(copy), "%.*s", (int)n, host);
	return n < sizeof(copy) && parse_v6(copy, &a);
}

static void explain_unix(const char *path, char *out, size_t size)
{
	if (*path != '/')
		snprintf(out, size, "an absolute path after unix:, such as unix:/run/name");
	else
		snprintf(out, size,
			 "a path of at most %zu bytes after unix:, this one is too long: %zu bytes",
			 sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1, strlen(path));
}

static void explain_port(const char *port, char *out, size_t size)
{
	size_t digits = strspn(port, "0123456789");
	if (port[digits])
		snprintf(out, size, "a port number: names of ports are not looked up");
	else if (digits > 5 || strtoul(port, NULL, 10) > 65535)
		snprintf(out, size, "a port from 0 to 65535: %.20s is %s", port,
			 *port == '0' ? "too long" : "above 65535");
	else
		snprintf(out, size, "an address: " ADDRESS_SYNTAX);
}

/* HOST has N bytes. */
static void explain_host(const char *host, size_t n, const char *port, char *out, size_t size)
{
	bool digits = strspn(host, "0123456789.") >= n;
	if (n == 0 || (n == 1 && *host == '*'))
		snprintf(
			out, size,
			"a host: 0.0.0.0:%s for all IPv4 addresses, [::]:%s for all IPv6 addresses",
			port, port);
	else if (*host == '[')
		snprintf(out, size, "an IPv6 address in brackets, such as [::1]:%s", port);
	else if (digits)
		snprintf(out, size, "an IPv4 address of four numbers up to 255, such as 127.0.0.1");
	else if (memchr(host, ':', n))
		snprintf(out, size, "an address: " ADDRESS_SYNTAX);
	else
		snprintf(out, size,
			 "an IP address, such as 127.0.0.1: host names are not looked up here");
}

void address_explain(const char *text, char *out, size_t size)
{
	const char *bracket = strrchr(text, ']'), *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	unsigned port;
	if (strncmp(text, "unix:", 5) == 0)
		explain_unix(text + 5, out, size);
	else if (*text == '/')
		snprintf(out, size, "unix: before a path, such as unix:%.60s", text);
	else if (colon && is_v6(text, n) && parse_port(colon + 1, &port))
		snprintf(out, size, "brackets around the IPv6 address: [%.*s]%s", (int)n, text,
			 colon);
	else if (is_v6(text, strlen(text)))
		snprintf(out, size, "brackets around the IPv6 address, and a port: [%s]:80", text);
	else if (!colon || !colon[1] || (bracket && colon < bracket))
		snprintf(out, size, "a port, the port is missing: " ADDRESS_SYNTAX);
	else if (!parse_port(colon + 1, &port))
		explain_port(colon + 1, out, size);
	else
		explain_host(text, n, colon + 1, out, size);
}

void address_format(const struct address *a, char out[ADDRESS_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1] = "?";
	const struct sockaddr_un *un = (const struct sockaddr_un *)&a->sa;
	if (a->sa.ss_family == AF_UNIX) {
		const size_t head = offsetof(struct sockaddr_un, sun_path);
		bool named = a->length > head, abstract = named && !*un->sun_path;
		int n = snprintf(out, ADDRESS_TEXT_MAX, abstract ? "unix:@" : "unix:%.*s",
				 (int)sizeof(un->sun_path), named ? un->sun_path : "");
		if (abstract)
			text_escape(out + n, (size_t)(ADDRESS_TEXT_MAX - n), un->sun_path + 1,
				    a->length - head - 1);
		return;
	}
	bool v6 = a->sa.ss_family == AF_INET6;
	getnameinfo((const struct sockaddr *)&a->sa,
		    v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in), host,
		    sizeof(host), NULL, 0, NI_NUMERICHOST);
	snprintf(out, ADDRESS_TEXT_MAX, v6 ? "%s[%s]:%u" : "%s%s:%u", a->datagram ? "udp:" : "",
		 host, address_port(a));
}

bool address_is_local(const struct address *a)
{
	const struct in6_addr *v6 = &((const struct sockaddr_in6 *)&a->sa)->sin6_addr;
	if (a->sa.ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(v6) ||
		       (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == IN_LOOPBACKNET);
	return a->sa.ss_family == AF_UNIX ||
	       ntohl(((const struct sockaddr_in *)&a->sa)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

bool address_equal(const struct address *a, const struct address *b)
{
	const struct sockaddr_in6 *x = (const struct sockaddr_in6 *)&a->sa;
	const struct sockaddr_in6 *y = (const struct sockaddr_in6 *)&b->sa;
	if (a->sa.ss_family != b->sa.ss_family || a->datagram != b->datagram ||
	    address_port(a) != address_port(b) || a->no_interface || b->no_interface)
		return false;
	if (a->sa.ss_family == AF_INET)
		return ((const struct sockaddr_in *)x)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)y)->sin_addr.s_addr;
	if (a->sa.ss_family == AF_INET6)
		return memcmp(&x->sin6_addr, &y->sin6_addr, sizeof(x->sin6_addr)) == 0 &&
		       x->sin6_scope_id == y->sin6_scope_id;
	const char *one = ((const struct sockaddr_un *)&a->sa)->sun_path;
	const char *other = ((const struct sockaddr_un *)&b->sa)->sun_path;
	if (*one && *other)
		return strcmp(one, other) == 0;
	/* An abstract name may contain NUL bytes; the length limits it, unix(7). */
	size_t head = offsetof(struct sockaddr_un, sun_path);
	return a->length == b->length &&
	       (a->length <= head || memcmp(one, other, a->length - head) == 0);
}

static bool is_wildcard(const struct address *a)
{
	if (a->sa.ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&a->sa)->sin6_addr);
	return a->sa.ss_family == AF_INET &&
	       ((const struct sockaddr_in *)&a->sa)->sin_addr.s_addr == INADDR_ANY;
}

bool address_overlaps(const struct address *a, const struct address *b)
{
	if (a->sa.ss_family != b->sa.ss_family || a->datagram != b->datagram ||
	    address_port(a) != address_port(b))
		return false;
	return address_equal(a, b) || is_wildcard(a) || is_wildcard(b);
}

unsigned address_port(const struct address *a)
{
	if (a->sa.ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)&a->sa)->sin_port);
	if (a->sa.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&a->sa)->sin6_port);
	return 0;
}

void address_set_port(struct address *a, unsigned port)
{
	if (a->sa.ss_family == AF_INET)
		((struct sockaddr_in *)&a->sa)->sin_port = htons((uint16_t)port);
	else if (a->sa.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&a->sa)->sin6_port = htons((uint16_t)port);
}
