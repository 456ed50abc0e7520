/*
 * A reload: read, parse, validate, prepare, commit, and wait until every worker has taken it over.
 * Up to the commit anything may fail and nothing has changed; from there on nothing can fail.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "control/daemon.h"
#include "control/privileges.h"

#include <stdlib.h>
#include <string.h>

enum { OVERDUE_SECONDS = 1, LOOK_MS = 200 };

struct prepared {
	struct snapshot *snapshot;
	struct log_target *log;
	struct errors changes; /* lines for the log, if it comes to that */
};

static void note_change(void *context, const char *line)
{
	errors_add(context, NULL, 0, "%s", line);
}

/* Whatever can fail. All of it is undone when one thing does. */
static bool prepare(struct daemon *d, struct config *c, struct prepared *p, struct errors *e)
{
	int64_t began = now_ns();
	bool compared = config_compare(d->current->config, c, note_change, &p->changes);
	for (size_t i = 0; i < errors_shown(&p->changes); i++)
		compared = compared && p->changes.text[i];
	if (compared)
		p->log = daemon_open_log(c, e);
	else
		errors_add(e, NULL, 0, "out of memory");
	size_t connections = privileges_raise_nofile(c, plane_workers(d->plane));
	if (p->log)
		p->snapshot = snapshot_new(c, d->current, &d->passed, &d->retired,
					   plane_workers(d->plane), e);
	if (p->snapshot) {
		p->snapshot->connections = connections;
		log_debug("reload: prepared in %.3f ms", (double)(now_ns() - began) / 1e6);
		return true;
	}
	log_discard(p->log);
	config_unref(c);
	return false;
}

/* From here on nothing can fail. */
static void commit(struct daemon *d, struct prepared *p)
{
	struct snapshot *old = d->current, *new = p->snapshot;
	int64_t began = now_ns();
	log_use(p->log);
	log_set_level(config_log_level(new->config));
	sockets_keep(&d->notify, new, old);
	for (size_t i = 0; i < old->n_listeners; i++)
		if (!snapshot_has(new, old->listener[i])) {
			listener_retire(old->listener[i]);
			listeners_remember(&d->retired, old->listener[i]);
		}
	for (size_t i = 0; i < new->n_listeners; i++)
		if (listeners_forget(&d->retired, new->listener[i]))
			listener_revive(new->listener[i]);
	for (size_t i = 0; i < new->n_listeners; i++)
		listener_set_backlog(new->listener[i], new->backlog[i]);
	daemon_log_listeners(new, old);
	d->current = new;
	plane_publish(d->plane, new);
	admin_listen(d->admin, new->admin);
	snapshot_unref(old);
	for (size_t i = 0; i < errors_shown(&p->changes); i++)
		log_notice("%s", errors_text(&p->changes, i));
	if (p->changes.n > errors_shown(&p->changes))
		log_notice("and %zu more changes", p->changes.n - errors_shown(&p->changes));
	log_debug("reload: generation %llu committed in %.3f ms",
		  (unsigned long long)new->generation, (double)(now_ns() - began) / 1e6);
}

static void count(struct reloads *r, enum outcome outcome, char *error)
{
	free(r->error);
	r->error = error;
	r->last = outcome;
	if (outcome == OUTCOME_OK) {
		r->ok++;
		r->last_good = time(NULL);
	} else {
		r->rejected++;
	}
	event_del(r->overdue);
}

static void conclude(struct daemon *d, enum outcome outcome, char *error)
{
	struct reloads *r = &d->reloads;
	count(r, outcome, error);
	runtime_hold(&d->runtime); /* which closing a log file may have let go of */
	daemon_set_state(d, RUNNING);
	if (!r->again)
		return;
	r->again = false;
	reload_begin(d);
}

/* "FILE:LINE: text (and 2 more)", for the status file and systemctl status. */
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
	for (size_t i = 0; i < errors_shown(e); i++)
		log_error("%s", errors_text(e, i));
	log_error("reload rejected, %zu error%s: still generation %llu, nothing changed", e->n,
		  e->n == 1 ? "" : "s", (unsigned long long)d->current->generation);
	conclude(d, OUTCOME_REJECTED, summary(e));
}

