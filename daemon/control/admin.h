/*
 * The admin server: metrics, health, status and a page that shows them, over HTTP, read only.
 *
 * On the control thread's loop, and bounded, so that signals never wait for it: so many clients at
 * a time, so many new ones in a moment, one small request each, and little time for it.
 */
#ifndef SKELD_ADMIN_H
#define SKELD_ADMIN_H

#include "data/listener.h"

struct admin;
struct daemon;

enum { ADMIN_CLIENTS = 32 }; /* at a time; for one more the oldest is closed */

#if SKELD_ADMIN
/* NULL: out of memory. */
struct admin *admin_new(struct daemon *d);

/*
 * Serve on L from now on, and no longer on the one before; NULL: on none. L stays the caller's.
 * Without memory it serves on none, and logs an error: call it again, it does nothing once it has.
 */
void admin_listen(struct admin *a, const struct listener *l);

/* Once a second: those who had their time. */
void admin_tick(struct admin *a);

void admin_free(struct admin *a); /* NULL: nothing */
#else
static inline struct admin *admin_new(struct daemon *d)
{
	return (struct admin *)d; /* anything but NULL, nobody looks at it */
}
static inline void admin_listen(struct admin *a, const struct listener *l)
{
	(void)a, (void)l;
}
static inline void admin_tick(struct admin *a)
{
	(void)a;
}
static inline void admin_free(struct admin *a)
{
	(void)a;
}
#endif

#endif
