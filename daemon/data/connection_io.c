/* The parts of a connection that do not run its machine: lists, failures, gathered and queued
 * bytes. */
#include "base/log.h"
#include "data/connection.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* A piece of LARGE bytes is sent at once, with the gathered bytes before it, instead of copied. */
enum { LARGE = 16384 };

void connection_log(const struct connection *c, int level, const char *format, ...)
{
	char peer[ADDRESS_TEXT_MAX] = "a unix peer";
	struct address a = {.length = sizeof(a.sa)};
	va_list ap;
	if (level > log_level())
		return;
	if (c->peer.family == AF_INET)
		*(struct sockaddr_in *)&a.sa = c->peer.v4;
	else if (c->peer.family == AF_INET6)
		*(struct sockaddr_in6 *)&a.sa = c->peer.v6;
	if (!c->peer.family)
		strcpy(peer, "not connected");
	else if (c->peer.family != AF_UNIX)
		address_format(&a, peer);
	const struct log_about about = {
		.prefix = peer,
		.field = {LOG_TEXT("peer", peer),
			  LOG_TEXT("listener", c->outgoing ? "" : c->listener),
			  LOG_TEXT("service", c->worker->workers->service->name),
			  LOG_NUMBER("worker", c->worker->index)}};
	va_start(ap, format);
	log_vabout(level, &about, format, ap);
	va_end(ap);
}

size_t connection_buffer_limit(struct connection *c)
{
	size_t limit = (size_t)c->worker->snapshot->config->limits.buffer; /* at most 1 GiB */
	if (c->buffer_limit <= limit || buffered(c->in) < limit)
		c->buffer_limit = (uint32_t)limit;
	return c->buffer_limit;
}

void connection_move(struct connection *c, enum list_index list)
{
	TAILQ_REMOVE(&c->worker->lists[c->list], c, entry);
	TAILQ_INSERT_TAIL(&c->worker->lists[list], c, entry);
	c->list = (uint8_t)list;
	c->active_at = c->worker->now;
}

void connection_mark_active(struct connection *c)
{
	if (c->list == LIST_ACTIVE && c->active_at != c->worker->now)
		connection_move(c, LIST_ACTIVE);
}

void connection_schedule(struct connection *c)
{
	if (c->worker->running != c)
		event_active(&c->event, EV_TIMEOUT, 1);
}

/* Closing. */

void connection_begin_close(struct connection *c, enum close_reason reason)
{
	if (c->state >= CLOSING)
		return;
	c->state = c->state == CONNECTING ? ENDED : CLOSING;
	c->reason = (uint8_t)reason;
}

void connection_end(struct connection *c, enum close_reason reason)
{
	if (c->state < CLOSING)
		c->reason = (uint8_t)reason;
	if (c->state < ENDED)
		c->state = ENDED;
}

const char *connection_error(const struct connection *c)
{
	return !c->error ? "" : c->error > 0 ? strerror(c->error) : gai_strerror(c->error);
}

/* Also if C is closing: bytes may be lost. */
static void fail(struct connection *c)
{
	if (c->state < ENDED)
		c->reason = CLOSED_ERROR;
	connection_end(c, CLOSED_ERROR);
}

void connection_fail_no_memory(struct connection *c)
{
	worker_warn_no_memory(c->worker);
	fail(c);
}

void connection_fail_errno(struct connection *c, const char *call)
{
	int error = errno;
	c->error = (int16_t)error;
	connection_log(c, LOG_DEBUG, "cannot %s: %s", call, strerror(error));
	if (error == ENOMEM || error == ENOBUFS)
		connection_fail_no_memory(c);
	else
		fail(c); /* normal in a network, so no warning */
}

void connection_fail_connect(struct connection *c, int error)
{
	c->error = (int16_t)error;
	connection_log(c, LOG_DEBUG, "cannot connect: %s", connection_error(c));
	connection_end(c, CLOSED_ERROR);
}

/* limits.memory. Each worker has an equal part, so that it needs no other worker to enforce it. */

static size_t memory_limit(const struct worker *w) /* KiB */
{
	return (size_t)(w->snapshot->config->limits.memory / 1024) / w->workers->n_workers;
}

bool connection_is_memory_short(const struct worker *w)
{
	return w->buffered > memory_limit(w) / 4 * 3;
}

