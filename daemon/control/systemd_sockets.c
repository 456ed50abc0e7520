#include "control/systemd_sockets.h"

#include "base/log.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_FD = 3 }; /* SD_LISTEN_FDS_START */

/* The names of descriptors that this daemon stored; no socket unit has such a name. */
#define STORED "skeld-stored-"
enum { STORED_MAX = sizeof(STORED) + 16 };

/* A valid name that depends on the address only: the FNV-1a hash of its text. */
static void store_name(const struct listener *l, char out[STORED_MAX])
{
	char text[ADDRESS_TEXT_MAX];
	uint64_t hash = 14695981039346656037u;
	address_format(&l->actual, text);
	for (const char *p = text; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211u;
	snprintf(out, STORED_MAX, STORED "%016llx", (unsigned long long)hash);
}

void systemd_sockets_take(struct listeners *passed, struct errors *e)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	char *end = NULL;
	long n = pid && count && strtol(pid, NULL, 10) == (long)getpid() ? strtol(count, &end, 10)
									 : 0;
	if (n < 0 || n > 4096 || (end && *end)) {
		errors_add(e, NULL, 0,
			   "LISTEN_FDS=%s: expected a number; passed sockets are ignored", count);
		n = 0;
	}
	for (int fd = FIRST_FD; fd < FIRST_FD + n; fd++) {
		char name[256] = "unknown";
		if (names) {
			size_t length = strcspn(names, ":");
			snprintf(name, sizeof(name), "%.*s", (int)length, names);
			names = names[length] ? names + length + 1 : NULL;
		}
		bool ours = strncmp(name, STORED, strlen(STORED)) == 0;
		listeners_adopt(passed, fd, name, ours ? KEEPER_STORE : KEEPER_UNIT, e);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

void systemd_sockets_sort(struct listeners *passed, const struct snapshot *s, struct notify *n)
{
	size_t kept = 0;
	for (size_t i = 0; i < passed->n; i++) {
		struct listener *l = passed->listener[i];
		char address[ADDRESS_TEXT_MAX], name[STORED_MAX];
		address_format(&l->actual, address);
		if (snapshot_has(s, l))
			log_info("using passed socket: %s as %s", address, l->title);
		else
			log_warning(
				"unused socket: %s, passed as %s, matches no listen section; %s",
				address, l->title,
				l->keeper == KEEPER_UNIT ? "connections to it are not accepted"
							 : "closed");
		if (l->keeper == KEEPER_UNIT) {
			passed->listener[kept++] = l;
			continue;
		}
		if (!snapshot_has(s, l)) {
			store_name(l, name);
			notify_store(n, name, NULL, 0);
		}
		listener_unref(l); /* the snapshot has a reference */
	}
	passed->n = kept;
}

void systemd_sockets_keep(struct notify *n, const struct snapshot *new, const struct snapshot *old)
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
		/* Unix sockets are not stored: their files would remain after a stop. */
		if (l->keeper != KEEPER_NONE || l->actual.sa.ss_family == AF_UNIX)
			continue;
		store_name(l, name);
		if (notify_store(n, name, l->fds, l->n_fds))
			l->keeper = KEEPER_STORE;
	}
}
