#include "control/reload.h"

#include "admin/http.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "control/memory.h"
#include "control/privileges.h"
#include "control/state.h"
#include "control/systemd_sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { OVERDUE_SECONDS = 1, POLL_MS = 200, VALUE_MAX = 512 };

struct prepared {
	struct snapshot *snapshot;
	struct log_target *log; /* NULL: it stays the same, and is only reopened */
};

static void add_change(void *context, const char *line)
{
	errors_add(context, NULL, 0, "%s", line);
}

/* Also gives options that need a restart their old values. */
static bool compare(struct daemon *d, struct errors *e)
{
	struct errors *changes = &d->reload.changes;
	bool good = config_compare(d->current->config, d->reload.config, add_change, changes);
	for (size_t i = 0; i < errors_stored(changes); i++)
		good = good && changes->error[i].text;
	if (!good)
		errors_add_no_memory(e, NULL, 0);
	return good;
}

static bool log_differs(const struct config *a, const struct config *b)
{
	return a->log.target != b->log.target ||
	       (a->log.target == LOG_TO_FILE && strcmp(a->log.file, b->log.file) != 0);
}

/* Do everything else that can fail. If one step fails, undo all of them and return false. */
static bool prepare(struct daemon *d, struct prepared *p, struct errors *e)
{
	int64_t began = now_ns();
	struct config *c = d->reload.config;
	unsigned n = workers_count(d->workers);
	if (log_differs(d->current->config, c) && !(p->log = daemon_open_log(c, e)))
		return false;
	size_t connections = privileges_raise_nofile(c, n); /* listeners need some, too */
	p->snapshot = snapshot_new(c, d->current, &d->passed, &d->retired, n, e);
	if (!p->snapshot) {
		log_discard(p->log);
		return false;
	}
	d->reload.config = NULL; /* the snapshot owns it */
	p->snapshot->connections = connections;
	log_debug("reload: prepared duration_ms=%.3f", (double)(now_ns() - began) / 1e6);
	memory_check(c);
	return true;
}

static void switch_listeners(struct daemon *d, struct snapshot *new, const struct snapshot *old)
{
	systemd_sockets_keep(&d->notify, new, old);
	for (size_t i = 0; i < old->n_listeners; i++)
		if (!snapshot_has(new, old->listener[i])) {
			listener_retire(old->listener[i]);
			listeners_remember(&d->retired, old->listener[i]);
		}
	snapshot_apply_sections(new);
	daemon_log_listeners(new, old);
}

/* Free the data that a reload has between the parse and the commit. */
static void forget(struct reload_state *r)
{
	config_unref(r->config);
	r->config = NULL;
	errors_clear(&r->changes);
}

/* As strstr(3), but not inside of quotes: option_print_text() escapes the quotes in a value. */
static const char *find_separator(const char *text, const char *separator)
{
	bool is_quoted = false;
	for (; *text; text++) {
		if (!is_quoted && strncmp(text, separator, strlen(separator)) == 0)
			return text;
		if (*text == '"')
			is_quoted = !is_quoted;
		else if (*text == '\\' && text[1])
			text++;
	}
	return NULL;
}

/* Copy the value between BEGIN and END to OUT, without the quotes around it. */
static const char *copy_value(char out[static VALUE_MAX], const char *begin, const char *end)
{
	bool quoted = end - begin >= 2 && *begin == '"' && end[-1] == '"';
	snprintf(out, VALUE_MAX, "%.*s", (int)(end - begin) - 2 * quoted, begin + quoted);
	return out;
}

/* CHANGE is a line of config_compare(): "option: old -> new", and more if it needs a restart. */
static void log_change(const char *change)
{
	static const char arrow[] = " -> ", restart[] = " needs a restart, keeping ";
	char option[VALUE_MAX], old[VALUE_MAX], new[VALUE_MAX];
	struct log_about about = {.event = "option_changed"};
	const char *value = find_separator(change, ": ");
	const char *to = value ? find_separator(value, arrow) : NULL;
	const char *end = to ? find_separator(to, restart) : NULL;
	if (end)
		about.event = "option_needs_restart";
	if (to) {
		const char *begin = to + strlen(arrow);
		about.field[0] =
			(struct log_field)LOG_TEXT("option", copy_value(option, change, value));
		about.field[1] = (struct log_field)LOG_TEXT("old", copy_value(old, value + 2, to));
		about.field[2] = (struct log_field)LOG_TEXT(
			"new", copy_value(new, begin, end ? end : begin + strlen(begin)));
	}
	log_about(LOG_NOTICE, &about, "%s", change);
}

