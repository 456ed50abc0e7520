/*
 * The load of a configuration: the files that it names are read, those of the tls sections, and
 * those of the service by its `load`. Runs in a helper thread with a time limit, and returns what
 * snapshots share.
 *
 * A file system may hang, so the control thread never waits for a load. If the time limit is over,
 * or the daemon stops, it abandons the load: the thread continues until it is done, and then frees
 * the loaded data itself. No other load starts before that: a file system that hangs costs one
 * thread, not one for each reload.
 *
 * The interface is that of the configuration loader (config/loader.h). Only one thread uses a
 * struct load.
 */
#ifndef SKELD_LOAD_H
#define SKELD_LOAD_H

#include "base/time_limit.h"
#include "config/config.h"
#include "data/tls.h"
#include "service.h"

/* Is there anything to load? */
static inline bool load_is_needed(const struct service *svc, const struct config *c)
{
	return svc->load || c->n_tls;
}

/*
 * The result. Immutable and reference-counted: the thread that drops the last reference calls the
 * service's `unload`. It holds the configuration that it was loaded from. Any thread; L may be
 * NULL.
 */
struct loaded;
struct loaded *loaded_ref(struct loaded *l);
void loaded_unref(struct loaded *l);
const void *loaded_object(const struct loaded *l);	      /* of the service; or NULL */
struct tls_sites *loaded_tls(const struct loaded *l);	      /* NULL: no tls section */
const struct errors *loaded_warnings(const struct loaded *l); /* mistakes that are accepted */

struct load {
	/* Set by the caller. They must stay valid as long as a load runs. */
	const struct service *service; /* may have no `load` */
	const char *file;	       /* the configuration, for errors */
	double timeout_seconds;

	/* Result of the last load, for the caller. */
	bool busy;	 /* requested, and load_result() was not called yet */
	bool conclusive; /* the files were rejected: another try would do the same */

	/* Private. */
	struct load_job *job; /* of `busy`, or an abandoned one; NULL: none */
	struct time_limit limit;
};

/*
 * Start to load C, which must not change any more, and keeps the caller's reference. OLD (may be
 * NULL) is the set in force, from which unchanged certificates are taken over. Returns a
 * descriptor, which becomes readable when the load is over and is valid until load_result() or
 * load_abandon(); or -1 with an error.
 */
int load_request(struct load *l, struct config *c, struct tls_sites *old, struct errors *e);

/* Call this when the descriptor is readable, and at intervals, so that the time limit works. Does
 * not block. Returns true when the load is over: call load_result(). */
bool load_poll(struct load *l);

/* Returns a reference, or NULL with errors if the load has failed or is late. */
struct loaded *load_result(struct load *l, struct errors *e);

/* Request a load and wait for the result. */
struct loaded *load_wait(struct load *l, struct config *c, struct tls_sites *old, struct errors *e);

/* Abandon the load that runs, if any. Does not block. */
void load_abandon(struct load *l);

/* Abandon the load that runs, and wait up to MS milliseconds until its thread has left the service
 * and the files. Returns false if it has not. */
bool load_end(struct load *l, int ms);

#endif
