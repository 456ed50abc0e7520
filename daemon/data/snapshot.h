/*
 * A snapshot: the configuration, the listeners and what the service has loaded, which the workers
 * serve. A reload makes a new one, with the next generation number.
 *
 * The control thread creates snapshots and publishes them (data/workers.h). A published snapshot is
 * immutable, except for untaken[]. Each holder has a reference; the thread that drops the last one
 * frees the snapshot.
 *
 * Untaken snapshots. While a worker is busy, one snapshot may replace another that the worker has
 * not taken yet. Clients may already have connected to a listener that only the replaced snapshot
 * contains. To serve them, a published snapshot keeps for each worker a reference to the snapshot
 * before it if the worker has not taken that one. The untaken snapshots of a worker thus form a
 * list. When the worker takes the newest snapshot, it first accepts the connections that wait at
 * the listeners of the list, see acceptors_catch_up(). A snapshot is left out of the list if its
 * successor contains all of its listeners.
 */
#ifndef SKELD_SNAPSHOT_H
#define SKELD_SNAPSHOT_H

#include "config/config.h"
#include "data/listener.h"
#include "data/tls.h"

struct snapshot {
	_Atomic unsigned refs;
	uint64_t generation;
	int64_t published_ns; /* CLOCK_MONOTONIC */
	struct config *config;
	struct loaded *loaded; /* from the files of the configuration, see data/load.h; or NULL */
	struct tls_sites *tls; /* of `loaded`: the tls sections; NULL: none */
	size_t connections;    /* limits.connections, or fewer if RLIMIT_NOFILE allows fewer */
	size_t n_listeners;
	struct listener *listener[LISTENERS_MAX];
	const struct listen_config *section[LISTENERS_MAX]; /* in `config`, or admin_section */
	struct listener *admin; /* in listener[]; workers do not accept on it. NULL: off */
	struct listen_config admin_section; /* the admin section as if it were a listen section */
	size_t n_workers;
	/* For each worker, see above: an owned reference or NULL. Only the worker uses its element
	 * once the snapshot is published. */
	struct snapshot *untaken[];
};

/*
 * Create the successor of OLD (NULL: the first snapshot) from CONFIG. Each section gets the first
 * of these listeners that exists:
 * - one that the service manager PASSED and that has the configured address;
 * - one of a socket unit with the title of the section, if the configured address has port 0 and is
 *   the same otherwise, and no section has its address;
 * - one of OLD that has the configured address, unless the file of its unix socket is missing;
 * - a new one, with a socket for each of N_WORKERS workers. It may share the port of a RETIRED one:
 *   a listener that was removed and that is still open.
 *
 * Takes over CONFIG. The caller adds what was loaded, see below. Returns a reference. If a listener
 * cannot be opened, returns NULL and errors; nothing is left open, and CONFIG still belongs to the
 * caller. Control thread.
 */
struct snapshot *snapshot_new(struct config *config, const struct snapshot *old,
			      const struct listeners *passed, const struct listeners *retired,
			      size_t n_workers, struct errors *e);

/* Add what was loaded for the configuration of S. Takes over LOADED, which may be NULL. Call it
 * before S is published. Control thread. */
void snapshot_set_loaded(struct snapshot *s, struct loaded *loaded);

/*
 * Set the backlog of each listener, and the mode and the group of the file of a unix socket, as its
 * section has them: it may not have been opened for S. Logs a failure. Control thread.
 */
void snapshot_apply_sections(const struct snapshot *s);

/*
 * Copy OLD without the listeners of workers, for a drain. The generation stays. Returns a
 * reference, or NULL if out of memory. Control thread.
 */
struct snapshot *snapshot_without_listeners(const struct snapshot *old);

/*
 * Record that WORKER has not taken REPLACED (may be NULL), the snapshot published before S. Takes
 * over the reference. Call it before S is published to this worker. Control thread.
 */
void snapshot_set_untaken(struct snapshot *s, size_t worker, struct snapshot *replaced);

/* The remaining functions may be called by any thread. */

/* Does S contain the listener L? */
bool snapshot_has(const struct snapshot *s, const struct listener *l);

/* Does S contain the listener L, and do workers accept on it? */
bool snapshot_serves(const struct snapshot *s, const struct listener *l);

/* Returns the index of L, which S contains. */
size_t snapshot_index(const struct snapshot *s, const struct listener *l);

struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s); /* S may be NULL */

#endif
