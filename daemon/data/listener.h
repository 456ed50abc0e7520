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

/* Whose the sockets are, besides ours. */
enum keeper {
	KEEPER_NONE,  /* nobody's: closed at the end */
	KEEPER_STORE, /* the service manager keeps a copy for our next start: not filtered */
	KEEPER_UNIT   /* a socket unit's: never emptied, unlinked or configured */
};

struct listener {
	_Atomic unsigned refs;
	_Atomic enum keeper keeper; /* set by the control thread, read by workers */
	char *title;	       /* of its section; of the descriptor while no section asks for it */
	struct address asked;  /* as configured, the port may be 0 */
	struct address actual; /* as bound */
	dev_t device; /* of a unix socket's file: it is unlinked only if it is still ours */
	ino_t inode;
	size_t n_fds;
	int fds[];
};

/*
 * Bind A, the address of C: N sockets with SO_REUSEPORT, or one for a unix address.
 * SHARE tells that the port is also that of a listener of our own that is about to go (0.0.0.0:80
 * to 127.0.0.1:80). Another process that has the address is an error. NULL and an error when it
 * fails.
 */
struct listener *listener_open(const struct listen_config *c, const struct address *a, size_t n,
			       bool share, struct errors *e);

/* From now on who connects is L's: once nothing else can fail. -1 and an error when it does. */
int listener_listen(const struct listener *l, const struct listen_config *c, struct errors *e);

enum { LISTENERS_MAX = CONFIG_LISTEN_MAX + 1 }; /* that of the admin server is the last one */

/* Listeners that were there before we were. */
struct listeners {
	size_t n;
	struct listener *listener[LISTENERS_MAX];
};

/*
 * Take over descriptor FD, which the service manager passed under NAME. Several of one address
 * become one listener. False and an error, with FD closed, when it is no listening stream socket.
 */
bool listeners_adopt(struct listeners *l, int fd, const char *name, enum keeper keeper,
		     struct errors *e);

/* Keep a reference of L while others have one; forget those that nobody else has any more. */
void listeners_remember(struct listeners *all, struct listener *l);
void listeners_prune(struct listeners *all);

/* Forget L: true when it was one of them; or all. */
bool listeners_forget(struct listeners *all, const struct listener *l);
void listeners_clear(struct listeners *all);

/* Does worker I of N accept on the J-th of L's sockets? Each socket has a worker at least. */
bool listener_is_for(const struct listener *l, size_t j, unsigned i, unsigned n);

/* listen(2) once more, for a new backlog. */
void listener_set_backlog(const struct listener *l, int backlog);

/*
 * The listener is about to go. From now on the kernel completes no further connection: those it
 * has completed are there to be accepted, whoever comes now is refused once it is closed.
 */
void listener_retire(const struct listener *l);

/* It stays after all: no unix socket. */
void listener_revive(const struct listener *l);

/* The file of a unix socket of ours becomes this user's: who connects needs to write to it. */
void listener_give_to(const struct listener *l, uid_t uid, gid_t gid);

struct listener *listener_ref(struct listener *l);
void listener_unref(struct listener *l);

#endif
