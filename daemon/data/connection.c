#include "data/connection.h"

#include "base/log.h"
#include "data/connector.h"
#include "data/proxy_protocol.h"

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
	HANDSHAKES_MAX = 8,  /* see may_shake_hands() */
	PROXY_TLS_MAX = 4096 /* bytes to receive while a PROXY header is not complete, before TLS */
};

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	(void)fd;
	if (what & EV_WRITE)
		c->blocked = false;
	connection_handle(c, what & (EV_READ | EV_CLOSED) ? READABLE : WRITABLE);
}

void connection_assign_event(struct connection *c, short what)
{
	event_assign(&c->event, c->worker->base, c->fd, what, on_event, c);
}

/* Bytes are unsent. Detect a peer that has vanished, which tcp(7) otherwise does after 15 minutes:
 * a held connection has no other timeout. */
static void set_user_timeout(const struct connection *c)
{
	int64_t seconds = c->worker->snapshot->config->limits.idle_timeout;
	int ms = seconds < INT_MAX / 1000 ? (int)seconds * 1000 : INT_MAX;
	if (seconds && !c->is_unix)
		setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

/* The loss of the peer: its end or a reset. Edge-triggered, because unread bytes would trigger it
 * all the time. */
enum { LOSS = EV_READ | EV_CLOSED | EV_ET };

/* Wait for EVENTS: bytes to read, room to write, or both; or LOSS; or 0. Returns false if the
 * kernel cannot watch the socket; C has failed then. */
static bool wait_for(struct connection *c, unsigned events)
{
	if (c->awaited == events)
		return true;
	/* Even if the event waits for nothing: connection_schedule() may have activated it. */
	event_del(&c->event);
	c->awaited = (uint8_t)events;
	if (!events)
		return true;
	if (events & EV_WRITE)
		set_user_timeout(c);
	connection_assign_event(c, (short)(EV_PERSIST | events));
	if (event_add(&c->event, NULL) == 0)
		return true;
	connection_fail_no_memory(c);
	return false;
}

/* Receiving. */

static void reject_header(struct connection *c, const char *received)
{
	unsigned suppressed;
	if (worker_may_warn(c->worker, WARN_HEADER, &suppressed))
		connection_log(c, LOG_WARNING,
			       "closed: expected a PROXY protocol version 2 header, received %s; "
			       "listen.proxy=true suppressed=%u",
			       received, suppressed);
	connection_end(c, CLOSED_PROXY);
}

static void fail_tls(struct connection *c, const char *why)
{
	unsigned suppressed;
	if (worker_may_warn(c->worker, WARN_TLS, &suppressed))
		connection_log(c, LOG_WARNING,
			       "closed: TLS failed: %s; listener=\"%s\" suppressed=%u", why,
			       c->listener, suppressed);
	connection_flush(c); /* the alert */
	connection_end(c, CLOSED_TLS);
}

/* Call the service: the client's address is known, and bytes may be exchanged. */
static void call_opened(struct connection *c)
{
	const struct protocol *p = c->protocol;
	c->closed_due = true;
	if (!p->data || (p->opened && p->opened(c) < 0))
		connection_begin_close(c, CLOSED_BY_SERVICE);
}

static void call_draining(struct connection *c)
{
	if (c->state == OPEN && c->protocol->draining)
		c->protocol->draining(c);
}

static void call_ended(struct connection *c)
{
	if (c->state != OPEN || c->called_ended)
		return;
	c->called_ended = true;
	if (c->protocol->ended)
		c->protocol->ended(c);
}

/* Returns false if there is nothing to call. */
static bool call_ending(struct connection *c, enum ending_reason why)
{
	if (c->state != OPEN || c->called_ending || !c->protocol->ending)
		return false;
	c->called_ending = true;
	c->protocol->ending(c, why);
	return true;
}

static void set_client_address(struct connection *c, const struct address *client)
{
	char text[ADDRESS_TEXT_MAX];
	if (client->sa.ss_family == AF_UNSPEC) /* the header names no client */
		return;
	address_format(client, text);
	connection_log(c, LOG_DEBUG, "client address: %s", text);
	memcpy(&c->peer, &client->sa, sizeof(c->peer));
}

/* The bytes before the first byte for the service were received. */
static void open_connection(struct connection *c)
{
	connection_move(c, LIST_ACTIVE);
	c->state = OPEN;
	call_opened(c);
	if (worker_drains(c->worker))
		call_draining(c);
}

static void accept_header(struct connection *c, const struct proxy_header *p)
{
	set_client_address(c, &p->client);
	if (c->tls)
		c->state = AWAITS_TLS;
	else
		open_connection(c);
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
		reject_header(c, "version 1");
		break;
	case PROXY_TOO_LONG:
		snprintf(too_long, sizeof(too_long), "a longer header than %d bytes",
			 PROXY_HEADER_MAX);
		reject_header(c, too_long);
		break;
	case PROXY_MALFORMED:
		reject_header(c, "other data");
		break;
	}
	return n;
}

