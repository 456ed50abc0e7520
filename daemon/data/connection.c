/*
 * The life of a connection. Everything that happens to it ends in settle(), which alone decides
 * what it waits for next, and whether it is over.
 */
#include "data/connection.h"

#include "base/log.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* To the end of the queue of those that may be idle. */
void connection_touch(struct connection *c)
{
	if (c->seen == c->worker->now || c->lingers || c->stranger)
		return;
	c->seen = c->worker->now;
	TAILQ_REMOVE(&c->worker->busy, c, entry);
	TAILQ_INSERT_TAIL(&c->worker->busy, c, entry);
}

bool connection_await(struct connection *c, bool read, bool write)
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
	event_assign(&c->event, c->worker->base, c->fd, what, connection_event, c);
	return event_add(&c->event, NULL) == 0;
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
		c->why = CLOSED_OVERFLOW; /* once what was answered before is sent */
		c->closing = true;
	}
	bool quiet = !c->broken && !out && !c->holds;
	bool idle = !in || c->stranger; /* half a header is no request */
	if (quiet && c->draining && !c->owed && idle && !c->closing && !c->fresh) {
		c->why = CLOSED_DRAIN;
		c->closing = true;
	}
	if (quiet && c->closing) {
		connection_finish(c);
		return;
	}
	if (quiet && c->ended)
		connection_fail(c, c->stranger && in ? CLOSED_PROXY : CLOSED_BY_PEER);
	if (c->broken) {
		connection_destroy(c);
		return;
	}
	if (!in)
		buffer_drop(&c->in);
	if (!out)
		buffer_drop(&c->out);
	bool full = out >= limit || in >= limit;
	if (full && c->waits_read)
		connection_log(c, LOG_DEBUG, "reading pauses: %zu bytes unsent, %zu not consumed",
			       out, in);
	if (!connection_await(c, !c->ended && !c->closing && !full, out > 0)) {
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
	size_t used = c->worker->plane->service->data(c, bytes + header, n - header);
	if (used) /* else it only grows: one byte now and then must not keep a place for ever */
		connection_touch(c);
	return header + used;
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

void connection_event(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	(void)fd;
	if (c->fd < 0) { /* it was closed while it was held, and is released now */
		connection_destroy(c);
		return;
	}
	if (c->lingers) {
		connection_linger(c);
		return;
	}
	if (queued(c->out))
		send_queued(c);
	connection_advance(c, what & EV_READ);
}

void connection_take_owed(struct connection *c)
{
	int owed = 0;
	ioctl(c->fd, FIONREAD, &owed);
	c->owed = owed > 0 ? (unsigned)owed : 0;
	connection_advance(c, true); /* an end that came is seen by a read, too */
}

void connection_drain(struct connection *c)
{
	c->draining = c->entered = true;
	if (c->fresh)
		worker_look_in(c->worker, FRESH_MS);
	if (c->worker->plane->service->draining && !c->closing && !c->stranger)
		c->worker->plane->service->draining(c);
	connection_take_owed(c);
}

void connection_settle_soon(struct connection *c)
{
	if (!c->entered)
		event_active(&c->event, EV_TIMEOUT, 1);
}
