#include "control/sockets.h"

#include "base/log.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_FD = 3 }; /* SD_LISTEN_FDS_START */

/* Names of what we stored ourselves: no socket unit is called so. */
#define STORED "skeld-stored-"
enum { STORED_MAX = sizeof(STORED) + 16 };

/* A name that the protocol allows, the same for the same address: FNV-1a of its text. */
static void store_name(const struct listener *l, char out[STORED_MAX])
{
	char text[ADDRESS_TEXT_MAX];
	uint64_t hash = 14695981039346656037u;
	address_show(&l->actual, text);
	for (const char *p = text; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211u;
	snprintf(out, STORED_MAX, STORED "%016llx", (unsigned long long)hash);
}

void sockets_take(struct listeners *passed, struct errors *e)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	char *end = NULL;
	long n = pid && count && strtol(pid, NULL, 10) == (long)getpid() ? strtol(count, &end, 10)
									 : 0;
	if (n < 0 || n > 4096 || (end && *end)) {
		errors_add(e, NULL, 0,
			   "LISTEN_FDS=%s: expected a number of descriptors, none is taken", count);
		n = 0;
	}
	for (int fd = FIRST_FD; fd < FIRST_FD + n; fd++) {
		char name[256] = "unknown";
		if (names)
			snprintf(name, sizeof(name), "%.*s", (int)strcspn(names, ":"), names);
		if (names)
			names = names[strcspn(names, ":")] ? strchr(names, ':') + 1 : NULL;
		bool ours = strncmp(name, STORED, strlen(STORED)) == 0;
		listeners_adopt(passed, fd, name, ours ? KEEPER_STORE : KEEPER_UNIT, e);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

void sockets_sort(struct listeners *passed, const struct snapshot *s, struct notify *n)
{
	size_t kept = 0;
	for (size_t i = 0; i < passed->n; i++) {
		struct listener *l = passed->listener[i];
		char address[ADDRESS_TEXT_MAX], name[STORED_MAX];
		address_show(&l->actual, address);
		if (snapshot_has(s, l))
			log_info("%s is served by the socket passed as %s", address, l->title);
		else
			log_warning("no listen section asks for %s, passed as %s: %s", address,
				    l->title,
				    l->keeper == KEEPER_UNIT ? "nobody answers there" : "closed");
		if (l->keeper == KEEPER_UNIT) {
			passed->listener[kept++] = l;
			continue;
		}
		if (!snapshot_has(s, l)) {
			store_name(l, name);
			notify_store(n, name, NULL, 0);
		}
		listener_unref(l); /* the snapshot has it, as any other of its listeners */
	}
	passed->n = kept;
}

void sockets_keep(struct notify *n, const struct snapshot *new, const struct snapshot *old)
{
	char name[STORED_MAX];
	if (!n->stores)
		return;
	for (size_t i = 0; old && i < old->n_listeners; i++)
		if (old->listener[i]->keeper == KEEPER_STORE &&
		    !snapshot_has(new, old->listener[i])) {
			store_name(old->listener[i], name);
			notify_store(n, name, NULL, 0);
			old->listener[i]->keeper = KEEPER_NONE;
		}
	for (size_t i = 0; i < new->n_listeners; i++) {
		struct listener *l = new->listener[i];
		/* A unix socket's file would stay behind after a stop: those are not kept. */
		if (l->keeper != KEEPER_NONE || l->actual.sa.ss_family == AF_UNIX)
			continue;
		store_name(l, name);
		if (notify_store(n, name, l->fds, l->n_fds))
			l->keeper = KEEPER_STORE;
	}
}
