/*
 * The service's `load`: runs in a helper thread with a time limit, and returns an object that
 * snapshots share.
 *
 * A file system may hang, so the control thread never waits for `load`. If the time limit is over,
 * or the daemon stops, it abandons the load: the thread continues until `load` returns, and then
 * calls `unload` itself. No other load starts before that: a file system that hangs costs one
 * thread, not one for each reload.
 *
 * The interface is that of the configuration loader (config/loader.h). Only one thread uses a
 * struct service_load.
 */
#ifndef SKELD_SERVICE_LOAD_H
#define SKELD_SERVICE_LOAD_H

#include "base/time_limit.h"
#include "config/config.h"
#include "service.h"

/*
 * What `load` has returned. Immutable and reference-counted: the thread that drops the last
 * reference calls `unload`. It holds the configuration that it was loaded from. Any thread; L may
 * be NULL.
 */
struct loaded;
struct loaded *loaded_ref(struct loaded *l);
void loaded_unref(struct loaded *l);
const void *loaded_object(const struct loaded *l);

struct service_load {
	/* Set by the caller. They must stay valid as long as a load runs. */
	const struct service *service; /* has `load` */
	const char *file;	       /* the configuration, for errors */
	double timeout_seconds;

	/* Result of the last load, for the caller. */
	bool busy;	 /* requested, and service_load_result() was not called yet */
	bool conclusive; /* `load` has rejected the configuration: another try would do the same */

	/* Private. */
	struct load_job *job; /* of `busy`, or an abandoned one; NULL: none */
	struct time_limit limit;
};

/*
 * Start `load` with C, which must not change any more, and keeps the caller's reference. Returns a
 * descriptor, which becomes readable when the load is over and is valid until
 * service_load_result() or service_load_abandon(); or -1 with an error.
 */
int service_load_request(struct service_load *l, struct config *c, struct errors *e);

/* Call this when the descriptor is readable, and at intervals, so that the time limit works. Does
 * not block. Returns true when the load is over: call service_load_result(). */
bool service_load_poll(struct service_load *l);

/* Returns a reference, or NULL with an error if `load` has failed or is late. */
struct loaded *service_load_result(struct service_load *l, struct errors *e);

/* Request a load and wait for the result. */
struct loaded *service_load_wait(struct service_load *l, struct config *c, struct errors *e);

/* Abandon the load that runs, if any. Does not block. */
void service_load_abandon(struct service_load *l);

/* Abandon the load that runs, and wait up to MS milliseconds until no thread is in the service.
 * Returns false if one still is. */
bool service_load_end(struct service_load *l, int ms);

#endif
