#include "data/snapshot.h"

#include "base/log.h"
#include "data/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ADMIN_BACKLOG = 64 };

/* A snapshot under construction, and the listeners that it may reuse. */
struct build {
	struct snapshot *s;
	const struct config *config;
	const struct snapshot *old; /* may be NULL */
	const struct listeners *passed, *retired;
	bool opened[LISTENERS_MAX]; /* false: s->listener[i] is reused */
};

static bool has_address(const struct listener *l, const struct address *a)
{
	return address_equal(&l->configured, a) || address_equal(&l->actual, a);
}

static bool is_address_of(const char *text, const struct listener *l)
{
	struct address a;
	return *text && address_parse(text, &a) && has_address(l, &a);
}

/* Does a section have the address of L? */
static bool is_configured(const struct listener *l, const struct config *c)
{
	for (size_t i = 0; i < c->n_listen; i++)
		if (is_address_of(c->listen[i].address, l))
			return true;
	return is_address_of(c->admin.address, l);
}

/*
 * The functions find_..._listener() return NULL if there is none. They never return a listener that
 * the snapshot contains already: two sections may have the same address with port 0.
 */

/* Does the address of L differ from A only in that A leaves the port to the kernel? */
static bool has_any_port(const struct listener *l, const struct address *a)
{
	struct address wanted = *a;
	if (address_port(a) != 0 || a->sa.ss_family == AF_UNIX)
		return false;
	address_set_port(&wanted, address_port(&l->actual));
	return address_equal(&l->actual, &wanted);
}

static struct listener *find_passed_listener(const struct build *b, const char *title,
					     const struct address *a)
{
	struct listener *same_title = NULL;
	for (size_t i = 0; i < b->passed->n; i++) {
		struct listener *l = b->passed->listener[i];
		if (snapshot_has(b->s, l) || l->refuses)
			continue;
		if (address_equal(&l->actual, a))
			return l;
		if (!same_title && l->keeper == KEEPER_UNIT && strcmp(l->title, title) == 0 &&
		    has_any_port(l, a) && !is_configured(l, b->config))
			same_title = l;
	}
	return same_title;
}

static struct listener *find_old_listener(const struct build *b, const struct address *a)
{
	for (size_t i = 0; b->old && i < b->old->n_listeners; i++) {
		struct listener *l = b->old->listener[i];
		if (has_address(l, a) && !snapshot_has(b->s, l) && !listener_file_missing(l))
			return l;
	}
	return NULL;
}

static bool overlaps_refusing(const struct listeners *all, const struct address *a)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->listener[i]->refuses && address_overlaps(&all->listener[i]->actual, a))
			return true;
	return false;
}

/* Must a socket on A share its port with a listener that is being removed, or was removed? */
static bool overlaps_removed(const struct build *b, const struct address *a)
{
	for (size_t i = 0; b->old && i < b->old->n_listeners; i++)
		if (address_overlaps(&b->old->listener[i]->actual, a) &&
		    !is_configured(b->old->listener[i], b->config))
			return true;
	return overlaps_refusing(b->retired, a) || overlaps_refusing(b->passed, a);
}

/* The listener of section C, with address A, cannot be opened: name the passed sockets that C may
 * be meant to use, or that are in the way. */
static void report_unused_sockets(const struct build *b, const struct listen_config *c,
				  const struct address *a, struct errors *e)
{
	for (size_t i = 0; i < b->passed->n; i++) {
		const struct listener *l = b->passed->listener[i];
		char text[ADDRESS_TEXT_MAX];
		bool same_port = address_port(a) && address_port(a) == address_port(&l->actual);
		if (is_configured(l, b->config) || (strcmp(l->title, c->title) != 0 && !same_port))
			continue;
		address_format(&l->actual, text);
		errors_add(e, c->location.file, c->location.line,
			   "unused socket: %s, passed as %s, is not %s (listen \"%s\"): change one "
			   "of them",
			   text, l->title, c->address, c->title);
	}
}

/* Add the listener of section C. Returns NULL if C has no address, or NULL and an error. */
static struct listener *add_listener(struct build *b, const struct listen_config *c,
				     size_t n_sockets, struct errors *e)
{
	struct snapshot *s = b->s;
	struct address a;
	if (!*c->address || !address_parse(c->address, &a))
		return NULL;
	struct listener *l = find_passed_listener(b, c->title, &a);
	if (!l)
		l = find_old_listener(b, &a);
	bool reused = l != NULL;
	if (reused)
		listener_ref(l);
	else
		l = listener_open(c, &a, n_sockets, overlaps_removed(b, &a), e);
	if (!l) {
		report_unused_sockets(b, c, &a, e);
		return NULL;
	}
	b->opened[s->n_listeners] = !reused;
	s->section[s->n_listeners] = c;
	s->listener[s->n_listeners++] = l;
	return l;
}