static void log_changes(const struct errors *changes)
{
	for (size_t i = 0; i < errors_stored(changes); i++)
		log_change(errors_text(changes, i));
	if (changes->n > errors_stored(changes))
		log_notice("more changes: %zu not shown", changes->n - errors_stored(changes));
}

/* The commit point: from here on nothing can fail. */
static void commit(struct daemon *d, struct prepared *p)
{
	struct snapshot *old = d->current, *new = p->snapshot;
	int64_t began = now_ns();
	if (p->log)
		log_switch(p->log);
	else
		log_reopen();
	log_set_level(config_log_level(new->config));
	log_set_format((enum log_format) new->config->log.format);
	switch_listeners(d, new, old);
	d->current = new;
	workers_publish(d->workers, new);
	admin_listen(d->admin, new);
	log_changes(&d->reload.changes);
	forget(&d->reload);
	errors_log(&new->config->warnings, LOG_WARNING, "config_warning");
	tls_sites_log(new->tls, old->tls);
	errors_log(loaded_warnings(new->loaded), LOG_WARNING, "tls_warning");
	snapshot_unref(old);
	log_debug("reload: committed generation=%llu duration_ms=%.3f",
		  (unsigned long long)new->generation, (double)(now_ns() - began) / 1e6);
}

/* Takes over ERROR, which may be NULL. */
static void count(struct reload_state *r, enum reload_outcome outcome, char *error)
{
	free(r->last_error);
	r->last_error = error;
	r->last_outcome = outcome;
	if (outcome == RELOAD_OK) {
		r->ok++;
		r->last_success = time(NULL);
	} else {
		r->rejected++;
	}
	event_del(r->overdue_timer);
}

static void conclude(struct daemon *d, enum reload_outcome outcome, char *error)
{
	struct reload_state *r = &d->reload;
	count(r, outcome, error);
	daemon_set_state(d, RUNNING);
	if (!r->queued)
		return;
	r->queued = false;
	reload_begin(d);
}

/* "FILE:LINE: text (and 2 more)", for the status file and STATUS=. Returns NULL if out of memory.
 */
static char *summary(const struct errors *e)
{
	const char *first = errors_text(e, 0);
	char line[1024], more[48] = "", *text = NULL;
	text_escape(line, sizeof(line), first, strlen(first));
	if (e->n > 1)
		snprintf(more, sizeof(more), " (and %zu more)", e->n - 1);
	return asprintf(&text, "%s%s", line, more) < 0 ? NULL : text;
}

static void reject(struct daemon *d, const struct errors *e)
{
	errors_log(e, LOG_ERR, "reload_error");
	log_error(
		"reload rejected: errors=%zu generation=%llu; the previous configuration stays in "
		"force",
		e->n, (unsigned long long)d->current->generation);
	log_reopen(); /* logrotate(8) sends SIGHUP; it must work with a bad configuration, too */
	forget(&d->reload);
	conclude(d, RELOAD_REJECTED, summary(e));
}

/* All is loaded, or there is nothing to load. Takes over LOADED. */
static void prepare_and_commit(struct daemon *d, struct loaded *loaded, struct errors *e)
{
	struct prepared p = {0};
	if (prepare(d, &p, e)) {
		snapshot_set_loaded(p.snapshot, loaded);
		commit(d, &p);
		daemon_set_timer(d, d->reload.overdue_timer, OVERDUE_SECONDS);
	} else {
		loaded_unref(loaded);
		reject(d, e);
	}
}

/* Assign the event again: the descriptor may have changed. The interval serves the time limit. */
static bool watch(struct daemon *d, struct event *ev, int fd, event_callback_fn run)
{
	const struct timeval interval = {.tv_usec = POLL_MS * 1000L};
	event_assign(ev, d->base, fd, EV_READ | EV_PERSIST, run, d);
	return event_add(ev, &interval) == 0;
}

static void on_load(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	struct errors e = {0};
	(void)fd;
	(void)what;
	if (!load_poll(&d->load))
		return;
	event_del(d->reload.load_event);
	struct loaded *loaded = load_result(&d->load, &e);
	log_debug("reload: loaded duration_ms=%.3f",
		  (double)(now_ns() - d->reload.started_ns) / 1e6);
	if (loaded)
		prepare_and_commit(d, loaded, &e);
	else
		reject(d, &e);
	errors_clear(&e);
}

