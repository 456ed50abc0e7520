#include "data/snapshot.h"

#include <stdlib.h>
#include <string.h>

enum { ADMIN_BACKLOG = 64 };

/* OLD's listener on this address, if NEW has it not yet (port 0 may be asked for twice). */
static struct listener *find(const struct snapshot *old, const struct address *a,
			     const struct snapshot *new)
{
	for (size_t i = 0; old && i < old->n_listeners; i++)
		if ((address_equal(&old->listener[i]->asked, a) ||
		     address_equal(&old->listener[i]->actual, a)) &&
		    !snapshot_has(new, old->listener[i]))
			return old->listener[i];
	return NULL;
}

/* One that went, and that a worker still has: what is opened beside it would share its port. */
static struct listener *find_retired(const struct listeners *retired, const struct address *a,
				     const struct snapshot *new)
{
	for (size_t i = 0; i < retired->n; i++)
		if (address_equal(&retired->listener[i]->actual, a) && a->sa.ss_family != AF_UNIX &&
		    !snapshot_has(new, retired->listener[i]))
			return retired->listener[i];
	return NULL;
}

struct others {
	const struct config *config;
	const struct snapshot *old;
	const struct listeners *there, *retired;
	const struct listen_config **opened; /* the section of each that was not there */
};

static bool asks_for(const char *address, const struct listener *l)
{
	struct address a;
	return *address && address_parse(address, &a) &&
	       (address_equal(&l->asked, &a) || address_equal(&l->actual, &a));
}

static bool stays(const struct listener *l, const struct config *c)
{
	for (size_t i = 0; i < c->n_listen; i++)
		if (asks_for(c->listen[i].address, l))
			return true;
	return asks_for(c->admin.address, l);
}

/* One that the service manager passed: the one with this address, else the first of this title that
 * no section asks for by its address. */
static struct listener *find_passed(const struct others *others, const char *title,
				    const struct address *a, const struct snapshot *new)
{
	const struct listeners *there = others->there;
	struct listener *named = NULL;
	for (size_t i = 0; i < there->n; i++) {
		struct listener *l = there->listener[i];
		if (snapshot_has(new, l))
			continue;
		if (address_equal(&l->actual, a))
			return l;
		if (!named && l->keeper == KEEPER_UNIT && strcmp(l->title, title) == 0 &&
		    !stays(l, others->config))
			named = l;
	}
	return named;
}

/*
 * Is this address in the way of one of ours that goes, or has gone? Then they share it for as long
 * as both are there. Nobody else shares: what another process has is an error.
 */
static bool is_in_our_way(const struct others *o, const struct address *a)
{
	for (size_t i = 0; o->old && i < o->old->n_listeners; i++)
		if (address_overlaps(&o->old->listener[i]->actual, a) &&
		    !stays(o->old->listener[i], o->config))
			return true;
	for (size_t i = 0; i < o->retired->n; i++)
		if (address_overlaps(&o->retired->listener[i]->actual, a))
			return true;
	return false;
}

/* The listener for this section, kept, passed or opened. NULL when it is off, or with an error. */
static struct listener *add(struct snapshot *s, const struct listen_config *l,
			    const struct others *others, size_t n, struct errors *e)
{
	struct address a;
	if (!*l->address || !address_parse(l->address, &a))
		return NULL;
	struct listener *found = find_passed(others, l->title, &a, s);
	if (found && found->keeper == KEEPER_STORE) { /* called like its descriptor so far */
		free(found->title);
		found->title = strdup(l->title);
	}
	if (!found)
		found = find(others->old, &a, s);
	if (!found)
		found = find_retired(others->retired, &a, s);
	bool there = found != NULL;
	if (there)
		listener_ref(found);
	else
		found = listener_open(l, &a, n, is_in_our_way(others, &a), e);
	if (found) {
		others->opened[s->n_listeners] = there ? NULL : l;
		s->backlog[s->n_listeners] = (int)l->backlog;
		s->proxy[s->n_listeners] = l->proxy;
		s->listener[s->n_listeners++] = found;
	}
	return found;
}

struct snapshot *snapshot_new(struct config *config, const struct snapshot *old,
			      const struct listeners *there, const struct listeners *retired,
			      size_t n, struct errors *e)
{
	struct snapshot *s = calloc(1, sizeof(*s) + n * sizeof(struct snapshot *));
	if (!s) {
		errors_add(e, NULL, 0, "out of memory");
		return NULL;
	}
	s->n_workers = n;
	s->refs = 1;
	s->generation = old ? old->generation + 1 : 1;
	s->connections = (size_t)config->limits.connections;
	size_t before = e->n;
	const struct listen_config *opened[LISTENERS_MAX];
	struct others others = {config, old, there, retired, opened};
	for (size_t i = 0; i < config->n_listen; i++)
		add(s, &config->listen[i], &others, n, e);
	struct listen_config admin = {.place = config->admin.place,
				      .title = "admin",
				      .address = config->admin.address,
				      .backlog = ADMIN_BACKLOG};
	s->admin = add(s, &admin, &others, 1, e);
	/* Not before: who connects to a more specific address than OLD's would be lost with it. */
	for (size_t i = 0; e->n == before && i < s->n_listeners; i++)
		if (opened[i])
			listener_listen(s->listener[i], opened[i], e);
	if (e->n == before) {
		s->config = config;
		return s;
	}
	for (size_t i = 0; i < s->n_listeners; i++)
		if (!old || !snapshot_has(old, s->listener[i]))
			listener_retire(s->listener[i]); /* removes the file of a unix socket */
	snapshot_unref(s);
	return NULL;
}

struct snapshot *snapshot_without_listeners(const struct snapshot *old)
{
	size_t n = old->n_workers;
	struct snapshot *s = calloc(1, sizeof(*s) + n * sizeof(struct snapshot *));
	if (s) {
		s->n_workers = n;
		s->refs = 1;
		s->generation = old->generation;
		s->config = config_ref(old->config);
		s->connections = old->connections;
		if (old->admin) {
			s->listener[s->n_listeners++] = listener_ref(old->admin);
			s->admin = old->admin;
		}
	}
	return s;
}

bool snapshot_has(const struct snapshot *s, const struct listener *l)
{
	for (size_t i = 0; i < s->n_listeners; i++)
		if (s->listener[i] == l)
			return true;
	return false;
}

bool snapshot_serves(const struct snapshot *s, const struct listener *l)
{
	return l != s->admin && snapshot_has(s, l);
}

bool snapshot_is_proxied(const struct snapshot *s, const struct listener *l)
{
	for (size_t i = 0; i < s->n_listeners; i++)
		if (s->listener[i] == l)
			return s->proxy[i];
	return false;
}

static bool has_all(const struct snapshot *s, const struct snapshot *missed)
{
	for (size_t i = 0; i < missed->n_listeners; i++)
		if (!snapshot_has(s, missed->listener[i]))
			return false;
	return true;
}

void snapshot_skip(struct snapshot *s, size_t i, struct snapshot *missed)
{
	s->skipped[i] = missed;
	if (!missed || !has_all(s, missed))
		return;
	/* It has no listener that has gone, but those before it may. */
	s->skipped[i] = missed->skipped[i];
	missed->skipped[i] = NULL;
	snapshot_unref(missed);
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void snapshot_unref(struct snapshot *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	for (size_t i = 0; i < s->n_listeners; i++)
		listener_unref(s->listener[i]);
	for (size_t i = 0; i < s->n_workers; i++)
		snapshot_unref(s->skipped[i]);
	config_unref(s->config);
	free(s);
}
