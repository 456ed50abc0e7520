#include "base/log.h"
#include "data/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Accepted in one turn of the loop at most: a flood of connects starves nobody. */
enum { ACCEPT_BATCH = 64, RECOVER_MS = 100, EMPTY_MOST = 65536 };

static void turn_away(struct worker *w, int fd)
{
	evutil_closesocket(fd);
	worker_add(w, COUNT_CLOSED + CLOSED_LIMIT, 1);
	w->turned_away++;
	if (worker_may_warn(w, &w->warned_limit))
		log_warning(
			"%zu connections are open, as many as there may be: others are accepted "
			"and closed, %llu so far by worker %u",
			w->snapshot->connections, (unsigned long long)w->turned_away, w->index);
}

/* Out of descriptors or memory: let the listeners rest, others give something back meanwhile. */
static void rest(struct worker *w, int error)
{
	struct acceptor *a;
	TAILQ_FOREACH (a, &w->acceptors, entry)
		event_del(&a->event);
	/* Cannot fail: libevent has room for more timers than a worker has without asking. */
	event_add(w->recover, &(struct timeval){.tv_usec = RECOVER_MS * 1000L});
	if (worker_may_warn(w, &w->warned_rest))
		log_warning("cannot accept connections: %s; they wait in the backlog, trying again "
			    "every %d ms",
			    strerror(error), RECOVER_MS);
}

/* Unless all rest. */
static void watch(struct acceptor *a)
{
	struct worker *w = a->worker;
	if (!event_pending(w->recover, EV_TIMEOUT, NULL) && event_add(&a->event, NULL) < 0)
		rest(w, errno ? errno : ENOMEM);
}

/* What accept(2) passes on from the one connection that it would have returned. */
static bool is_of_one_connection(int error)
{
	return error == ECONNABORTED || error == EPROTO || error == EINTR || error == ENETDOWN ||
	       error == ENOPROTOOPT || error == EHOSTDOWN || error == ENONET ||
	       error == EHOSTUNREACH || error == ENETUNREACH;
}

/* Accept up to MOST from one of A's sockets. Returns 0, or the errno that ended it. */
static int accept_some(const struct acceptor *a, int fd, unsigned most)
{
	struct worker *w = a->worker;
	struct plane *p = w->plane;
	while (most--) {
		struct sockaddr_storage peer = {0};
		socklen_t length = sizeof(peer);
		int c = accept4(fd, (struct sockaddr *)&peer, &length,
				SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (c < 0 && !is_of_one_connection(errno))
			return errno;
		if (c < 0)
			continue;
		worker_add(w, COUNT_ACCEPTED, 1);
		if (atomic_fetch_add(&p->open, 1) < w->snapshot->connections) {
			connection_accept(a, c, &peer);
		} else {
			atomic_fetch_sub(&p->open, 1);
			turn_away(w, c);
		}
	}
	return 0;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct acceptor *a = arg;
	(void)what;
	int error = accept_some(a, fd, ACCEPT_BATCH);
	if (error && error != EAGAIN)
		rest(a->worker, error);
}

static void free_acceptor(struct acceptor *a)
{
	event_del(&a->event);
	TAILQ_REMOVE(&a->worker->acceptors, a, entry);
	listener_unref(a->listener);
	free(a);
}

/*
 * The kernel completed these connections before the listener was retired: serve them, those of
 * the other workers too, who may be stuck.
 */
static int empty(const struct acceptor *a)
{
	const struct listener *l = a->listener;
	for (size_t j = 0; j < l->n_fds; j++) {
		int error = accept_some(a, l->fds[j], EMPTY_MOST);
		if (error && error != EAGAIN && error != EINVAL) /* EINVAL: shut down, and empty */
			return error;
	}
	return 0;
}

static void remove_acceptor(struct acceptor *a)
{
	int error = a->listener->keeper == KEEPER_UNIT ? 0 : empty(a);
	a->leaving = error != 0;
	if (error)
		rest(a->worker, error);
	else
		free_acceptor(a);
}

void acceptors_recover(struct worker *w)
{
	struct acceptor *a, *next;
	for (a = TAILQ_FIRST(&w->acceptors); a; a = next) {
		next = TAILQ_NEXT(a, entry);
		if (a->leaving)
			remove_acceptor(a);
		else
			watch(a);
	}
	if (!(w->done & ORDER_DRAIN)) /* there may be some that could not be made */
		acceptors_update(w, w->snapshot);
	worker_check_drained(w);
}

void acceptors_abandon(struct worker *w)
{
	struct acceptor *a;
	acceptors_update(w, NULL);
	while ((a = TAILQ_FIRST(&w->acceptors))) {
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the one freed is no longer in it */
		log_warning(
			"connections that wait on listen \"%s\" are lost: no descriptor is free",
			a->listener->title);
		free_acceptor(a);
	}
	event_del(w->recover);
}

static bool accepts_on(const struct worker *w, const struct listener *l, int fd)
{
	const struct acceptor *a;
	TAILQ_FOREACH (a, &w->acceptors, entry)
		if (a->listener == l && event_get_fd(&a->event) == fd)
			return true;
	return false;
}

static void add_acceptor(struct worker *w, struct listener *l, int fd, bool proxy)
{
	if (accepts_on(w, l, fd))
		return;
	struct acceptor *a = calloc(1, sizeof(*a));
	if (!a) {
		rest(w, ENOMEM); /* and then once more */
		return;
	}
	a->worker = w;
	a->listener = listener_ref(l);
	a->proxy = proxy;
	event_assign(&a->event, w->base, fd, EV_READ | EV_PERSIST, on_accept, a);
	TAILQ_INSERT_TAIL(&w->acceptors, a, entry);
	watch(a);
}

static void add_acceptors(struct worker *w, struct listener *l, bool proxy)
{
	for (size_t j = 0; j < l->n_fds; j++)
		if (listener_is_for(l, j, w->index, w->plane->n_workers))
			add_acceptor(w, l, l->fds[j], proxy);
}

void acceptors_update(struct worker *w, const struct snapshot *s)
{
	struct acceptor *a, *next;
	for (a = TAILQ_FIRST(&w->acceptors); a; a = next) {
		next = TAILQ_NEXT(a, entry);
		if (!s || !snapshot_serves(s, a->listener)) {
			remove_acceptor(a);
			continue;
		}
		a->proxy = snapshot_is_proxied(s, a->listener);
		a->leaving = false; /* it may have been asked for again */
	}
	for (size_t i = 0; s && i < s->n_listeners; i++)
		if (s->listener[i] != s->admin)
			add_acceptors(w, s->listener[i], s->proxy[i]);
	if (TAILQ_EMPTY(&w->acceptors) && (!s || !s->n_listeners))
		event_del(w->recover);
}

/* Listeners that came and went meanwhile: whoever connected waits there. */
void acceptors_catch_up(struct worker *w, struct snapshot *s)
{
	struct snapshot *before = s->skipped[w->index];
	s->skipped[w->index] = NULL;
	while (before) {
		struct snapshot *older = before->skipped[w->index];
		before->skipped[w->index] = NULL;
		for (size_t i = 0; i < before->n_listeners; i++)
			if (before->listener[i] != before->admin)
				add_acceptors(w, before->listener[i], before->proxy[i]);
		snapshot_unref(before);
		before = older;
	}
}
