/*
 * Example: a service that loads a file. Its section names an access list, with one address in each
 * line; only clients with these addresses are served. It sends back what they send.
 *
 * `load` reads and checks the whole list. A mistake rejects the configuration: at -t, at the start
 * and at a reload, which keeps the old list. The workers share the list, and no callback needs a
 * lock: nothing changes the list, and the daemon frees it when the last worker uses the new one.
 */
#include "service.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct access_config {
	char *file;
};

static const struct service_option options[] = {
	{.name = "file",
	 .type = OPTION_PATH,
	 .offset = offsetof(struct access_config, file),
	 .default_value = "",
	 .help = "Clients that are served, one address in each line, \"\" = all"},
	{0},
};

struct list {
	bool everyone; /* there is no list */
	size_t n;
	struct in6_addr *addresses; /* sorted; IPv4 addresses as ::ffff:a.b.c.d */
};

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct in6_addr));
}

static const struct in6_addr v4_prefix = {{{[10] = 0xff, [11] = 0xff}}};

static bool parse(const char *text, struct in6_addr *a)
{
	if (inet_pton(AF_INET6, text, a) == 1)
		return true;
	*a = v4_prefix;
	return inet_pton(AF_INET, text, &a->s6_addr[12]) == 1;
}

static bool add(struct list *l, const struct in6_addr *a)
{
	struct in6_addr *more = realloc(l->addresses, (l->n + 1) * sizeof(*more));
	if (!more)
		return false;
	l->addresses = more;
	l->addresses[l->n++] = *a;
	return true;
}

/* Returns false, and a reason in WHY, which is "" at first, if the file cannot be read or has a
 * mistake. */
static bool read_list(struct list *l, const char *file, char *why, size_t size)
{
	char *line = NULL;
	size_t room = 0;
	struct in6_addr a;
	FILE *in = fopen(file, "re");
	if (!in) {
		snprintf(why, size, "cannot open %s: %s", file, strerror(errno));
		return false;
	}
	for (unsigned i = 1; !*why && getline(&line, &room, in) > 0; i++) {
		line[strcspn(line, "\n")] = '\0';
		if (!parse(line, &a))
			snprintf(why, size, "%s:%u: \"%.100s\": expected an IPv4 or IPv6 address",
				 file, i, line);
		else if (!add(l, &a))
			snprintf(why, size, "out of memory for %s", file);
	}
	if (ferror(in))
		snprintf(why, size, "cannot read %s: %s", file, strerror(errno));
	fclose(in);
	free(line);
	return !*why;
}

static void access_unload(void *loaded)
{
	struct list *l = loaded;
	free(l->addresses);
	free(l);
}

static void *access_load(const void *config, char *why, size_t size)
{
	const struct access_config *c = config;
	struct list *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->everyone = !*c->file;
	if (!l->everyone && !read_list(l, c->file, why, size)) {
		access_unload(l);
		return NULL;
	}
	if (l->n)
		qsort(l->addresses, l->n, sizeof(*l->addresses), compare);
	return l;
}

static bool is_allowed(const struct list *l, const struct sockaddr *peer)
{
	struct in6_addr a = v4_prefix;
	if (peer->sa_family == AF_INET6)
		a = ((const struct sockaddr_in6 *)peer)->sin6_addr;
	else if (peer->sa_family == AF_INET)
		memcpy(&a.s6_addr[12], &((const struct sockaddr_in *)peer)->sin_addr, 4);
	else
		return l->everyone;
	return l->everyone || (l->n && bsearch(&a, l->addresses, l->n, sizeof(a), compare));
}

static int access_opened(struct connection *c)
{
	static const char denied[] = "denied\n";
	socklen_t length;
	if (is_allowed(worker_loaded(connection_worker(c)), connection_peer(c, &length)))
		return 0;
	connection_write(c, denied, strlen(denied));
	return -1;
}

static size_t access_data(struct connection *c, const char *bytes, size_t n)
{
	connection_write(c, bytes, n);
	return n;
}

const struct service service = {
	.name = "access",
	.options = options,
	.config_size = sizeof(struct access_config),
	.load = access_load,
	.unload = access_unload,
	.protocol = {.opened = access_opened, .data = access_data},
	.probe = "hello\n",
	.answer = "hello\n",
};