static void add_listeners(struct build *b, struct errors *e)
{
	const struct config *c = b->config;
	size_t errors_before = e->n;
	for (size_t i = 0; i < c->n_listen; i++)
		add_listener(b, &c->listen[i], b->s->n_workers, e);
	b->s->admin = add_listener(b, &b->s->admin_section, 1, e);
	/* Listen only when all are bound: clients that connect to 127.0.0.1:80 in place of OLD's
	 * 0.0.0.0:80 would be reset if the reload were rejected. */
	for (size_t i = 0; e->n == errors_before && i < b->s->n_listeners; i++)
		if (b->opened[i])
			listener_listen(b->s->listener[i], b->s->section[i], e);
}

static struct snapshot *alloc_snapshot(size_t n_workers)
{
	struct snapshot *s = calloc(1, sizeof(*s) + n_workers * sizeof(struct snapshot *));
	if (s) {
		s->refs = 1;
		s->n_workers = n_workers;
	}
	return s;
}

struct snapshot *snapshot_new(struct config *config, const struct snapshot *old,
			      const struct listeners *passed, const struct listeners *retired,
			      size_t n_workers, struct errors *e)
{
	struct snapshot *s = alloc_snapshot(n_workers);
	struct build b = {
		.s = s, .config = config, .old = old, .passed = passed, .retired = retired};
	size_t errors_before = e->n;
	if (!s) {
		errors_add_no_memory(e, NULL, 0);
		return NULL;
	}
	s->generation = old ? old->generation + 1 : 1;
	s->connections = (size_t)config->limits.connections;
	s->admin_section = (struct listen_config){.location = config->admin.location,
						  .title = "admin",
						  .address = config->admin.address,
						  .backlog = ADMIN_BACKLOG};
	add_listeners(&b, e);
	if (e->n == errors_before) {
		s->config = config;
		return s;
	}
	for (size_t i = 0; i < s->n_listeners; i++)
		if (b.opened[i])
			listener_retire(s->listener[i]); /* removes the file of a unix socket */
	snapshot_unref(s);
	return NULL;
}

void snapshot_set_loaded(struct snapshot *s, struct loaded *loaded)
{
	s->loaded = loaded;
	s->tls = loaded_tls(loaded);
}

void snapshot_apply_sections(const struct snapshot *s)
{
	for (size_t i = 0; i < s->n_listeners; i++) {
		const struct listen_config *c = s->section[i];
		listener_set_backlog(s->listener[i], (int)c->backlog);
		if (listener_set_access(s->listener[i], c) < 0)
			log_warning(
				"cannot set mode or group of socket %s (listen \"%s\"): %s; the "
				"file keeps its mode and group",
				c->address, c->title, strerror(errno));
	}
}

struct snapshot *snapshot_without_listeners(const struct snapshot *old)
{
	struct snapshot *s = alloc_snapshot(old->n_workers);
	if (!s)
		return NULL;
	s->generation = old->generation;
	s->config = config_ref(old->config);
	s->loaded = loaded_ref(old->loaded);
	s->tls = old->tls;
	s->connections = old->connections;
	s->admin_section = old->admin_section;
	if (old->admin) {
		s->section[s->n_listeners] = &s->admin_section;
		s->listener[s->n_listeners++] = listener_ref(old->admin);
		s->admin = old->admin;
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

size_t snapshot_index(const struct snapshot *s, const struct listener *l)
{
	size_t i = 0;
	while (s->listener[i] != l)
		i++;
	return i;
}

static bool has_all_listeners(const struct snapshot *s, const struct snapshot *of)
{
	for (size_t i = 0; i < of->n_listeners; i++)
		if (!snapshot_has(s, of->listener[i]))
			return false;
	return true;
}

void snapshot_set_untaken(struct snapshot *s, size_t worker, struct snapshot *replaced)
{
	s->untaken[worker] = replaced;
	if (!replaced || !has_all_listeners(s, replaced))
		return;
	/* The worker does not need REPLACED, but it may need the snapshots before it. */
	s->untaken[worker] = replaced->untaken[worker];
	replaced->untaken[worker] = NULL;
	snapshot_unref(replaced);
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
		snapshot_unref(s->untaken[i]);
	loaded_unref(s->loaded);
	config_unref(s->config);
	free(s);
}
