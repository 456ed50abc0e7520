/*
 * The life of a connection. Everything that happens to it ends in settle(), which alone decides
 * what it waits for next, and whether it is over.
 */
#include "data/connection.h"

#include "base/log.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Something moved: to the end of the queue of those that may be idle. */
void connection_touch(struct connection *c)
{
	if (c->seen == c->worker->now || c->lingers || c->stranger)
		return;
	c->seen = c->worker->now;
	TAILQ_REMOVE(&c->worker->busy, c, entry);
	TAILQ_INSERT_TAIL(&c->worker->busy, c, entry);
}

void connection_fail(struct connection *c, enum close_reason why)
{
	if (!c->broken && !c->closing)
		c->why = (uint8_t)why;
	c->broken = true;
}

/* An idle connection owns no buffer. */
static void drop(struct evbuffer **b)
{
	if (*b)
		evbuffer_free(*b);
	*b = NULL;
}

static void tell_over(struct connection *c)
{
	if (c->over)
		return;
	c->over = true;
	if (c->worker->plane->service->closed)
		c->worker->plane->service->closed(c);
}

void connection_destroy(struct connection *c)
{
	struct worker *w = c->worker;
	c->entered = c->broken = true; /* the service can reach no further than its own data */
	event_del(&c->event);
	if (c->fd >= 0) {
		connection_log(c, LOG_DEBUG,
			       "closed: %s; received %llu bytes, sent %llu, open for %u s",
			       close_reasons[c->why], (unsigned long long)c->received,
			       (unsigned long long)c->sent, w->now - c->opened);
		evutil_closesocket(c->fd);
		c->fd = -1;
		TAILQ_REMOVE(connection_queue(c), c, entry);
		w->n_connections--;
		atomic_fetch_sub(&w->plane->open, 1);
		worker_add(w, COUNT_CLOSED + (size_t)c->why, 1);
	}
	tell_over(c);
	c->entered = false;
	if (c->holds)
		return; /* freed after the last connection_release() */
	drop(&c->in);
	drop(&c->out);
	free(c);
	worker_check_drained(w);
}

static void on_event(evutil_socket_t fd, short what, void *arg);

/* False: the kernel will not watch it. */
static bool wait_for(struct connection *c, bool read, bool write)
{
	if (c->waits_read == read && c->waits_write == write)
		return true;
	/* Also when it waits for nothing: connection_settle_soon() may have made it active. */
	event_del(&c->event);
	c->waits_read = read;
	c->waits_write = write;
	if (!read && !write)
		return true;
	short what = (short)(EV_PERSIST | (read ? EV_READ : 0) | (write ? EV_WRITE : 0));
	event_assign(&c->event, c->worker->base, c->fd, what, on_event, c);
	return event_add(&c->event, NULL) == 0;
}

bool connection_is_busy(const struct connection *c)
{
	int unsent = 0, unread = 0;
	ioctl(c->fd, SIOCOUTQ, &unsent);
	ioctl(c->fd, FIONREAD, &unread);
	return unsent > 0 || unread > 0;
}

/*
 * All is written. Closing while the peer still sends makes the kernel reset the connection and
 * drop what it has not delivered: so where something is undelivered, say that no more comes, and
 * wait for the peer to take it, a little (RFC 9112, 9.6, describes the same for HTTP).
 */
static void end_output(struct connection *c)
{
	if (c->ended || c->local || !connection_is_busy(c)) {
		connection_destroy(c);
		return;
	}
	shutdown(c->fd, SHUT_WR);
	TAILQ_REMOVE(connection_queue(c), c, entry);
	c->seen = c->worker->now;
	c->lingers = true;
	TAILQ_INSERT_TAIL(&c->worker->lingering, c, entry);
	connection_log(c, LOG_DEBUG, "nothing more to send, waits for the peer to take the rest");
	worker_look_in(c->worker, LINGER_LOOK_MS);
	tell_over(c);
	if (!wait_for(c, true, false))
		connection_destroy(c);
}

static bool may_read(struct connection *c)
{
	size_t limit = limit_of(c);
	return !c->broken && !c->closing && !c->ended && queued(c->out) < limit &&
	       queued(c->in) < limit;
}

static void settle(struct connection *c)
{
	size_t out = queued(c->out), in = queued(c->in), limit = limit_of(c);
	if (in >= limit && !c->holds && !c->offer_again && !c->ended && !c->closing) {
		connection_log(c, LOG_DEBUG, "a request is larger than limits.buffer = %zu bytes",
			       limit);
		connection_fail(c, CLOSED_OVERFLOW);
	}
	bool quiet = !c->broken && !out && !c->holds;
	bool idle = !in || c->stranger; /* half a header is no request */
	if (quiet && c->draining && !c->owed && idle && !c->closing && !c->fresh) {
		c->why = CLOSED_DRAIN;
		c->closing = true;
	}
	if (quiet && c->closing) {
		end_output(c);
		return;
	}
	if (quiet && c->ended)
		connection_fail(c, c->stranger && in ? CLOSED_PROXY : CLOSED_BY_PEER);
	if (c->broken) {
		connection_destroy(c);
		return;
	}
	if (!in)
		drop(&c->in);
	if (!out)
		drop(&c->out);
	bool full = out >= limit || in >= limit;
	if (full && c->waits_read)
		connection_log(c, LOG_DEBUG, "reading pauses: %zu bytes unsent, %zu not consumed",
			       out, in);
	if (!wait_for(c, !c->ended && !c->closing && !full, out > 0)) {
		connection_fail_short(c); /* nothing would ever happen to it again */
		connection_destroy(c);
	}
}

