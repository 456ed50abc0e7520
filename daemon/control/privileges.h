/* User, group, scheduling and resource limits of the process. Control thread. */
#ifndef SKELD_PRIVILEGES_H
#define SKELD_PRIVILEGES_H

#include "control/runtime.h"
#include "data/snapshot.h"

/*
 * Find the user and group that the daemon will run as. Without a user, the user stays; without a
 * group, it is the primary group of the user. Returns 0, or -1 and an error.
 */
int privileges_find_owner(const struct config *c, struct account *owner, struct errors *e);

/*
 * Change to the configured user and group, R's owner, for good; programs that are executed cannot
 * gain privileges again. They become the owners of the log file and of the unix sockets. Call
 * it before the workers start. Returns 0, or -1 and an error.
 */
int privileges_drop(const struct snapshot *s, const struct runtime *r, struct errors *e);

/*
 * After privileges_drop(): warn of an access that succeeds at the start, as root, and fails later:
 * a log or a unix socket in a directory in which the user cannot create files.
 */
void privileges_warn_of_limits(const struct snapshot *s);

/*
 * Raise RLIMIT_NOFILE to the number that limits.connections, N workers and the daemon itself need,
 * so that clients never use the last descriptor. Returns the number of connections that are
 * possible; warns if that is less than limits.connections.
 */
size_t privileges_raise_nofile(const struct config *c, unsigned n);

#endif
