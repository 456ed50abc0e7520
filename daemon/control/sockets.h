/*
 * Sockets and the service manager: those it passes to us (sd_listen_fds(3)), and those of ours
 * that it keeps over a restart or a crash (sd_notify(3), FDSTORE). Control thread.
 */
#ifndef SKELD_SOCKETS_H
#define SKELD_SOCKETS_H

#include "control/notify.h"
#include "data/snapshot.h"

#if SKELD_SOCKETS
/*
 * Take what LISTEN_FDS passes, and remove it from the environment. What is no listening stream
 * socket is closed, with an error.
 */
void sockets_take(struct listeners *passed, struct errors *e);

/*
 * S is the first snapshot: say which of PASSED no section asks for. A socket unit's stay there, a
 * reload may ask for them; kept ones of an earlier run are let go.
 */
void sockets_sort(struct listeners *passed, const struct snapshot *s, struct notify *n);

/*
 * Have the manager keep NEW's sockets, and forget those that only OLD (may be NULL) had. Nothing
 * unless FDSTORE says that it would (systemd 254 sets it, our unit does for older ones).
 */
void sockets_keep(struct notify *n, const struct snapshot *new, const struct snapshot *old);
#else
static inline void sockets_take(struct listeners *passed, struct errors *e)
{
	(void)passed, (void)e;
}
static inline void sockets_sort(struct listeners *passed, const struct snapshot *s,
				struct notify *n)
{
	(void)passed, (void)s, (void)n;
}
static inline void sockets_keep(struct notify *n, const struct snapshot *new,
				const struct snapshot *old)
{
	(void)n, (void)new, (void)old;
}
#endif

#endif