/* Parse the PROXY header if one is expected, and pass the bytes behind it to the service. Returns
 * how many of the N bytes were consumed. */
static size_t consume(struct connection *c, const char *bytes, size_t n)
{
	size_t header = c->state == AWAITS_PROXY_HEADER ? read_header(c, bytes, n) : 0;
	if (c->state != OPEN || header == n || c->paused)
		return header;
	c->in_grace_period = false;
	size_t used = c->protocol->data(c, bytes + header, n - header);
	if (used) /* unconsumed bytes are no activity: a client may send a byte now and then */
		connection_mark_active(c);
	return header + used;
}

/* Remove the USED bytes. libevent keeps the memory of a buffer until it is empty, but limits.memory
 * counts only bytes. So copy a small rest, and free the memory of the bytes before it. */
static void drop_consumed(struct connection *c, size_t used)
{
	enum { MANY = 4096 };
	evbuffer_drain(c->in, used);
	if (used < MANY || buffered(c->in) >= MANY)
		return;
	int rest = evbuffer_remove(c->in, c->worker->scratch, MANY);
	connection_free_buffers(c, false);
	connection_store(c, c->worker->scratch, (size_t)rest);
}

/* Offer the unconsumed bytes to the service, followed by N new BYTES. */
static void offer(struct connection *c, const char *bytes, size_t n)
{
	if (c->state >= CLOSING)
		return;
	if (!buffered(c->in)) {
		size_t used = consume(c, bytes, n);
		if (used < n)
			connection_store(c, bytes + used, n - used);
		return;
	}
	connection_store(c, bytes, n);
	if (c->state >= ENDED)
		return;
	size_t all = buffered(c->in);
	const char *whole = (const char *)evbuffer_pullup(c->in, -1);
	size_t used = whole ? consume(c, whole, all) : 0;
	drop_consumed(c, used < all ? used : all);
	connection_account(c);
	if (!whole)
		connection_fail_no_memory(c);
}

/* The bytes in the queue that makes reading pause: a service with `writable` pauses by itself,
 * because the answers to what it reads may go to another connection. */
static size_t unsent(const struct connection *c)
{
	return c->protocol->writable ? 0 : buffered(c->out);
}

static bool may_read(struct connection *c)
{
	if (c->state >= CLOSING || c->peer_ended || c->paused)
		return false;
	size_t limit = connection_buffer_limit(c);
	if (buffered(c->out) && connection_is_memory_short(c->worker))
		return false;
	return unsent(c) < limit && buffered(c->in) < limit;
}

static void note_peer_end(struct connection *c)
{
	c->peer_ended = true;
	connection_log(c, LOG_DEBUG, "peer closed its side: unsent=%zu", buffered(c->out));
	if (c->state == AWAITS_TLS && c->tls->ssl)
		worker_add(c->worker, COUNT_TLS + TLS_FAILED, 1);
}

/* Has the peer ended, and was the service offered all bytes before the end? While reading is
 * paused, bytes may wait although close_notify has arrived behind them. */
static bool is_at_end(const struct connection *c)
{
	return c->peer_ended && !(c->paused && buffered(c->in));
}

