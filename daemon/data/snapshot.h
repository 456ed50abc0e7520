/*
 * What the data plane works by: a configuration and the listeners made for it, with a generation
 * number. Immutable once published; each holder has a reference, and the last one out frees it,
 * on whatever thread that is.
 */
#ifndef SKELD_SNAPSHOT_H
#define SKELD_SNAPSHOT_H

#include "base/config.h"
#include "data/listener.h"

struct snapshot {
	_Atomic unsigned refs;
	uint64_t generation;
	double published; /* to the workers: when, monotonic seconds */
	struct config *config;
	size_t connections; /* limits.connections, or fewer: for as many there are descriptors */
	size_t n_listeners;
	struct listener *listener[LISTENERS_MAX];
	int backlog[LISTENERS_MAX]; /* of each, as now configured */
	bool proxy[LISTENERS_MAX];  /* the same */
	struct listener *admin;	    /* one of them, no worker's; NULL: off */
	size_t n_workers;
	/* For each worker, and its alone once published: the one before that it has not taken, and
	 * whose listeners it has to empty. */
	struct snapshot *skipped[];
};

/*
 * Take over CONFIG, keep those of OLD's listeners whose address is still asked for, use those of
 * THERE that have the address or the section's title, and open the others with N sockets each.
 * OLD may be NULL. RETIRED are those that some worker has not let go of yet. When one cannot be
 * opened: NULL, errors, nothing opened, CONFIG still the caller's.
 */
struct snapshot *snapshot_new(struct config *config, const struct snapshot *old,
			      const struct listeners *there, const struct listeners *retired,
			      size_t n, struct errors *e);

/* OLD's configuration and generation without the workers' listeners: what a drain begins with. */
struct snapshot *snapshot_without_listeners(const struct snapshot *old);

/* Is this listener among its own? */
bool snapshot_has(const struct snapshot *s, const struct listener *l);

/* And one that workers accept on? */
bool snapshot_serves(const struct snapshot *s, const struct listener *l);

/* Do connections that it accepts begin with a PROXY header? */
bool snapshot_is_proxied(const struct snapshot *s, const struct listener *l);

struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s);

/* Before S is published: worker I has not taken MISSED (may be NULL). The reference becomes S's. */
void snapshot_skip(struct snapshot *s, size_t i, struct snapshot *missed);

#endif