static void free_buffer(struct evbuffer **b)
{
	if (*b)
		evbuffer_free(*b);
	*b = NULL;
}

static size_t kib(const struct evbuffer *b)
{
	return (buffered(b) + 1023) / 1024;
}

static void update_debt(struct connection *c)
{
	struct worker *w = c->worker;
	uint32_t session = c->tls ? tls_session_kib(c->tls) : 0;
	uint32_t debt = (uint32_t)(kib(c->in) + kib(c->out)) + session;
	if (debt == c->debt)
		return;
	w->buffered += debt;
	w->buffered -= c->debt;
	c->debt = debt;
	atomic_store_explicit(&w->counters[COUNT_BUFFERED], (uint64_t)w->buffered * 1024,
			      memory_order_relaxed);
}

static struct connection *find_largest_debtor(struct worker *w)
{
	struct connection *c, *largest = NULL;
	for (size_t i = 0; i < N_LISTS; i++)
		TAILQ_FOREACH (c, &w->lists[i], entry)
			if (c->state < ENDED && c->debt && (!largest || c->debt > largest->debt))
				largest = c;
	return largest;
}

static void end_debtor(struct connection *c)
{
	struct worker *w = c->worker;
	unsigned suppressed;
	if (worker_may_warn(w, WARN_DEBT, &suppressed))
		log_warning("memory limit reached (limits.memory = %lld): kib=%u worker=%u "
			    "suppressed=%u; closing the connection with the most buffered bytes",
			    (long long)w->snapshot->config->limits.memory, c->debt, w->index,
			    suppressed);
	c->state = ENDED;
	c->reason = CLOSED_MEMORY;
	c->aborted = true;
	free_buffer(&c->out);
	if (w->running != c) /* `data` may be using `in` */
		free_buffer(&c->in);
	update_debt(c);
	connection_schedule(c);
}

void connection_account(struct connection *c)
{
	struct worker *w = c->worker;
	struct connection *largest;
	update_debt(c);
	while (w->buffered > memory_limit(w) && (largest = find_largest_debtor(w)))
		end_debtor(largest);
}

/* Buffers. */

static void append(struct connection *c, struct evbuffer **b, const char *bytes, size_t n)
{
	if (!n)
		return;
	if (!*b)
		*b = evbuffer_new();
	if (!*b || evbuffer_add(*b, bytes, n) < 0)
		connection_fail_no_memory(c);
	else
		connection_account(c);
}

void connection_store(struct connection *c, const char *bytes, size_t n)
{
	append(c, &c->in, bytes, n);
}

void connection_free_buffers(struct connection *c, bool all)
{
	if (all || !buffered(c->in))
		free_buffer(&c->in);
	if (all || !buffered(c->out))
		free_buffer(&c->out);
	update_debt(c);
}

/* N is the result of a send(2) of WANTED bytes. Returns how many were sent. */
static size_t record_sent(struct connection *c, ssize_t n, size_t wanted)
{
	/* ENDED: only close_notify is lost. */
	if (n < 0 && errno != EAGAIN && errno != EINTR && c->state < ENDED) {
		connection_fail_errno(c, "send");
		return 0;
	}
	size_t sent = n > 0 ? (size_t)n : 0;
	c->blocked = sent < wanted;
	if (!sent)
		return 0;
	worker_add(c->worker, c->outgoing ? COUNT_OUTGOING_SENT : COUNT_SENT, sent);
	c->sent += sent;
	connection_mark_active(c);
	return sent;
}

static void send_queued(struct connection *c)
{
	size_t wanted = buffered(c->out);
	record_sent(c, evbuffer_write(c->out, c->fd), wanted);
	update_debt(c);
}

/* Send the gathered bytes and BYTES in one system call. The queue, which is empty, takes the rest.
 */
