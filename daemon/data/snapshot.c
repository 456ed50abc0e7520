#include "data/snapshot.h"

#include <stdlib.h>
#include <string.h>

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

/* One that the service manager passed, by title or address. */
static struct listener *find_passed(const struct listeners *there, const char *title,
				    const struct address *a, const struct snapshot *new)
{
	for (size_t i = 0; i < there->n; i++) {
		struct listener *l = there->listener[i];
		bool named = l->keeper == KEEPER_UNIT && strcmp(l->title, title) == 0;
		if ((named || address_equal(&l->actual, a)) && !snapshot_has(new, l))
			return l;
	}
	return NULL;
}

/* Has OLD a listener on this port, on another address? */
static bool port_is_ours(const struct snapshot *old, const struct address *a)
{
	for (size_t i = 0; old && i < old->n_listeners; i++)
		if (address_port(a) && address_port(&old->listener[i]->actual) == address_port(a))
			return true;
	return false;
}

struct snapshot *snapshot_new(struct config *config, const struct snapshot *old,
			      const struct listeners *there, size_t n, struct errors *e)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	if (!s) {
		errors_add(e, NULL, 0, "out of memory");
		return NULL;
	}
	s->refs = 1;
	s->generation = old ? old->generation + 1 : 1;
	size_t before = e->n;
	for (size_t i = 0; i < config->n_listen; i++) {
		const struct listen_config *l = &config->listen[i];
		struct address a;
		if (!*l->address || !address_parse(l->address, &a))
			continue;
		struct listener *found = find_passed(there, l->title, &a, s);
		if (!found)
			found = find(old, &a, s);
		if (found)
			listener_ref(found);
		else
			found = listener_open(l, &a, n, port_is_ours(old, &a), e);
		if (found)
			s->listener[s->n_listeners++] = found;
	}
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
	struct snapshot *s = calloc(1, sizeof(*s));
	if (s) {
		s->refs = 1;
		s->generation = old->generation;
		s->config = config_ref(old->config);
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
	config_unref(s->config);
	free(s);
}