/* N encrypted BYTES have arrived. */
static void receive_tls(struct connection *c, const char *bytes, size_t n)
{
	struct worker *w = c->worker;
	enum tls_status status = connection_decrypt(c, bytes, n);
	if (c->state >= ENDED) /* limits.memory */
		return;
	if (c->state == AWAITS_TLS && (c->tls->open || status == TLS_BROKEN))
		worker_add(w, COUNT_TLS + c->tls->result, 1);
	if (c->state == AWAITS_TLS && c->tls->open) {
		worker_add(w, c->tls->tls13 ? COUNT_TLS13 : COUNT_TLS12, 1);
		open_connection(c);
	}
	if (w->tls.n_plain)
		offer(c, w->tls.plain, w->tls.n_plain);
	if (status == TLS_PEER_END)
		note_peer_end(c);
	else if (status == TLS_BROKEN)
		fail_tls(c, tls_session_error(c->tls));
}

/* The bytes behind a PROXY header. */
static void receive_rest(struct connection *c)
{
	struct worker *w = c->worker;
	int n = evbuffer_remove(c->in, w->scratch, SCRATCH_SIZE);
	connection_account(c);
	if (n > 0)
		receive_tls(c, w->scratch, (size_t)n);
}

/*
 * A handshake has a long step: in a turn of the loop, only some connections without a complete one
 * may receive, so that the open connections do not wait for many of them. It does not matter
 * what was received before: a client may send its first bytes alone.
 */
static bool may_shake_hands(struct worker *w)
{
	if (!w->n_handshakes) /* it runs behind all events that are active now */
		event_active(w->turn_over, EV_TIMEOUT, 1);
	return w->n_handshakes++ < HANDSHAKES_MAX;
}

/* The most bytes to receive at once. */
static size_t room_to_receive(struct connection *c)
{
	size_t out = unsent(c), in = buffered(c->in), limit = connection_buffer_limit(c);
	size_t room = limit - (out > in ? out : in);
	size_t max = c->tls && c->state == AWAITS_PROXY_HEADER ? PROXY_TLS_MAX : SCRATCH_SIZE;
	return room < max ? room : max;
}

static void receive(struct connection *c)
{
	bool shakes_hands = c->tls && c->state < OPEN && !worker_drains(c->worker);
	if (shakes_hands && !may_shake_hands(c->worker))
		return; /* the event is triggered again in the next turn */
	ssize_t n = recv(c->fd, c->worker->scratch, room_to_receive(c), 0);
	if (n > 0) {
		worker_add(c->worker, c->outgoing ? COUNT_OUTGOING_RECEIVED : COUNT_RECEIVED,
			   (uint64_t)n);
		c->received += (uint64_t)n;
		c->unread -= (unsigned)n < c->unread ? (unsigned)n : c->unread;
		if (c->tls && c->state != AWAITS_PROXY_HEADER)
			receive_tls(c, c->worker->scratch, (size_t)n);
		else
			offer(c, c->worker->scratch, (size_t)n);
		if (c->state == AWAITS_TLS && buffered(c->in))
			receive_rest(c);
		return;
	}
	c->unread = 0;
	if (n == 0) {
		note_peer_end(c);
	} else if (errno != EAGAIN && errno != EINTR) {
		connection_fail_errno(c, "receive");
	}
}

/*
 * The socket is not read, but something has happened. A held connection learns that its peer has
 * ended even if unread bytes come before that, so that its work can be cancelled.
 */
static void look_for_loss(struct connection *c)
{
	struct pollfd socket = {.fd = c->fd, .events = POLLRDHUP};
	socklen_t length = sizeof(errno);
	if (poll(&socket, 1, 0) <= 0)
		return;
	if (socket.revents & POLLERR) {
		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &errno, &length);
		connection_fail_errno(c, "receive");
	} else if (c->holds && !c->paused) {
		call_ended(c);
	}
}

/* Offer the unconsumed bytes again: the service waits for room in `out`, not for more bytes. */
static void repeat_offer(struct connection *c, size_t limit)
{
	size_t before = buffered(c->in);
	const struct protocol *p = c->protocol;
	c->offer_again = false;
	if (before)
		offer(c, NULL, 0);
	/* Nothing was consumed: another call would change nothing. */
	if (buffered(c->in) == before && c->protocol == p)
		c->offer_again = c->offer_again && buffered(c->out) > limit / 2;
}

