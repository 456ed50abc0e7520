#include "base/log.h"
#include "data/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Accepted in one turn of the loop at most: a flood of connects starves nobody. */
enum { ACCEPT_BATCH = 64, RECOVER_MS = 100 };

/* At most one line a second, whatever happens. */
static bool may_warn(struct worker *w)
{
	if (w->warned_at == w->now + 1)
		return false;
	w->warned_at = w->now + 1; /* 0 is "never" */
	return true;
}

static void turn_away(struct worker *w, int fd)
{
	evutil_closesocket(fd);
	worker_add(w, COUNT_CLOSED + CLOSED_LIMIT, 1);
	w->turned_away++;
	if (may_warn(w)) {
		log_warning("limits.connections = %lld reached: connections are accepted and "
			    "closed, %llu so far by worker %u",
			    (long long)w->snapshot->config->limits.connections,
			    (unsigned long long)w->turned_away, w->index);
	}
}

/* Out of descriptors or memory: let the listeners rest, others give something back meanwhile. */
static void rest(struct worker *w, int error)
{
	struct acceptor *a;
	TAILQ_FOREACH (a, &w->acceptors, entry)
		event_del(&a->event);
	event_add(w->recover, &(struct timeval){.tv_usec = RECOVER_MS * 1000});
	if (may_warn(w))
		log_warning("cannot accept connections: %s; they wait in the backlog, trying again "
			    "every %d ms",
			    strerror(error), RECOVER_MS);
}

void acceptors_recover(struct worker *w)
{
	struct acceptor *a;
	TAILQ_FOREACH (a, &w->acceptors, entry)
		event_add(&a->event, NULL);
}

/* Accept up to MOST. Returns 0, or the errno that ended it. */
static int accept_some(struct worker *w, int fd, unsigned most)
{
	struct plane *p = w->plane;
	while (most--) {
		struct sockaddr_storage peer = {0};
		socklen_t length = sizeof(peer);
		int c = accept4(fd, (struct sockaddr *)&peer, &length,
				SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (c >= 0) {
			worker_add(w, COUNT_ACCEPTED, 1);
			size_t limit = (size_t)w->snapshot->config->limits.connections;
			if (atomic_fetch_add(&p->open, 1) < limit) {
				connection_accept(w, c, &peer);
			} else {
				atomic_fetch_sub(&p->open, 1);
				turn_away(w, c);
			}
		} else if (errno == EAGAIN || errno == EMFILE || errno == ENFILE ||
			   errno == ENOBUFS || errno == ENOMEM || errno == EINVAL ||
			   errno == EBADF) {
			return errno;
		} /* else: an error of that one connection, see accept(2), Linux */
	}
	return 0;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct acceptor *a = arg;
	(void)what;
	int error = accept_some(a->worker, fd, ACCEPT_BATCH);
	if (error && error != EAGAIN)
		rest(a->worker, error);
}

static void remove_acceptor(struct acceptor *a)
{
	struct worker *w = a->worker;
	/* The kernel completed these connections before the listener was retired: serve them. */
	if (a->listener->keeper != KEEPER_UNIT)
		accept_some(w, event_get_fd(&a->event), UINT32_MAX);
	event_del(&a->event);
	TAILQ_REMOVE(&w->acceptors, a, entry);
	listener_unref(a->listener);
	free(a);
}

static void add_acceptor(struct worker *w, struct listener *l, int fd)
{
	struct acceptor *a = calloc(1, sizeof(*a));
	if (!a) {
		log_error("worker %u cannot accept on listen \"%s\": out of memory", w->index,
			  l->title);
		return;
	}
	a->worker = w;
	a->listener = listener_ref(l);
	event_assign(&a->event, w->base, fd, EV_READ | EV_PERSIST, on_accept, a);
	event_add(&a->event, NULL);
	TAILQ_INSERT_TAIL(&w->acceptors, a, entry);
}

static bool accepts_on(const struct worker *w, const struct listener *l)
{
	const struct acceptor *a;
	TAILQ_FOREACH (a, &w->acceptors, entry)
		if (a->listener == l)
			return true;
	return false;
}

static void add_acceptors(struct worker *w, struct listener *l)
{
	for (size_t j = 0; j < l->n_fds; j++)
		if (listener_is_for(l, j, w->index, w->plane->n_workers))
			add_acceptor(w, l, l->fds[j]);
}

void acceptors_update(struct worker *w, const struct snapshot *s)
{
	struct acceptor *a, *next;
	for (a = TAILQ_FIRST(&w->acceptors); a; a = next) {
		next = TAILQ_NEXT(a, entry);
		if (!s || !snapshot_has(s, a->listener))
			remove_acceptor(a);
	}
	for (size_t i = 0; s && i < s->n_listeners; i++)
		if (!accepts_on(w, s->listener[i]))
			add_acceptors(w, s->listener[i]);
	if (TAILQ_EMPTY(&w->acceptors))
		event_del(w->recover);
}
