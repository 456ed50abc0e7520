#include "data/acceptor.h"

#include "base/log.h"
#include "data/connection.h"
#include "data/datagram.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	ACCEPT_BATCH = 64,	 /* per turn of the loop: new connections do not starve open ones */
	FULL_BATCHES = 8,	 /* in a row, then the batch is doubled */
	RETRY_MS = 100,		 /* after descriptors or memory ran out */
	HANDSHAKE_SECONDS = 1,	 /* for the last handshakes with a removed listener */
	QUEUE_LENGTH_MAX = 65536 /* no configured backlog is larger */
};

struct acceptor {
	struct worker *worker;
	struct listener *listener;
	struct event event;
	bool emptying; /* to be freed, but connections in its queue wait for a free descriptor */
	struct opening opening;
	/* Connections to accept in the next turn. One, and so no accept(2) that finds an empty
	 * queue, unless they arrive faster than that. */
	uint8_t batch;
	uint8_t full_batches; /* in a row */
	TAILQ_ENTRY(acceptor) entry;
};

/* The connection limit is reached: close FD. */
static void close_surplus(struct worker *w, int fd)
{
	evutil_closesocket(fd);
	worker_add(w, COUNT_CLOSED + CLOSED_LIMIT, 1);
	unsigned suppressed;
	if (worker_may_warn(w, WARN_LIMIT, &suppressed))
		log_warning("connection limit reached (limits.connections = %zu): worker=%u "
			    "suppressed=%u; closing new connections",
			    w->snapshot->connections, w->index, suppressed);
}

/* Descriptors or memory have run out: leave new connections in the backlog for RETRY_MS. */
static void pause_accepting(struct worker *w, int error)
{
	struct acceptor *a;
	TAILQ_FOREACH (a, &w->acceptors, entry)
		event_del(&a->event);
	/* This needs no memory unless there are many timers, of the service or of removed
	 * listeners: libevent's heap of timers starts with 8 elements, and a worker uses 3. */
	event_add(w->resume_accepting, &(struct timeval){.tv_usec = RETRY_MS * 1000L});
	unsigned suppressed;
	if (worker_may_warn(w, WARN_ACCEPT, &suppressed))
		log_warning("cannot accept connections: %s; worker=%u suppressed=%u, retrying "
			    "every %d ms; lower limits.connections, or raise LimitNOFILE= or "
			    "ulimit -n",
			    strerror(error), w->index, suppressed, RETRY_MS);
}

/* Let A accept connections, unless accepting is paused. If its listener is removed, only until the
 * last handshake is over: see on_accept(). */
static void start_accepting(struct acceptor *a)
{
	static const struct timeval handshake = {.tv_sec = HANDSHAKE_SECONDS};
	struct worker *w = a->worker;
	errno = ENOMEM; /* libevent does not set errno in every case */
	if (!event_pending(w->resume_accepting, EV_TIMEOUT, NULL) &&
	    event_add(&a->event, a->listener->refuses ? &handshake : NULL) < 0)
		pause_accepting(w, errno);
}

/* accept(2) also returns pending network errors of the new connection; the next one may be fine. */
static bool is_error_of_connection(int error)
{
	return error == ECONNABORTED || error == EPROTO || error == EINTR || error == ENETDOWN ||
	       error == ENOPROTOOPT || error == EHOSTDOWN || error == ENONET ||
	       error == EHOSTUNREACH || error == ENETUNREACH;
}

/* Accept up to MAX connections. Returns 0, or the errno for which it stopped; EAGAIN: the queue is
 * empty. */
static int accept_some(const struct acceptor *a, unsigned max)
{
	struct worker *w = a->worker;
	int fd = event_get_fd(&a->event);
	_Atomic size_t *n_connections = &w->workers->n_connections;
	while (max--) {
		struct sockaddr_storage peer = {0};
		socklen_t length = sizeof(peer);
		int c = accept4(fd, (struct sockaddr *)&peer, &length,
				SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (c < 0 && errno == EINVAL) /* a unix socket after shutdown(2) */
			return EAGAIN;
		if (c < 0 && !is_error_of_connection(errno))
			return errno;
		if (c < 0)
			continue;
		worker_add(w, COUNT_ACCEPTED, 1);
		if (atomic_fetch_add(n_connections, 1) < w->snapshot->connections) {
			connection_accept(w, c, &peer, a->listener, &a->opening);
		} else {
			atomic_fetch_sub(n_connections, 1);
			close_surplus(w, c);
		}
	}
	return 0;
}

static void free_acceptor(struct acceptor *a)
{
	event_del(&a->event);
	TAILQ_REMOVE(&a->worker->acceptors, a, entry);
	listener_unref(a->listener);
	tls_sites_unref(a->opening.sites);
	free(a);
}

/* Accept what waits in the queue, and free A. The queue of a socket unit is left to the unit. */
static void end_acceptor(struct acceptor *a)
{
	int error = a->listener->keeper == KEEPER_UNIT ? EAGAIN : accept_some(a, QUEUE_LENGTH_MAX);
	a->emptying = error && error != EAGAIN;
	if (a->emptying)
		pause_accepting(a->worker, error);
	else
		free_acceptor(a);
}

/* EV_TIMEOUT: the listener is removed, and no handshake has completed for HANDSHAKE_SECONDS. */
static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct acceptor *a = arg;
	(void)fd;
	if (what & EV_TIMEOUT) {
		const struct worker *w = a->worker;
		end_acceptor(a);
		worker_report_progress(w); /* the control plane has the last reference */
		return;
	}
	int error = accept_some(a, a->batch);
	if (error) {
		a->batch = 1;
		a->full_batches = 0;
	} else if (++a->full_batches >= FULL_BATCHES && a->batch < ACCEPT_BATCH) {
		a->batch *= 2;
		a->full_batches = 0;
	}
	if (error && error != EAGAIN)
		pause_accepting(a->worker, error);
}

