/*
 * The admin server: metrics, health, status and a page that shows them, over HTTP, read-only.
 *
 * It runs in the event loop of the control thread and never delays it: no call blocks, and one turn
 * of the loop accepts a few clients and reads a few KiB from each. The clients are in a table of
 * fixed size. When it is full, a new client evicts an old one: accepting never waits for a client.
 */
#ifndef SKELD_ADMIN_HTTP_H
#define SKELD_ADMIN_HTTP_H

#include "data/snapshot.h"

#include <stdio.h>

enum { ADMIN_CLIENTS = 32 }; /* at a time, each with a descriptor */

/* The functions of the daemon that the server calls. */
struct daemon;
struct admin_callbacks {
	const struct daemon *daemon; /* opaque here: the first argument of each function */
	void (*print_metrics)(const struct daemon *daemon, FILE *out);
	void (*print_status)(const struct daemon *daemon, FILE *out);
	void (*print_status_json)(const struct daemon *daemon, FILE *out);
	bool (*is_ready)(const struct daemon *daemon, char *why, size_t size); /* false: sets WHY */
};

struct admin;
struct event_base;

#if SKELD_ADMIN
struct admin *admin_new(struct event_base *base, const struct admin_callbacks *callbacks);

/* Serve on the admin listener of S instead of the previous one. It must stay open until the next
 * call. Clients that were accepted before are served to their end. */
void admin_listen(struct admin *a, const struct snapshot *s);

void admin_free(struct admin *a); /* A may be NULL */
#else
static inline struct admin *admin_new(struct event_base *base, const struct admin_callbacks *c)
{
	return c ? (struct admin *)base : NULL; /* never dereferenced */
}
static inline void admin_listen(struct admin *a, const struct snapshot *s)
{
	(void)a, (void)s;
}
static inline void admin_free(struct admin *a)
{
	(void)a;
}
#endif

#endif