/* Whose are these bytes? Returns how many of them are consumed. */
static size_t take(struct connection *c, const char *bytes, size_t n)
{
	size_t header = c->stranger ? connection_introduce(c, bytes, n) : 0;
	if (c->stranger || c->closing || c->broken || header == n)
		return header;
	c->fresh = false;
	return header + c->worker->plane->service->data(c, bytes + header, n - header);
}

/* Offer the service all that it has not consumed. */
static void offer(struct connection *c, const char *bytes, size_t n)
{
	if (c->closing || c->broken)
		return;
	if (!queued(c->in)) {
		size_t used = take(c, bytes, n);
		if (used >= n)
			return;
		if (!c->in)
			c->in = evbuffer_new();
		if (!c->in || evbuffer_add(c->in, bytes + used, n - used) < 0)
			connection_fail_short(c);
		return;
	}
	if (n && evbuffer_add(c->in, bytes, n) < 0) {
		connection_fail_short(c);
		return;
	}
	size_t all = queued(c->in);
	const char *whole = (const char *)evbuffer_pullup(c->in, -1);
	size_t used = whole ? take(c, whole, all) : 0;
	evbuffer_drain(c->in, used < all ? used : all);
	if (!whole)
		connection_fail_short(c);
}

static void receive(struct connection *c)
{
	size_t out = queued(c->out), in = queued(c->in), limit = limit_of(c);
	size_t room = limit - (out > in ? out : in);
	ssize_t n = recv(c->fd, c->worker->scratch, room < SCRATCH_SIZE ? room : SCRATCH_SIZE, 0);
	if (n > 0) {
		worker_add(c->worker, COUNT_RECEIVED, (uint64_t)n);
		c->received += (uint64_t)n;
		connection_touch(c);
		c->owed -= (unsigned)n < c->owed ? (unsigned)n : c->owed;
		offer(c, c->worker->scratch, (size_t)n);
		return;
	}
	c->owed = 0;
	if (n == 0) {
		c->ended = true;
		connection_log(c, LOG_DEBUG, "the peer sends no more; %zu bytes for it are queued",
			       out);
	} else if (errno != EAGAIN && errno != EINTR) {
		connection_fail_io(c, "receive");
	}
}

static void send_queued(struct connection *c)
{
	int n = evbuffer_write(c->out, c->fd);
	if (n > 0) {
		worker_add(c->worker, COUNT_SENT, (uint64_t)n);
		c->sent += (uint64_t)n;
		connection_touch(c);
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		connection_fail_io(c, "send");
	}
}

/* Go as far as can be gone without waiting. One read a turn is fair to the others. */
void connection_advance(struct connection *c, bool readable)
{
	c->entered = true;
	for (;;) {
		size_t limit = limit_of(c);
		if (c->offer_again && queued(c->out) <= limit / 2) {
			size_t before = queued(c->in);
			c->offer_again = false;
			if (before)
				offer(c, NULL, 0);
			if (queued(c->in) == before) /* asking once more would change nothing */
				c->offer_again = c->offer_again && queued(c->out) > limit / 2;
			continue;
		}
		if (!may_read(c) || (!readable && !c->owed))
			break;
		receive(c);
		readable = false;
	}
	c->entered = false;
	settle(c);
}

/* The peer takes the last bytes; what it still says is no longer heard. */
static void linger(struct connection *c)
{
	ssize_t n = recv(c->fd, c->worker->scratch, SCRATCH_SIZE, 0);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		connection_destroy(c);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	(void)fd;
	if (c->fd < 0) { /* it was closed while it was held, and is released now */
		connection_destroy(c);
		return;
	}
	if (c->lingers) {
		linger(c);
		return;
	}
	if (queued(c->out))
		send_queued(c);
	connection_advance(c, what & EV_READ);
}

/* The listener is where it came from, for whoever follows it in the log. */
static void tell_accepted(const struct connection *c, const struct listener *listener)
{
	char address[ADDRESS_TEXT_MAX];
	if (log_level() < LOG_DEBUG)
		return;
	address_show(&listener->actual, address);
	connection_log(c, LOG_DEBUG, "accepted on %s by worker %u", address, c->worker->index);
}

void connection_accept(const struct acceptor *a, int fd, const struct sockaddr_storage *peer)
{
	struct worker *w = a->worker;
	struct connection *c = calloc(1, sizeof(*c));
	if (!c) {
		worker_tell_short(w);
		evutil_closesocket(fd);
		atomic_fetch_sub(&w->plane->open, 1);
		worker_add(w, COUNT_CLOSED + CLOSED_ERROR, 1);
		return;
	}
	c->worker = w;
	c->fd = fd;
	c->seen = c->opened = w->now;
	c->fresh = true;
	c->local = peer->ss_family == AF_UNIX;
	c->stranger = c->over = a->proxy;
	memcpy(&c->peer, peer, sizeof(c->peer));
	w->n_connections++;
	TAILQ_INSERT_TAIL(connection_queue(c), c, entry);
	event_assign(&c->event, w->base, fd, EV_READ | EV_PERSIST, on_event, c);
	tell_accepted(c, a->listener);
	if (!a->proxy)
		connection_open(c);
	if (w->done & ORDER_DRAIN)
		connection_drain(c);
	else
		settle(c);
}

void connection_drain(struct connection *c)
{
	int owed = 0;
	ioctl(c->fd, FIONREAD, &owed);
	c->owed = owed > 0 ? (unsigned)owed : 0;
	c->draining = c->entered = true;
	if (c->fresh)
		worker_look_in(c->worker, FRESH_MS);
	if (c->worker->plane->service->draining && !c->closing && !c->stranger)
		c->worker->plane->service->draining(c);
	connection_advance(c, true); /* an end that came is seen by a read, too */
}

void connection_settle_soon(struct connection *c)
{
	if (!c->entered)
		event_active(&c->event, EV_TIMEOUT, 1);
}