void acceptors_resume(struct worker *w)
{
	struct acceptor *a, *next;
	for (a = TAILQ_FIRST(&w->acceptors); a; a = next) {
		next = TAILQ_NEXT(a, entry);
		if (a->emptying)
			end_acceptor(a);
		else
			start_accepting(a);
	}
	if (!worker_drains(w))
		acceptors_update(w, w->snapshot); /* add acceptors that lacked memory */
	worker_report_if_drained(w);
}

void acceptors_abandon(struct worker *w)
{
	struct acceptor *a;
	acceptors_update(w, NULL);
	while ((a = TAILQ_FIRST(&w->acceptors))) {
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): TAILQ_REMOVE precedes each free() */
		log_warning("connections lost: listen \"%s\" has waiting connections, no "
			    "descriptor is free to accept them",
			    a->opening.title);
		free_acceptor(a);
	}
	event_del(w->resume_accepting);
}

static bool accepts_on(const struct worker *w, const struct listener *l, int fd)
{
	const struct acceptor *a;
	TAILQ_FOREACH (a, &w->acceptors, entry)
		if (a->listener == l && event_get_fd(&a->event) == fd)
			return true;
	return false;
}

static void add_acceptor(struct worker *w, struct listener *l, int fd, const struct opening *o)
{
	if (accepts_on(w, l, fd))
		return;
	struct acceptor *a = calloc(1, sizeof(*a));
	if (!a) {
		pause_accepting(w, ENOMEM); /* acceptors_resume() tries again */
		return;
	}
	a->worker = w;
	a->listener = listener_ref(l);
	a->opening = *o;
	tls_sites_ref(o->sites);
	a->batch = 1;
	event_assign(&a->event, w->base, fd, EV_READ | EV_PERSIST, on_accept, a);
	TAILQ_INSERT_TAIL(&w->acceptors, a, entry);
	start_accepting(a);
}

/* Use the sockets of L that are assigned to this worker; all if L is removed, because another
 * worker may be stuck. */
static void add_sockets(struct worker *w, struct listener *l, const struct opening *o)
{
	for (size_t i = 0; i < l->n_fds; i++)
		if (!l->refuses && !listener_is_assigned(l, i, w->index, w->workers->n_workers))
			continue;
		else if (!l->actual.datagram)
			add_acceptor(w, l, l->fds[i], o);
		else if (!datagrams_add(w, l, l->fds[i], o->title))
			pause_accepting(w, ENOMEM); /* acceptors_resume() tries again */
}

/* How the connections of listener number I of S begin. */
static struct opening opening_of(struct worker *w, const struct snapshot *s, size_t i)
{
	const struct listen_config *c = s->section[i];
	return (struct opening){.title = worker_keep_title(w, c->title),
				.proxied = c->proxy,
				.tls = tls_sites_listen(s->tls, (size_t)(c - s->config->listen)),
				.sites = s->tls};
}

static void add_all_acceptors(struct worker *w, const struct snapshot *s)
{
	for (size_t i = 0; i < s->n_listeners; i++)
		if (s->listener[i] != s->admin) {
			const struct opening o = opening_of(w, s, i);
			add_sockets(w, s->listener[i], &o);
		}
}

static void configure(struct acceptor *a, const struct snapshot *s)
{
	tls_sites_unref(a->opening.sites);
	a->opening = opening_of(a->worker, s, snapshot_index(s, a->listener));
	tls_sites_ref(a->opening.sites);
}

/* The listener of A is removed. */
static void retire_acceptor(struct acceptor *a)
{
	if (!a->listener->refuses) {
		end_acceptor(a);
	} else if (!event_pending(&a->event, EV_TIMEOUT, NULL)) {
		start_accepting(a);
		add_sockets(a->worker, a->listener, &a->opening);
	}
}

void acceptors_update(struct worker *w, const struct snapshot *s)
{
	struct acceptor *a, *next;
	for (a = TAILQ_FIRST(&w->acceptors); a; a = next) {
		next = TAILQ_NEXT(a, entry);
		if (!s)
			end_acceptor(a);
		else if (snapshot_serves(s, a->listener))
			configure(a, s);
		else
			retire_acceptor(a);
	}
	datagrams_keep(w, s);
	if (s)
		add_all_acceptors(w, s);
	if (TAILQ_EMPTY(&w->acceptors) && (!s || !s->n_listeners))
		event_del(w->resume_accepting);
}

void acceptors_catch_up(struct worker *w, struct snapshot *s)
{
	struct snapshot *untaken = s->untaken[w->index];
	s->untaken[w->index] = NULL;
	while (untaken) {
		struct snapshot *older = untaken->untaken[w->index];
		untaken->untaken[w->index] = NULL;
		add_all_acceptors(w, untaken);
		snapshot_unref(untaken);
		untaken = older;
	}
}
