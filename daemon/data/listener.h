/*
 * A listening address and its sockets.
 *
 * Opened by the control thread, read by the workers, closed by whoever drops the last reference.
 */
#ifndef SKELD_LISTENER_H
#define SKELD_LISTENER_H

#include "base/address.h"
#include "base/config.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct listener {
	_Atomic unsigned refs;
	char *title;
	struct address asked;  /* as configured, the port may be 0 */
	struct address actual; /* as bound */
	bool inherited;	       /* from the service manager: never emptied, unlinked or configured */
	dev_t device; /* of a unix socket's file: it is unlinked only if it is still ours */
	ino_t inode;
	size_t n_fds; /* worker i takes fds[i % n_fds] */
	int fds[];
};

/*
 * Bind A, the address of C, and listen: N sockets with SO_REUSEPORT, or one for a unix address.
 * SHARE tells that the port is also that of a listener of our own that is about to go (0.0.0.0:80
 * to 127.0.0.1:80). Another process that has the address is an error. NULL and an error when it
 * fails.
 */
struct listener *listener_open(const struct listen_config *c, const struct address *a, size_t n,
			       bool share, struct errors *e);

/* listen(2) once more, for a new backlog. */
void listener_set_backlog(const struct listener *l, int backlog);

/*
 * The listener is about to go. From now on the kernel completes no further connection: those it
 * has completed are there to be accepted, whoever comes now is refused once it is closed.
 */
void listener_retire(const struct listener *l);

struct listener *listener_ref(struct listener *l);
void listener_unref(struct listener *l);

#endif