/*
 * Offer and read as much as possible without waiting. READABLE allows one recv(2) only, which is
 * fair to other connections; a drain reads until `unread` is 0.
 */
static void exchange(struct connection *c, bool readable)
{
	connection_flush(c);
	while (c->state < CLOSING && c->state != CONNECTING) {
		size_t limit = connection_buffer_limit(c);
		bool has_room = buffered(c->out) <= limit / 2;
		if (c->wants_room && has_room) {
			c->wants_room = false;
			c->protocol->writable(c);
			continue;
		}
		if (c->offer_again && has_room && !c->paused) {
			repeat_offer(c, limit);
			continue;
		}
		if (c->state == OPEN && is_at_end(c) && !c->called_ended) {
			call_ended(c);
			continue;
		}
		if (!may_read(c) || (!readable && !c->unread))
			return;
		receive(c);
		readable = false;
	}
}

/* Read all bytes that the kernel has received until now. */
static void exchange_pending(struct connection *c)
{
	int unread = 0;
	ioctl(c->fd, FIONREAD, &unread);
	c->unread = unread > 0 ? (unsigned)unread : 0;
	exchange(c, true); /* one recv(2) even if no bytes are there: it returns a FIN */
}

/* Discard the bytes that a lingering connection still receives, until the peer closes. */
static void discard(struct connection *c)
{
	ssize_t n = recv(c->fd, c->worker->scratch, SCRATCH_SIZE, 0);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		connection_end(c, CLOSED_BY_PEER);
}

static void read_or_look(struct connection *c)
{
	bool looks = c->awaited == LOSS && !may_read(c);
	if (c->state == LINGERING) {
		discard(c);
		return;
	}
	if (looks)
		look_for_loss(c);
	exchange(c, !looks); /* `ended` may have released C */
}

/* Closing. */

static void call_closed(struct connection *c)
{
	if (!c->closed_due)
		return;
	c->closed_due = false;
	if (c->protocol->closed)
		c->protocol->closed(c);
}

/* Bytes that were written and that the peer has not acknowledged (SIOCOUTQ, tcp(7)). */
static size_t unreceived(const struct connection *c)
{
	int n = 0;
	if (!c->is_unix) /* all that a unix socket has sent is in the peer's queue already */
		ioctl(c->fd, SIOCOUTQ, &n);
	n -= c->state == LINGERING || c->shut_down; /* the FIN counts as a byte */
	return buffered(c->out) + (n > 0 ? (size_t)n : 0);
}

static bool has_unread(const struct connection *c)
{
	int n = 0;
	ioctl(c->fd, FIONREAD, &n);
	return n > 0;
}

/*
 * All is sent. If the peer is still sending, close(2) would make the kernel reset the connection,
 * and the peer might lose the last answers (RFC 9112 9.6). Shut down the sending side and linger.
 */
static void finish(struct connection *c)
{
	if (c->peer_ended || (!unreceived(c) && !has_unread(c))) {
		connection_end(c, c->reason);
		return;
	}
	shutdown(c->fd, SHUT_WR);
	connection_move(c, LIST_ENDING);
	c->state = LINGERING;
	c->lingering_since = c->worker->now;
	c->unreceived = UINT32_MAX;
	connection_log(c, LOG_DEBUG, "lingering: all sent, the peer has not received it");
	worker_schedule_check(c->worker, LINGER_CHECK_MS);
	call_closed(c);
}

/* End the connection although it is not finished. */
static void give_up(struct connection *c, enum close_reason reason)
{
	struct workers *all = c->worker->workers;
	size_t unsent = unreceived(c);
	if (worker_drains(c->worker) && !c->outgoing && (c->state < LINGERING || unsent)) {
		atomic_fetch_add(&all->n_cut_off, 1);
		atomic_fetch_add(&all->unsent_bytes, unsent);
	}
	if (c->state < LINGERING)
		c->reason = (uint8_t)reason;
	c->state = ENDED;
	connection_log(c, LOG_DEBUG, "not finished: unsent=%zu", unsent);
}

