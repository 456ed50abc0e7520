/*
 * Sockets that the service manager passes to the daemon (sd_listen_fds(3)), and sockets that it
 * stores for the next start (sd_notify(3), FDSTORE). Control thread.
 */
#ifndef SKELD_SYSTEMD_SOCKETS_H
#define SKELD_SYSTEMD_SOCKETS_H

#include "control/notify.h"
#include "data/snapshot.h"

#if SKELD_SOCKETS
/*
 * Take the descriptors of LISTEN_FDS, and remove it from the environment. A descriptor that is
 * neither a listening stream socket nor a UDP socket is closed, with an error.
 */
void systemd_sockets_take(struct listeners *passed, struct errors *e);

/*
 * After the start, S is the first snapshot: log which of the PASSED sockets are unused. An unused
 * socket of a socket unit stays open, because a reload may configure its address; an unused stored
 * socket of an earlier run is closed.
 */
void systemd_sockets_sort(struct listeners *passed, const struct snapshot *s, struct notify *n);

/*
 * Store NEW's sockets in the manager, and remove those that only OLD (may be NULL) had. Does
 * nothing unless FDSTORE is set, which systemd 254 does; the shipped unit sets it for older
 * versions.
 */
void systemd_sockets_keep(struct notify *n, const struct snapshot *new, const struct snapshot *old);
#else
static inline void systemd_sockets_take(struct listeners *passed, struct errors *e)
{
	(void)passed, (void)e;
}
static inline void systemd_sockets_sort(struct listeners *passed, const struct snapshot *s,
					struct notify *n)
{
	(void)passed, (void)s, (void)n;
}
static inline void systemd_sockets_keep(struct notify *n, const struct snapshot *new,
					const struct snapshot *old)
{
	(void)n, (void)new, (void)old;
}
#endif

#endif