static bool begin_load(struct daemon *d, struct errors *e)
{
	int fd = load_request(&d->load, d->reload.config, d->current->tls, e);
	if (fd < 0)
		return false;
	if (watch(d, d->reload.load_event, fd, on_load))
		return true;
	errors_add(e, d->config_file, 0, "cannot watch the load: %s", strerror(errno));
	load_abandon(&d->load);
	return false;
}

static void unwatch_loader(struct daemon *d)
{
	for (size_t i = 0; i < N_LOADER_EVENTS; i++)
		event_del(d->reload.loader_events[i]);
}

static void on_loader(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	struct errors e = {0};
	(void)fd;
	(void)what;
	if (!loader_poll(&d->loader))
		return;
	unwatch_loader(d);
	d->reload.config = daemon_adjust_config(d, loader_result(&d->loader, &e));
	log_debug("reload: parsed duration_ms=%.3f",
		  (double)(now_ns() - d->reload.started_ns) / 1e6);
	bool good = d->reload.config && compare(d, &e);
	if (good && !load_is_needed(d->service, d->reload.config))
		prepare_and_commit(d, NULL, &e);
	else if (!good || !begin_load(d, &e))
		reject(d, &e);
	errors_clear(&e);
}

/* The loader may have been restarted. */
static bool watch_loader(struct daemon *d, struct errors *e)
{
	const int fds[N_LOADER_EVENTS] = {d->loader.request_fd, d->loader.answer_fd};
	bool good = true;
	for (size_t i = 0; i < N_LOADER_EVENTS; i++)
		good = watch(d, d->reload.loader_events[i], fds[i], on_loader) && good;
	if (good)
		return true;
	errors_add(e, d->loader.file, 0, "cannot watch the configuration loader: %s",
		   strerror(errno));
	unwatch_loader(d);
	loader_cancel(&d->loader);
	return false;
}

void reload_begin(struct daemon *d)
{
	struct errors e = {0};
	d->reload.started_ns = now_ns();
	d->signals.sender = (struct sender_cache){0};
	daemon_set_state(d, RELOADING);
	if (loader_request(&d->loader, &e) < 0 || !watch_loader(d, &e))
		reject(d, &e);
	errors_clear(&e);
}

void reload_queue(struct daemon *d)
{
	d->reload.queued = true;
}

void reload_check(struct daemon *d)
{
	listeners_prune(&d->retired);
	uint64_t generation = d->current->generation;
	bool is_committed = d->state == RELOADING && !d->loader.busy && !d->load.busy;
	if (!is_committed || workers_behind(d->workers, generation, NULL))
		return;
	const char *file = d->current->config->file;
	log_notice(
		"reloaded: generation=%llu duration_ms=%.1f config=\"%s\"; every worker serves it",
		(unsigned long long)generation, (double)(now_ns() - d->reload.started_ns) / 1e6,
		file ? file : d->config_file);
	conclude(d, RELOAD_OK, NULL);
}

/* A worker is stuck. The reload is successful all the same: the other workers serve it. */
void reload_overdue(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	unsigned first = 0, n = workers_behind(d->workers, d->current->generation, &first);
	(void)fd;
	(void)what;
	if (!n) { /* the last acknowledgement has not been read yet */
		reload_check(d);
		return;
	}
	log_warning("reloaded: generation=%llu, not acknowledged within %d s by workers=%u "
		    "first=%u; a callback may be stuck, they switch when it returns",
		    (unsigned long long)d->current->generation, OVERDUE_SECONDS, n, first);
	conclude(d, RELOAD_OK, NULL);
}

void reload_abandon(struct daemon *d)
{
	struct reload_state *r = &d->reload;
	if (d->loader.busy || d->load.busy) {
		unwatch_loader(d);
		event_del(r->load_event);
		if (d->loader.busy)
			loader_cancel(&d->loader);
		load_abandon(&d->load);
		forget(r);
		log_notice("reload dropped: the daemon is stopping");
	} else if (d->state == RELOADING) { /* committed, not acknowledged by all workers */
		count(r, RELOAD_OK, NULL);
		log_notice("reloaded: generation=%llu while stopping",
			   (unsigned long long)d->current->generation);
	}
	if (r->queued)
		log_notice("queued reload dropped: the daemon is stopping");
	r->queued = false;
}
