#include "data/connection.h"

#include "base/log.h"
#include "data/proxy_protocol.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void on_event(evutil_socket_t fd, short what, void *arg);

static const struct service *service_of(const struct connection *c)
{
	return c->worker->workers->service;
}

static struct connection_list *list_of(struct connection *c)
{
	struct worker *w = c->worker;
	return c->lingering		? &w->lingering
	       : c->awaits_proxy_header ? &w->awaiting_header
					: &w->active;
}

void connection_vlog(const struct connection *c, int level, const char *format, va_list ap)
{
	char peer[ADDRESS_TEXT_MAX] = "a unix peer", text[512];
	struct address a = {.length = sizeof(a.sa)};
	if (c->peer.family == AF_INET)
		*(struct sockaddr_in *)&a.sa = c->peer.v4;
	else if (c->peer.family == AF_INET6)
		*(struct sockaddr_in6 *)&a.sa = c->peer.v6;
	if (c->peer.family != AF_UNIX)
		address_format(&a, peer);
	vsnprintf(text, sizeof(text), format, ap);
	log_line(level, "%s: %s", peer, text);
}

static void log_connection(const struct connection *c, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void log_connection(const struct connection *c, int level, const char *format, ...)
{
	va_list ap;
	if (level > log_level())
		return;
	va_start(ap, format);
	connection_vlog(c, level, format, ap);
	va_end(ap);
}

size_t connection_buffer_limit(struct connection *c)
{
	size_t limit = (size_t)c->worker->snapshot->config->limits.buffer; /* at most 1 GiB */
	if (c->buffer_limit <= limit || buffered(c->in) < limit)
		c->buffer_limit = (uint32_t)limit;
	return c->buffer_limit;
}

static void free_buffer(struct evbuffer **b)
{
	if (*b)
		evbuffer_free(*b);
	*b = NULL;
}

void connection_mark_active(struct connection *c)
{
	if (c->active_at == c->worker->now || c->lingering || c->awaits_proxy_header)
		return;
	c->active_at = c->worker->now;
	TAILQ_REMOVE(&c->worker->active, c, entry);
	TAILQ_INSERT_TAIL(&c->worker->active, c, entry);
}

/* Returns false if the kernel cannot watch the socket. */
static bool wait_for(struct connection *c, bool read, bool write)
{
	if (c->wants_read == read && c->wants_write == write)
		return true;
	/* Even if the event waits for nothing: connection_schedule() may have activated it. */
	event_del(&c->event);
	c->wants_read = read;
	c->wants_write = write;
	if (!read && !write)
		return true;
	short what = (short)(EV_PERSIST | (read ? EV_READ : 0) | (write ? EV_WRITE : 0));
	event_assign(&c->event, c->worker->base, c->fd, what, on_event, c);
	return event_add(&c->event, NULL) == 0;
}

void connection_schedule(struct connection *c)
{
	if (!c->is_advancing)
		event_active(&c->event, EV_TIMEOUT, 1);
}

/* Closing. */

void connection_fail(struct connection *c, enum close_reason reason)
{
	if (!c->broken && !c->closing)
		c->reason = (uint8_t)reason;
	c->broken = true;
}

void connection_fail_no_memory(struct connection *c)
{
	worker_warn_no_memory(c->worker);
	connection_fail(c, CLOSED_ERROR);
}

void connection_fail_errno(struct connection *c, const char *call)
{
	int error = errno;
	log_connection(c, LOG_DEBUG, "cannot %s: %s", call, strerror(error));
	if (error == ENOMEM || error == ENOBUFS)
		connection_fail_no_memory(c);
	else
		connection_fail(c, CLOSED_ERROR); /* normal in a network, so no warning */
}

void connection_reject_header(struct connection *c, const char *received)
{
	if (worker_may_warn(c->worker, &c->worker->warned_header))
		log_connection(c, LOG_WARNING,
			       "closed: expected a PROXY protocol version 2 header, received %s",
			       received);
	connection_fail(c, CLOSED_PROXY);
}

static void report_closed(struct connection *c)
{
	if (c->reported)
		return;
	c->reported = true;
	if (service_of(c)->closed)
		service_of(c)->closed(c);
}

static void close_socket(struct connection *c)
{
	struct worker *w = c->worker;
	log_connection(c, LOG_DEBUG, "closed: reason=%s received=%llu sent=%llu seconds=%u",
		       close_reasons[c->reason], (unsigned long long)c->received,
		       (unsigned long long)c->sent, w->now - c->accepted_at);
	evutil_closesocket(c->fd);
	c->fd = -1;
	TAILQ_REMOVE(list_of(c), c, entry);
	w->n_connections--;
	atomic_fetch_sub(&w->workers->n_connections, 1);
	worker_add(w, COUNT_CLOSED + (size_t)c->reason, 1);
	w->holds++; /* a drain waits until the connection is freed, see connection_destroy() */
}

void connection_destroy(struct connection *c)
{
	struct worker *w = c->worker;
	c->is_advancing = c->broken = true; /* calls from `closed` have no effect any more */
	event_del(&c->event);
	if (c->fd >= 0)
		close_socket(c);
	report_closed(c);
	c->is_advancing = false;
	if (c->holds)
		return;		  /* connection_release() schedules another call */
	w->holds -= w->holds > 0; /* ORDER_CLOSE sets w->holds to 0 */
	free_buffer(&c->in);
	free_buffer(&c->out);
	free(c);
	worker_report_if_drained(w);
}

bool connection_has_undelivered(const struct connection *c)
{
	int unsent = 0, unread = 0;
	if (!c->is_unix) /* all that a unix socket has sent is in the peer's queue already */
		ioctl(c->fd, SIOCOUTQ, &unsent);
	ioctl(c->fd, FIONREAD, &unread);
	return unsent > 0 || unread > 0;
}

/*
 * All is sent. If the peer is still sending, close(2) would make the kernel reset the connection,
 * and the peer might lose the last answers (RFC 9112 9.6). Shut down the sending side and linger.
 */
static void finish(struct connection *c)
{
	if (c->peer_ended || !connection_has_undelivered(c)) {
		connection_destroy(c);
		return;
	}
	shutdown(c->fd, SHUT_WR);
	TAILQ_REMOVE(list_of(c), c, entry);
	c->active_at = c->worker->now;
	c->lingering = true;
	TAILQ_INSERT_TAIL(&c->worker->lingering, c, entry);
	log_connection(c, LOG_DEBUG, "lingering: all sent, the peer has not received it");
	worker_schedule_check(c->worker, LINGER_CHECK_MS);
	report_closed(c);
	if (!wait_for(c, true, false))
		connection_destroy(c);
}

/* Discard the bytes that a lingering connection still receives, until the peer closes. */
static void discard(struct connection *c)
{
	ssize_t n = recv(c->fd, c->worker->scratch, SCRATCH_SIZE, 0);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		connection_destroy(c);
}

/* Reading and writing. */

static bool may_read(struct connection *c)
{
	size_t limit = connection_buffer_limit(c);
	return !c->broken && !c->closing && !c->peer_ended && buffered(c->out) < limit &&
	       buffered(c->in) < limit;
}

/* The request cannot become complete. Close once the answers to earlier ones are sent. */
static void close_overflow(struct connection *c, size_t limit)
{
	log_connection(c, LOG_DEBUG, "request too large: limits.buffer = %zu", limit);
	c->reason = CLOSED_OVERFLOW;
	c->closing = true;
}

/* Decide for which events the connection waits, or close it. May free C. */
static void settle(struct connection *c)
{
	size_t out = buffered(c->out), in = buffered(c->in), limit = connection_buffer_limit(c);
	bool full = out >= limit || in >= limit;
	bool all_sent = !c->broken && !out && !c->holds;
	bool all_answered = !c->unread && (!in || c->awaits_proxy_header);
	if (in >= limit && !c->holds && !c->offer_again && !c->peer_ended && !c->closing)
		close_overflow(c, limit);
	if (all_sent && c->draining && all_answered && !c->closing && !c->in_grace_period) {
		c->reason = CLOSED_DRAIN;
		c->closing = true;
	}
	if (all_sent && c->closing) {
		finish(c);
		return;
	}
	if (all_sent && c->peer_ended)
		connection_fail(c, c->awaits_proxy_header && in ? CLOSED_PROXY : CLOSED_BY_PEER);
	if (c->broken) {
		connection_destroy(c);
		return;
	}
	if (!in)
		free_buffer(&c->in);
	if (!out)
		free_buffer(&c->out);
	if (full && c->wants_read)
		log_connection(c, LOG_DEBUG, "reading paused: unsent=%zu unconsumed=%zu", out, in);
	if (!wait_for(c, !c->peer_ended && !c->closing && !full, out > 0)) {
		connection_fail_no_memory(c);
		connection_destroy(c);
	}
}

/* Call the service: the client's address is known, and bytes may be exchanged. */
static void open_connection(struct connection *c)
{
	const struct service *s = service_of(c);
	bool was_advancing = c->is_advancing;
	c->reported = false;
	c->is_advancing = true;
	if (!s->data || (s->opened && s->opened(c) < 0)) {
		c->reason = CLOSED_BY_SERVICE;
		c->closing = true;
	}
	c->is_advancing = was_advancing;
}

static void set_client_address(struct connection *c, const struct address *client)
{
	char text[ADDRESS_TEXT_MAX];
	if (client->sa.ss_family == AF_UNSPEC) /* the header names no client */
		return;
	address_format(client, text);
	log_connection(c, LOG_DEBUG, "client address: %s", text);
	memcpy(&c->peer, &client->sa, sizeof(c->peer));
}

static void accept_header(struct connection *c, const struct proxy_header *p)
{
	struct worker *w = c->worker;
	set_client_address(c, &p->client);
	TAILQ_REMOVE(&w->awaiting_header, c, entry);
	TAILQ_INSERT_TAIL(&w->active, c, entry);
	c->awaits_proxy_header = false;
	c->active_at = w->now;
	open_connection(c);
	if (c->draining && !c->closing && service_of(c)->draining)
		service_of(c)->draining(c);
}

/* BYTES are all that were received so far. Returns the number of bytes to skip: the header. */
static size_t read_header(struct connection *c, const char *bytes, size_t n)
{
	struct proxy_header p = {0};
	char too_long[48];
	switch (proxy_header_parse(bytes, n, &p)) {
	case PROXY_COMPLETE:
		accept_header(c, &p);
		return p.length;
	case PROXY_NEEDS_MORE:
		return 0;
	case PROXY_VERSION_1:
		connection_reject_header(c, "version 1");
		break;
	case PROXY_TOO_LONG:
		snprintf(too_long, sizeof(too_long), "a longer header than %d bytes",
			 PROXY_HEADER_MAX);
		connection_reject_header(c, too_long);
		break;
	case PROXY_MALFORMED:
		connection_reject_header(c, "other data");
		break;
	}
	return n;
}

/* Parse the PROXY header if one is expected, and pass the bytes behind it to the service. Returns
 * how many of the N bytes were consumed. */
static size_t consume(struct connection *c, const char *bytes, size_t n)
{
	size_t header = c->awaits_proxy_header ? read_header(c, bytes, n) : 0;
	if (c->awaits_proxy_header || c->closing || c->broken || header == n)
		return header;
	c->in_grace_period = false;
	size_t used = service_of(c)->data(c, bytes + header, n - header);
	if (used) /* unconsumed bytes are no activity: a client may send a byte now and then */
		connection_mark_active(c);
	return header + used;
}

static void store_unconsumed(struct connection *c, const char *bytes, size_t n)
{
	if (!c->in)
		c->in = evbuffer_new();
	if (!c->in || evbuffer_add(c->in, bytes, n) < 0)
		connection_fail_no_memory(c);
}

/* Offer the unconsumed bytes to the service, followed by N new BYTES. */
static void offer(struct connection *c, const char *bytes, size_t n)
{
	if (c->closing || c->broken)
		return;
	if (!buffered(c->in)) {
		size_t used = consume(c, bytes, n);
		if (used < n)
			store_unconsumed(c, bytes + used, n - used);
		return;
	}
	if (n && evbuffer_add(c->in, bytes, n) < 0) {
		connection_fail_no_memory(c);
		return;
	}
	size_t all = buffered(c->in);
	const char *whole = (const char *)evbuffer_pullup(c->in, -1);
	size_t used = whole ? consume(c, whole, all) : 0;
	evbuffer_drain(c->in, used < all ? used : all);
	if (!whole)
		connection_fail_no_memory(c);
}

static void receive(struct connection *c)
{
	size_t out = buffered(c->out), in = buffered(c->in), limit = connection_buffer_limit(c);
	size_t room = limit - (out > in ? out : in);
	ssize_t n = recv(c->fd, c->worker->scratch, room < SCRATCH_SIZE ? room : SCRATCH_SIZE, 0);
	if (n > 0) {
		worker_add(c->worker, COUNT_RECEIVED, (uint64_t)n);
		c->received += (uint64_t)n;
		c->unread -= (unsigned)n < c->unread ? (unsigned)n : c->unread;
		offer(c, c->worker->scratch, (size_t)n);
		return;
	}
	c->unread = 0;
	if (n == 0) {
		c->peer_ended = true;
		log_connection(c, LOG_DEBUG, "peer closed its side: unsent=%zu", out);
	} else if (errno != EAGAIN && errno != EINTR) {
		connection_fail_errno(c, "receive");
	}
}

static void send_queued(struct connection *c)
{
	int n = evbuffer_write(c->out, c->fd);
	if (n > 0) {
		worker_add(c->worker, COUNT_SENT, (uint64_t)n);
		c->sent += (uint64_t)n;
		connection_mark_active(c);
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		connection_fail_errno(c, "send");
	}
}

/* Offer the unconsumed bytes again: the service waits for room in `out`, not for more bytes. */
static void repeat_offer(struct connection *c, size_t limit)
{
	size_t before = buffered(c->in);
	c->offer_again = false;
	if (before)
		offer(c, NULL, 0);
	if (buffered(c->in) == before) /* nothing was consumed: another call would change nothing */
		c->offer_again = c->offer_again && buffered(c->out) > limit / 2;
}

/*
 * Offer and read as much as possible without waiting, then settle. READABLE allows one recv(2)
 * only, which is fair to other connections; a drain reads until `unread` is 0.
 */
static void advance(struct connection *c, bool readable)
{
	c->is_advancing = true;
	for (;;) {
		size_t limit = connection_buffer_limit(c);
		if (c->offer_again && buffered(c->out) <= limit / 2) {
			repeat_offer(c, limit);
			continue;
		}
		if (!may_read(c) || (!readable && !c->unread))
			break;
		receive(c);
		readable = false;
	}
	c->is_advancing = false;
	settle(c);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	(void)fd;
	if (c->fd < 0) { /* closed while the service held the connection, and released now */
		connection_destroy(c);
	} else if (c->lingering) {
		discard(c);
	} else {
		if (buffered(c->out))
			send_queued(c);
		advance(c, what & EV_READ);
	}
}

void connection_read_pending(struct connection *c)
{
	int unread = 0;
	ioctl(c->fd, FIONREAD, &unread);
	c->unread = unread > 0 ? (unsigned)unread : 0;
	advance(c, true); /* one recv(2) even if no bytes are there: it returns a FIN */
}

void connection_drain(struct connection *c)
{
	c->draining = c->is_advancing = true;
	if (c->in_grace_period)
		worker_schedule_check(c->worker, GRACE_MS);
	if (service_of(c)->draining && !c->closing && !c->awaits_proxy_header)
		service_of(c)->draining(c);
	connection_read_pending(c);
}

/* Accepting. */

static void log_accepted(const struct connection *c, const struct listener *l)
{
	char address[ADDRESS_TEXT_MAX];
	if (log_level() < LOG_DEBUG)
		return;
	address_format(&l->actual, address);
	log_connection(c, LOG_DEBUG, "accepted: on %s by worker %u", address, c->worker->index);
}

static void close_for_no_memory(struct worker *w, int fd)
{
	worker_warn_no_memory(w);
	evutil_closesocket(fd);
	atomic_fetch_sub(&w->workers->n_connections, 1);
	worker_add(w, COUNT_CLOSED + CLOSED_ERROR, 1);
}

void connection_accept(struct worker *w, int fd, const struct sockaddr_storage *peer,
		       const struct listener *l, bool proxied)
{
	struct connection *c = calloc(1, sizeof(*c));
	if (!c) {
		close_for_no_memory(w, fd);
		return;
	}
	c->worker = w;
	c->fd = fd;
	c->active_at = c->accepted_at = w->now;
	c->in_grace_period = true;
	c->is_unix = peer->ss_family == AF_UNIX;
	c->awaits_proxy_header = c->reported = proxied;
	memcpy(&c->peer, peer, sizeof(c->peer));
	w->n_connections++;
	TAILQ_INSERT_TAIL(list_of(c), c, entry);
	event_assign(&c->event, w->base, fd, EV_READ | EV_PERSIST, on_event, c);
	log_accepted(c, l);
	if (!proxied)
		open_connection(c);
	if (w->orders_done & ORDER_DRAIN)
		connection_drain(c);
	else
		advance(c, false);
}