static void check_progress(struct connection *c)
{
	struct worker *w = c->worker;
	size_t left = unreceived(c);
	if (c->state == LINGERING && !left && !has_unread(c)) {
		connection_end(c, c->reason);
		return;
	}
	if (left < c->unreceived || c->holds)
		c->active_at = w->now;
	c->unreceived = left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
	bool is_late = c->state == LINGERING && !worker_drains(w) &&
		       w->now - c->lingering_since > LINGER_SECONDS;
	if (is_late || w->now - c->active_at > STALL_SECONDS)
		give_up(c, CLOSED_IDLE);
}

/* A connection that was never made has failed, unless the service has given it up. */
static void end_outgoing(struct connection *c)
{
	if (c->error && !c->peer.family)
		worker_add(c->worker, COUNT_CONNECT_FAILED, 1);
	connector_free(c->connector);
	c->connector = NULL;
}

static void close_socket(struct connection *c)
{
	struct worker *w = c->worker;
	connection_log(c, LOG_DEBUG, "closed: reason=%s received=%llu sent=%llu seconds=%u",
		       close_reasons[c->reason], (unsigned long long)c->received,
		       (unsigned long long)c->sent, w->now - c->accepted_at);
	event_del(&c->event);
	if (c->tls && c->reason != CLOSED_ERROR && c->reason != CLOSED_TLS)
		connection_end_tls(c);
	if (c->tls)
		tls_session_close(c->tls);
	if (c->outgoing)
		end_outgoing(c);
	else
		worker_add(w, COUNT_CLOSED + (size_t)c->reason, 1);
	if (c->fd >= 0)
		evutil_closesocket(c->fd);
	c->fd = -1;
	c->state = CLOSED;
	connection_move(c, LIST_CLOSED);
	connection_free_buffers(c, true);
	call_closed(c);
}

/* The connection does not count any more for limits.connections and for a drain. */
static void give_up_place(struct connection *c)
{
	struct worker *w = c->worker;
	if (c->list == N_LISTS)
		return;
	TAILQ_REMOVE(&w->lists[c->list], c, entry);
	c->list = N_LISTS;
	w->n_connections--;
	atomic_fetch_sub(c->outgoing ? &w->workers->n_outgoing : &w->workers->n_connections, 1);
}

static void free_connection(struct connection *c)
{
	struct worker *w = c->worker;
	give_up_place(c);
	event_del(&c->event); /* connection_release() may have activated it */
	tls_session_free(c->tls);
	free(c);
	worker_report_if_drained(w);
}

/* The machine. */

static void begin_drain(struct connection *c)
{
	if (c->state == CONNECTING)
		return;
	if (c->in_grace_period)
		worker_schedule_check(c->worker, GRACE_MS);
	call_draining(c);
	exchange_pending(c);
}

static void time_out_handshake(struct connection *c)
{
	worker_add(c->worker, COUNT_TLS + TLS_TIMEOUT, 1);
	fail_tls(c, "the handshake is not complete in time");
}

static void time_out(struct connection *c)
{
	if (c->state == CONNECTING)
		connection_fail_connect(c, ETIMEDOUT);
	else if (c->state == AWAITS_PROXY_HEADER)
		reject_header(c, "nothing in time");
	else if (c->state == AWAITS_TLS)
		time_out_handshake(c);
	else if (may_read(c) && has_unread(c))
		exchange(c, true); /* a request has waited for this worker */
	else if (!buffered(c->out) && call_ending(c, ENDING_IDLE))
		connection_begin_close(c, CLOSED_IDLE);
	else
		give_up(c, CLOSED_IDLE);
}