static void send_gathered(struct connection *c, const char *bytes, size_t n)
{
	struct worker *w = c->worker;
	size_t gathered = w->running == c ? w->n_gathered : 0;
	struct iovec pieces[] = {{w->gathered, gathered}, {(char *)(uintptr_t)bytes, n}};
	struct msghdr both = {.msg_iov = pieces, .msg_iovlen = 2};
	ssize_t result = !gathered ? send(c->fd, bytes, n, MSG_NOSIGNAL)
			 : !n	   ? send(c->fd, w->gathered, gathered, MSG_NOSIGNAL)
				   : sendmsg(c->fd, &both, MSG_NOSIGNAL);
	size_t sent = record_sent(c, result, gathered + n);
	size_t sent_gathered = sent < gathered ? sent : gathered;
	if (gathered)
		w->n_gathered = 0;
	if (c->state == ENDED)
		return;
	append(c, &c->out, w->gathered + sent_gathered, gathered - sent_gathered);
	if (c->state < ENDED)
		append(c, &c->out, bytes + (sent - sent_gathered), n - (sent - sent_gathered));
}

/* TLS. worker->tls.out belongs to `running`: its bytes are sent or queued before another machine
 * runs. */

enum tls_status connection_decrypt(struct connection *c, const char *bytes, size_t n)
{
	enum tls_status status = tls_session_receive(c->tls, &c->worker->tls, bytes, n);
	connection_account(c);
	return status;
}

static void seal(struct connection *c, const char *bytes, size_t n)
{
	if (!n || c->state >= ENDED)
		return;
	if (c->tls->broken) /* by a record behind those that are answered */
		connection_end(c, CLOSED_TLS);
	else if (!tls_session_send(c->tls, &c->worker->tls, bytes, n))
		connection_fail_no_memory(c);
}

/* Send or queue worker->tls.out from byte BEGIN. */
static void send_encrypted(struct connection *c, size_t begin)
{
	struct tls_io *io = &c->worker->tls;
	size_t n = io->n_out - begin, sent = 0;
	if (!n)
		return;
	if (!buffered(c->out))
		sent = record_sent(c, send(c->fd, io->out + begin, n, MSG_NOSIGNAL), n);
	io->n_out = begin;
	if (c->state < ENDED)
		append(c, &c->out, io->out + begin + sent, n - sent);
}

/* Encrypt the gathered bytes and BYTES, and send them as far as the socket takes them. */
static void send_tls(struct connection *c, const char *bytes, size_t n)
{
	struct worker *w = c->worker;
	size_t begin = w->running == c ? 0 : w->tls.n_out;
	if (w->running == c && w->n_gathered) {
		size_t gathered = w->n_gathered;
		w->n_gathered = 0;
		seal(c, w->gathered, gathered);
	}
	do {
		size_t piece = n < GATHER_SIZE ? n : GATHER_SIZE;
		seal(c, bytes, piece);
		send_encrypted(c, begin);
		bytes += piece;
		n -= piece;
	} while (n && c->state < ENDED);
	if (buffered(c->out) && !c->blocked && c->state < LINGERING)
		send_queued(c);
}

void connection_end_tls(struct connection *c)
{
	if (!c->tls || c->aborted || buffered(c->out))
		return;
	tls_session_end(c->tls, &c->worker->tls);
	send_encrypted(c, 0);
}

bool connection_send(struct connection *c, const void *bytes, size_t n)
{
	struct worker *w = c->worker;
	if (c->state == CONNECTING) {
		append(c, &c->out, bytes, n);
		connection_schedule(c); /* it may have failed */
		return c->state != ENDED;
	}
	size_t queued = buffered(c->out), limit = connection_buffer_limit(c);
	bool gathers = w->running == c && (c->tls || !queued);
	size_t all = n + queued + (gathers ? w->n_gathered : 0);
	bool wait = n < LARGE && all < GATHER_SIZE && all < limit;
	if (wait && gathers) {
		memcpy(w->gathered + w->n_gathered, bytes, n);
		w->n_gathered += n;
		return true;
	}
	if (c->tls) {
		send_tls(c, bytes, n);
		connection_schedule(c);
		return c->state != ENDED;
	}
	if (queued || wait)
		append(c, &c->out, bytes, n);
	if (!wait && !queued)
		send_gathered(c, bytes, n);
	else if (!wait && !c->blocked && c->state != ENDED)
		send_queued(c);
	connection_schedule(c);
	return c->state != ENDED;
}

void connection_flush(struct connection *c)
{
	if (c->state == CONNECTING)
		return;
	if (c->tls)
		send_tls(c, "", 0);
	else if (c->worker->n_gathered)
		send_gathered(c, "", 0);
	else if (buffered(c->out) && !c->blocked && c->state < LINGERING)
		send_queued(c);
}
