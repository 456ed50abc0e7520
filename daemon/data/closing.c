/*
 * How a connection ends: it fails, or it is finished and the peer takes the rest; then the service
 * is told, and it is freed.
 */
#include "data/connection.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

void connection_fail(struct connection *c, enum close_reason why)
{
	if (!c->broken && !c->closing)
		c->why = (uint8_t)why;
	c->broken = true;
}

void connection_fail_short(struct connection *c)
{
	worker_tell_short(c->worker);
	connection_fail(c, CLOSED_ERROR);
}

void connection_fail_io(struct connection *c, const char *what)
{
	int error = errno;
	connection_log(c, LOG_DEBUG, "cannot %s: %s", what, strerror(error));
	if (error == ENOMEM || error == ENOBUFS)
		connection_fail_short(c);
	else
		connection_fail(c, CLOSED_ERROR); /* the peer's doing, or the network's: counted */
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
		w->holds++; /* a drain waits for what the service holds, too */
	}
	tell_over(c);
	c->entered = false;
	if (c->holds)
		return;		  /* freed after the last connection_release() */
	w->holds -= w->holds > 0; /* a stop has let go of all */
	buffer_drop(&c->in);
	buffer_drop(&c->out);
	free(c);
	worker_check_drained(w);
}

bool connection_is_busy(const struct connection *c)
{
	int unsent = 0, unread = 0;
	if (!c->local) /* what a unix socket has taken, its peer gets */
		ioctl(c->fd, SIOCOUTQ, &unsent);
	ioctl(c->fd, FIONREAD, &unread);
	return unsent > 0 || unread > 0;
}

/*
 * All is written. Closing while the peer still sends makes the kernel reset the connection and
 * drop what it has not delivered: so where something is undelivered, say that no more comes, and
 * wait for the peer to take it, a little (RFC 9112, 9.6, describes the same for HTTP).
 */
void connection_finish(struct connection *c)
{
	if (c->ended || !connection_is_busy(c)) {
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
	if (!connection_await(c, true, false))
		connection_destroy(c);
}

/* The peer takes the last bytes; what it still says is no longer heard. */
void connection_linger(struct connection *c)
{
	ssize_t n = recv(c->fd, c->worker->scratch, SCRATCH_SIZE, 0);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		connection_destroy(c);
}