/* Is the open connection finished? If so, changes the state. */
static bool is_over(struct connection *c)
{
	size_t in = buffered(c->in), limit = connection_buffer_limit(c);
	bool has_header = c->state == OPEN;
	bool all_sent = !buffered(c->out) && !c->holds;
	bool all_answered = !c->unread && (!in || !has_header) && !c->in_grace_period;
	if (in >= limit && !c->holds && !c->offer_again && !c->paused && !c->peer_ended) {
		/* The request cannot become complete. */
		connection_log(c, LOG_DEBUG, "request too large: limits.buffer = %zu", limit);
		connection_begin_close(c, CLOSED_OVERFLOW);
	} else if (worker_drains(c->worker) && all_sent && all_answered) {
		if (call_ending(c, ENDING_DRAIN))
			connection_flush(c);
		connection_begin_close(c, CLOSED_DRAIN);
	} else if (is_at_end(c) && all_sent) {
		connection_end(c, in && !has_header ? CLOSED_PROXY : CLOSED_BY_PEER);
	} else {
		return false;
	}
	return true;
}

/* connection_shutdown(): all is sent, let close_notify and the FIN follow. Returns false if C has
 * failed. */
static bool shut_down(struct connection *c)
{
	connection_end_tls(c);
	c->shut_down = c->state == OPEN && !buffered(c->out);
	if (c->shut_down && shutdown(c->fd, SHUT_WR) < 0) /* the peer has reset C */
		connection_fail_errno(c, "shut down");
	return c->state == OPEN;
}

/* Wait for the socket. Returns false if C has failed. */
static bool wait_open(struct connection *c)
{
	bool read = may_read(c);
	connection_free_buffers(c, false);
	if (c->shutting_down && !c->shut_down && !buffered(c->out) && !shut_down(c))
		return false;
	size_t out = buffered(c->out);
	if (!read && (c->awaited & EV_READ) && c->awaited != LOSS && !c->peer_ended)
		connection_log(c, LOG_DEBUG, "reading paused: unsent=%zu unconsumed=%zu", out,
			       buffered(c->in));
	if (!read && !out && !c->peer_ended)
		return wait_for(c, LOSS);
	return wait_for(c, (read ? EV_READ : 0) | (out ? EV_WRITE : 0));
}

/* CLOSING. Returns false if the state has changed. */
static bool wait_closing(struct connection *c)
{
	if (!buffered(c->out) && !c->holds)
		connection_end_tls(c);
	if (c->state != CLOSING)
		return false;
	bool unsent = buffered(c->out) > 0;
	if (!unsent && !c->holds) {
		finish(c);
		return false;
	}
	if (!c->holds && c->list != LIST_ENDING) {
		connection_move(c, LIST_ENDING);
		c->unreceived = UINT32_MAX;
	}
	return wait_for(c, unsent ? EV_WRITE : 0);
}

/* Carry out all changes of state that are due, then wait for the socket. May free C. */
static void settle(struct connection *c)
{
	for (;;) {
		switch (c->state) {
		case CONNECTING:
			return;
		case AWAITS_PROXY_HEADER:
		case AWAITS_TLS:
		case OPEN:
			if (!is_over(c) && wait_open(c))
				return;
			break;
		case CLOSING:
			if (wait_closing(c))
				return;
			break;
		case LINGERING:
			if (wait_for(c, EV_READ))
				return;
			break;
		case ENDED:
			close_socket(c);
			break;
		case CLOSED:
			if (!c->holds)
				free_connection(c);
			return;
		}
	}
}

void connection_handle(struct connection *c, enum connection_event event)
{
	struct worker *w = c->worker;
	w->running = c;
	switch (event) {
	case ACCEPTED:
		if (c->state == OPEN)
			call_opened(c);
		if (worker_drains(w))
			begin_drain(c);
		else
			exchange(c, true); /* the first request is often there already */
		break;
	case READABLE:
		read_or_look(c);
		break;
	case WRITABLE:
		exchange(c, false);
		break;
	case DRAIN:
		begin_drain(c);
		break;
	case GRACE_OVER:
		c->in_grace_period = false;
		exchange_pending(c);
		break;
	case TIMED_OUT:
		time_out(c);
		break;
	case CHECK:
		check_progress(c);
		break;
	case CUT:
		if (c->state == CLOSED)
			give_up_place(c); /* do not wait for the service */
		else
			give_up(c, CLOSED_DEADLINE);
		break;
	}
	connection_flush(c);
	settle(c);
	w->running = NULL;
}