static void unwatch_loader(struct daemon *d)
{
	for (size_t i = 0; i < N_ANSWERS; i++)
		event_del(d->reloads.answer[i]);
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	struct prepared p = {0};
	struct errors e = {0};
	(void)fd;
	(void)what;
	if (!loader_look(&d->loader))
		return;
	unwatch_loader(d);
	struct config *c = daemon_adjust(d, loader_take(&d->loader, &e));
	log_debug("reload: read, parsed and validated in %.3f ms",
		  (double)(now_ns() - d->reloads.began) / 1e6);
	if (c && prepare(d, c, &p, &e)) {
		commit(d, &p);
		daemon_set_timer(d, d->reloads.overdue, OVERDUE_SECONDS);
	} else {
		reject(d, &e);
	}
	errors_clear(&p.changes);
	errors_clear(&e);
}

/* It may be another one than the last time. Also when it says nothing it is looked at. */
static bool watch_loader(struct daemon *d, struct errors *e)
{
	const int fds[N_ANSWERS] = {d->loader.orders, d->loader.answers};
	const struct timeval look = {.tv_usec = LOOK_MS * 1000L};
	bool good = true;
	for (size_t i = 0; i < N_ANSWERS; i++) {
		struct event *ev = d->reloads.answer[i];
		event_assign(ev, d->base, fds[i], EV_READ | EV_PERSIST, on_answer, d);
		good = event_add(ev, &look) == 0 && good;
	}
	if (good)
		return true;
	errors_add(e, d->loader.file, 0, "cannot be waited for: %s", strerror(errno));
	unwatch_loader(d);
	loader_drop(&d->loader);
	return false;
}

void reload_begin(struct daemon *d)
{
	struct errors e = {0};
	d->reloads.began = now_ns();
	d->signals.sender = (struct sender_cache){0};
	daemon_set_state(d, RELOADING);
	if (loader_ask(&d->loader, &e) < 0 || !watch_loader(d, &e))
		reject(d, &e);
	errors_clear(&e);
}

void reload_again(struct daemon *d)
{
	d->reloads.again = true;
}

void reload_news(struct daemon *d)
{
	listeners_prune(&d->retired); /* the last worker has let go: closed */
	uint64_t generation = d->current->generation;
	if (d->state != RELOADING || d->loader.busy || plane_behind(d->plane, generation, NULL))
		return;
	log_notice("reloaded: generation %llu is served by every worker, %.1f ms",
		   (unsigned long long)generation, (double)(now_ns() - d->reloads.began) / 1e6);
	conclude(d, OUTCOME_OK, NULL);
}

/* A worker is stuck. The others serve the new configuration: that is what counts. */
void reload_overdue(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	unsigned first = 0, n = plane_behind(d->plane, d->current->generation, &first);
	(void)fd;
	(void)what;
	if (!n) { /* all have, and the loop has not looked yet */
		reload_news(d);
		return;
	}
	log_warning("reloaded: generation %llu, but %u worker%s (the first is %u) did not take it "
		    "over within %d s: stuck in a callback? It will as soon as it can",
		    (unsigned long long)d->current->generation, n, n == 1 ? "" : "s", first,
		    OVERDUE_SECONDS);
	conclude(d, OUTCOME_OK, NULL);
}

void reload_abandon(struct daemon *d)
{
	struct reloads *r = &d->reloads;
	if (d->loader.busy) {
		unwatch_loader(d);
		loader_drop(&d->loader);
		log_notice("the reload is dropped: the daemon stops");
	} else if (d->state == RELOADING) { /* it was committed */
		count(r, OUTCOME_OK, NULL);
		log_notice("reloaded: generation %llu, while the daemon stops",
			   (unsigned long long)d->current->generation);
	}
	if (r->again)
		log_notice("the reload that was asked for meanwhile is dropped: the daemon stops");
	r->again = false;
}
