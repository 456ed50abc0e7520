/* How a connection begins: accepted from a listener, or made for the service. */
#include "base/log.h"
#include "data/connection.h"
#include "data/connector.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Accepting. */

static void log_accepted(const struct connection *c, const struct listener *l)
{
	char address[ADDRESS_TEXT_MAX];
	if (log_level() < LOG_DEBUG)
		return;
	address_format(&l->actual, address);
	connection_log(c, LOG_DEBUG, "accepted: on %s by worker %u", address, c->worker->index);
}

static void close_for_no_memory(struct worker *w, int fd)
{
	worker_warn_no_memory(w);
	evutil_closesocket(fd);
	atomic_fetch_sub(&w->workers->n_connections, 1);
	worker_add(w, COUNT_CLOSED + CLOSED_ERROR, 1);
}

static bool add_tls(struct connection *c, struct worker *w, const struct tls_server *server)
{
	if (!w->tls.plain && !tls_io_init(&w->tls, SCRATCH_SIZE))
		return false;
	c->tls = tls_session_new(server);
	return c->tls;
}

void connection_accept(struct worker *w, int fd, const struct sockaddr_storage *peer,
		       const struct listener *l, const struct opening *o)
{
	struct connection *c = calloc(1, sizeof(*c));
	if (!c || (o->tls && !add_tls(c, w, o->tls))) {
		free(c);
		close_for_no_memory(w, fd);
		return;
	}
	c->worker = w;
	c->protocol = &w->workers->service->protocol;
	c->listener = o->title;
	c->fd = fd;
	c->accepted_at = c->active_at = w->now;
	c->in_grace_period = true;
	c->is_unix = peer->ss_family == AF_UNIX;
	c->state = o->proxied ? AWAITS_PROXY_HEADER : o->tls ? AWAITS_TLS : OPEN;
	c->list = c->state < OPEN ? LIST_OPENING : LIST_ACTIVE;
	memcpy(&c->peer, peer, sizeof(c->peer));
	w->n_connections++;
	TAILQ_INSERT_TAIL(&w->lists[c->list], c, entry);
	connection_assign_event(c, EV_READ | EV_PERSIST);
	log_accepted(c, l);
	connection_handle(c, ACCEPTED);
}

/* Connecting. */

static void on_connected(void *arg, int fd, const struct address *peer, int error)
{
	struct connection *c = arg;
	c->connector = NULL;
	if (c->state != CONNECTING) { /* ended in this turn: its machine runs next */
		if (fd >= 0)
			connector_discard(fd);
		return;
	}
	if (fd < 0) {
		connection_fail_connect(c, error);
		connection_handle(c, WRITABLE);
		return;
	}
	worker_add(c->worker, COUNT_CONNECTED, 1);
	c->fd = fd;
	c->is_unix = peer->sa.ss_family == AF_UNIX;
	memcpy(&c->peer, &peer->sa, sizeof(c->peer));
	event_del(&c->event); /* connection_schedule() may have activated it */
	connection_assign_event(c, EV_READ | EV_PERSIST);
	connection_move(c, LIST_ACTIVE);
	c->state = OPEN;
	connection_handle(c, ACCEPTED);
}

/* Returns false if there are too many. */
static bool count_outgoing(struct worker *w)
{
	size_t limit = (size_t)w->snapshot->config->limits.outgoing;
	if (atomic_fetch_add(&w->workers->n_outgoing, 1) < limit)
		return true;
	atomic_fetch_sub(&w->workers->n_outgoing, 1);
	unsigned suppressed;
	if (worker_may_warn(w, WARN_OUTGOING, &suppressed))
		log_warning("outgoing connection limit reached (limits.outgoing = %zu): "
			    "worker=%u suppressed=%u; the service cannot make more",
			    limit, w->index, suppressed);
	errno = EAGAIN;
	return false;
}

struct connection *worker_connect(struct worker *w, const char *address, const struct protocol *p,
				  void *data)
{
	if (w->orders_done & ORDER_CLOSE) {
		errno = ESHUTDOWN;
		return NULL;
	}
	if (!count_outgoing(w))
		return NULL;
	struct connection *c = calloc(1, sizeof(*c));
	if (c)
		c->connector = connector_new(w, address, on_connected, c);
	if (!c || !c->connector) {
		atomic_fetch_sub(&w->workers->n_outgoing, 1);
		free(c);
		return NULL;
	}
	c->worker = w;
	c->protocol = p;
	c->service_data = data;
	c->fd = -1;
	c->accepted_at = c->active_at = w->now;
	c->state = CONNECTING;
	c->list = LIST_OPENING;
	c->outgoing = c->closed_due = true;
	w->n_connections++;
	TAILQ_INSERT_TAIL(&w->lists[c->list], c, entry);
	connection_assign_event(c, 0);
	return c;
}
