/*
 * A listener: one address and its listening sockets. A TCP address has a socket for each worker, so
 * that the kernel spreads the connections (SO_REUSEPORT, socket(7)), and so has a UDP address, on
 * which workers receive datagrams. A unix address has one socket.
 *
 * The end of a TCP listener, in a reload. The listeners that replace it listen already.
 * listener_retire() binds its sockets to a network interface that does not exist: the kernel no
 * longer finds them for a new connection, and refuses it, or gives it to another listener of the
 * address. The queue and the handshakes that have begun stay; shutdown(2) and close(2) would reset
 * both, and a filter that drops SYNs would let clients wait for a retransmission. Each worker then
 * accepts from all sockets, because another worker may be stuck. When no handshake has completed
 * for a second, it drops its reference. ss(8) shows such a socket as ADDRESS%if2147483647:PORT.
 *
 * The control thread opens and changes listeners, and calls every function below that does not name
 * another thread. Workers accept from the sockets. The thread that drops the last reference closes
 * them.
 */
#ifndef SKELD_LISTENER_H
#define SKELD_LISTENER_H

#include "base/address.h"
#include "config/config.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The owner that keeps the sockets open, besides this process. */
enum keeper {
	KEEPER_NONE,  /* nothing: the address is free once this process has closed them */
	KEEPER_STORE, /* the descriptor store of the service manager, sd_notify(3) FDSTORE=1 */
	KEEPER_UNIT   /* a socket unit: its settings, its queue and its file belong to the unit */
};

struct listener {
	_Atomic unsigned refs;
	_Atomic enum keeper keeper; /* written by the control thread, read by workers */
	_Atomic bool refuses;	    /* see listener_retire(); written by the control thread */
	char *title; /* of the section for which it was opened, or of the passed descriptor */
	struct address configured; /* its port may be 0 */
	struct address actual;	   /* as bound */
	gid_t gid;		   /* of the file of a unix socket, if has_gid */
	bool has_gid;
	dev_t device;	       /* of the file of a unix socket; only this file is removed */
	ino_t inode;	       /* 0: no file */
	bool reported_missing; /* control thread: the log says that the file is missing */
	size_t n_fds;
	int fds[];
};

/*
 * Bind N sockets (one for a unix address) to A, the address of C. Clients cannot connect before
 * listener_listen(), but a UDP socket receives at once. Returns a reference, or NULL and an error.
 *
 * SHARE: a removed listener of this process that is still open has the same address, or an
 * overlapping one, such as 0.0.0.0:80 when A is 127.0.0.1:80. Both then share the port until the
 * old one is closed. The kernel allows that only if both sockets have the same owner (socket(7),
 * SO_REUSEPORT): see listener_chown().
 */
struct listener *listener_open(const struct listen_config *c, const struct address *a, size_t n,
			       bool share, struct errors *e);

/*
 * Start to listen. Clients can connect from now on, so call this only after every other step of a
 * reload that can fail. Returns 0, or -1 and an error.
 */
int listener_listen(const struct listener *l, const struct listen_config *c, struct errors *e);

enum { LISTENERS_MAX = CONFIG_LISTEN_MAX + 1 }; /* listen sections and the admin server */

/* A set of listeners. It owns one reference to each. */
struct listeners {
	size_t n;
	struct listener **listener;
};

/*
 * Take over descriptor FD, which the service manager passed under NAME. Descriptors with the same
 * address become one listener. Returns false and an error if FD is neither a listening stream
 * socket nor a UDP socket; FD is closed then. Call it before any other reference to the listeners
 * exists.
 */
bool listeners_adopt(struct listeners *all, int fd, const char *name, enum keeper keeper,
		     struct errors *e);

/* Add L and take another reference to it. Does nothing if out of memory. */
void listeners_remember(struct listeners *all, struct listener *l);

/* Remove the listeners to which nothing else has a reference. */
void listeners_prune(struct listeners *all);

void listeners_clear(struct listeners *all);

/*
 * Does this worker accept on l->fds[SOCKET_INDEX]? With fewer sockets than workers, several workers
 * share a socket; with more, a worker has several. Any thread.
 */
bool listener_is_assigned(const struct listener *l, size_t socket_index, unsigned worker,
			  unsigned n_workers);

/* Change the backlog: listen(2) again. Leaves UDP sockets and those of a socket unit alone. */
void listener_set_backlog(const struct listener *l, int backlog);

/*
 * Set the mode and the group of the file of a unix socket as C has them; "" changes nothing. Does
 * nothing for other sockets and for those of a socket unit. listener_open() does this, too. Returns
 * 0, or -1 and errno.
 */
int listener_set_access(struct listener *l, const struct listen_config *c);

/*
 * L is being removed: let the kernel refuse new connections at once, also while a worker that is
 * stuck keeps the sockets open, and remove the file of a unix socket. Other listeners of the
 * address are not affected. Does nothing if a keeper holds the sockets open.
 *
 * Connections that the kernel has already completed stay in the queue; a worker accepts them before
 * it drops its reference. Handshakes of TCP that have begun complete until then, and this sets
 * l->refuses. An IPv6 link-local address refuses connections only once it is closed. Datagrams that
 * have arrived stay in the queue, too, see udp_socket_retire().
 */
void listener_retire(struct listener *l);

/* The path of the socket file that this process created, or NULL. */
const char *listener_path(const struct listener *l);

/* Is the socket file gone, so that no client can connect? Another file may be in its place. */
bool listener_file_missing(const struct listener *l);

/* Change the owner of the sockets, and of a socket file: connect(2) needs write permission on it,
 * unix(7). The group that listener_set_access() has set stays. */
void listener_chown(const struct listener *l, uid_t uid, gid_t gid);

/* Any thread. */
struct listener *listener_ref(struct listener *l);
void listener_unref(struct listener *l);

#endif
