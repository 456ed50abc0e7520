#include "base/address.h"

#include <arpa/inet.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <stdio.h>
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

bool address_parse(const char *text, struct address *a)
{
	*a = (struct address){0};
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, a);
	/* evutil takes an address without a port, and an IPv6 one without brackets, too. */
	const char *port = strrchr(text, ':');
	bool v6 = *text == '[';
	if (!port || !port[1] || strlen(port + 1) > 5 || port[1 + strspn(port + 1, "0123456789")] ||
	    (v6 ? port[-1] != ']' : strchr(text, ':') != port))
		return false;
	unsigned number = 0;
	for (const char *p = port + 1; *p; p++)
		number = number * 10 + (unsigned)(*p - '0');
	if (number > 65535)
		return false;
	char host[ADDRESS_TEXT_MAX + 4]; /* with port 1: evutil refuses 0, "the kernel chooses" */
	if ((size_t)(port - text) > ADDRESS_TEXT_MAX)
		return false;
	snprintf(host, sizeof(host), "%.*s:1", (int)(port - text), text);
	int length = sizeof(a->sa);
	if (evutil_parse_sockaddr_port(host, (struct sockaddr *)&a->sa, &length) < 0)
		return false;
	a->length = (socklen_t)length;
	address_set_port(a, number);
	return true;
}

void address_show(const struct address *a, char out[ADDRESS_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN] = "";
	if (a->sa.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&a->sa;
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(out, ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(in->sin_port));
	} else if (a->sa.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->sa;
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(out, ADDRESS_TEXT_MAX, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		const struct sockaddr_un *un = (const struct sockaddr_un *)&a->sa;
		bool named = a->length > offsetof(struct sockaddr_un, sun_path);
		snprintf(out, ADDRESS_TEXT_MAX, "unix:%.*s", (int)sizeof(un->sun_path),
			 named ? un->sun_path : "");
	}
}

bool address_equal(const struct address *a, const struct address *b)
{
	if (a->sa.ss_family != b->sa.ss_family)
		return false;
	char x[ADDRESS_TEXT_MAX], y[ADDRESS_TEXT_MAX];
	address_show(a, x);
	address_show(b, y);
	return strcmp(x, y) == 0;
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
