#include "admin/http.h"

#include "admin/endpoints.h"
#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	CLIENT_SECONDS = 5, /* from accept to the last byte of the answer, and to close */
	REQUEST_MAX = 8192, /* bytes of request line and header fields */
	HEAD_MAX = 1024,    /* bytes of an answer before its body */
	ACCEPT_BATCH = 16,  /* clients accepted in one turn of the loop */
	TICK_MS = 100,
	ENCRYPTED_MAX = 16384, /* bytes that one recv(2) returns with TLS */
	WARN_SECONDS = 60,     /* between two warnings */
};
static_assert(ACCEPT_BATCH <= ADMIN_CLIENTS / 2, "a client is read before others can evict it");

/* A new client replaces one of the lowest state, and of these the oldest. */
enum client_state {
	FREE,
	DISCARDING, /* the kernel has the whole answer: read until the peer closes */
	READING,    /* the request is not complete */
	WRITING,    /* the socket has not accepted the whole answer */
};

struct client {
	enum client_state state;
	int fd;
	bool is_loopback; /* it connected to a loopback address */
	int64_t expires;  /* monotonic ns */
	struct event event;
	struct admin *admin;
	struct answer answer;
	struct tls_session *tls; /* NULL: without TLS */
	char *encrypted;	 /* the whole answer, with TLS */
	struct iovec unsent[2];	 /* of head[], and of the answer's body; or of encrypted[] */
	size_t length;		 /* of request[] */
	char request[REQUEST_MAX + 1], head[HEAD_MAX];
};

struct admin {
	struct event_base *base;
	struct admin_callbacks callbacks;
	const struct listener *listener; /* NULL: none */
	struct tls_sites *sites;	 /* of `server` */
	const struct tls_server *server; /* NULL: without TLS */
	struct tls_io io;		 /* of all sessions; allocated with the first one */
	struct event *accept;		 /* one for each socket of the listener; NULL: paused */
	struct event timer;   /* runs while there are clients, and while accepting is paused */
	int64_t silent_until; /* monotonic ns: no other warning that accepting is paused */
	struct client clients[ADMIN_CLIENTS]; /* pages that were never used take no memory */
};

static void client_close(struct client *c)
{
	event_del(&c->event);
	close(c->fd);
	free(c->answer.allocated);
	c->answer.allocated = NULL;
	free(c->encrypted);
	c->encrypted = NULL;
	tls_session_free(c->tls);
	c->tls = NULL;
	c->state = FREE;
}

static void on_client(evutil_socket_t fd, short what, void *arg);

/* Wait for WHAT only. Returns false if the kernel cannot watch the socket. */
static bool client_wait(struct client *c, short what)
{
	if (event_pending(&c->event, what, NULL))
		return true;
	event_del(&c->event);
	event_assign(&c->event, c->admin->base, c->fd, (short)(what | EV_PERSIST), on_client, c);
	return event_add(&c->event, NULL) == 0;
}

static void client_write(struct client *c)
{
	struct msghdr message = {.msg_iov = c->unsent, .msg_iovlen = 2};
	ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		client_close(c);
		return;
	}
	for (struct iovec *v = c->unsent; n > 0; v++) {
		size_t part = (size_t)n < v->iov_len ? (size_t)n : v->iov_len;
		v->iov_base = (char *)v->iov_base + part;
		v->iov_len -= part;
		n -= (ssize_t)part;
	}
	bool sent = !c->unsent[0].iov_len && !c->unsent[1].iov_len;
	c->state = sent ? DISCARDING : WRITING;
	/* close(2) with unread input would reset the answer under way, RFC 9112 9.6. */
	if ((sent && shutdown(c->fd, SHUT_WR) < 0) || !client_wait(c, sent ? EV_READ : EV_WRITE))
		client_close(c);
}

/* Replace the unsent bytes by encrypted ones, with close_notify behind them. */
static bool client_encrypt(struct client *c)
{
	struct tls_io *io = &c->admin->io;
	bool good = tls_session_send(c->tls, io, c->unsent[0].iov_base, c->unsent[0].iov_len) &&
		    tls_session_send(c->tls, io, c->unsent[1].iov_base, c->unsent[1].iov_len);
	tls_session_end(c->tls, io);
	c->encrypted = good ? malloc(io->n_out) : NULL;
	if (c->encrypted)
		memcpy(c->encrypted, io->out, io->n_out);
	c->unsent[0] = (struct iovec){c->encrypted, io->n_out};
	c->unsent[1] = (struct iovec){0};
	io->n_out = 0;
	return c->encrypted;
}

/* The head of the request is complete. Its body, if there is one, is discarded. */
static void client_answer(struct client *c, size_t length)
{
	char date[32];
	struct tm tm;
	time_t now = time(NULL);
	struct answer *a = &c->answer;
	c->request[length] = '\0';
	struct request r = request_parse(c->request, length);
	*a = endpoints_answer(&r, c->is_loopback, &c->admin->callbacks);
	log_debug("admin: %s %s: %s, %zu bytes", r.method, r.path, a->status, a->length);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	int n = snprintf(c->head, sizeof(c->head),
			 "HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
			 "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
			 "%.512sConnection: close\r\n\r\n",
			 a->status, date, a->type, a->length, a->fields);
	bool is_head = strcmp(r.method, "HEAD") == 0;
	c->unsent[0] = (struct iovec){c->head, (size_t)n};
	c->unsent[1] = (struct iovec){(void *)(uintptr_t)a->body, is_head ? 0 : a->length};
	if (c->tls && !client_encrypt(c))
		client_close(c);
	else
		client_write(c);
}

/* Returns the number of bytes received. At the end of its input, or on an error, C is closed. */
static size_t client_receive(struct client *c, char *bytes, size_t size)
{
	ssize_t n = recv(c->fd, bytes, size, 0);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		client_close(c);
	return n > 0 ? (size_t)n : 0;
}

/* Like client_receive(), with TLS. A record that does not fit makes the request too long. */
static size_t client_decrypt(struct client *c, char *bytes, size_t size)
{
	struct tls_io *io = &c->admin->io;
	char received[ENCRYPTED_MAX];
	size_t n = client_receive(c, received, sizeof(received));
	if (!n)
		return 0;
	enum tls_status status = tls_session_receive(c->tls, io, received, n);
	/* The answer of a handshake fits into the empty buffer of a new socket. */
	bool sent =
		!io->n_out || send(c->fd, io->out, io->n_out, MSG_NOSIGNAL) == (ssize_t)io->n_out;
	io->n_out = 0;
	if (status == TLS_BROKEN)
		log_debug("admin: TLS failed: %s", tls_session_error(c->tls));
	/* A client may close its sending side after its request. */
	bool is_over = status == TLS_BROKEN || (status == TLS_PEER_END && !io->n_plain);
	if (!sent || is_over) {
		client_close(c);
		return 0;
	}
	n = io->n_plain < size ? io->n_plain : size;
	memcpy(bytes, io->plain, n);
	return n;
}

static void client_read(struct client *c)
{
	char *end = c->request + c->length;
	size_t room = REQUEST_MAX - c->length;
	c->length += c->tls ? client_decrypt(c, end, room) : client_receive(c, end, room);
	size_t length = request_length(c->request, c->length);
	if (length || c->length == REQUEST_MAX)
		client_answer(c, length ? length : c->length);
}

static void on_client(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;
	(void)fd;
	(void)what;
	if (c->state == READING)
		client_read(c);
	else if (c->state == WRITING)
		client_write(c);
	else
		client_receive(c, c->request, REQUEST_MAX);
}

static void stop_accepting(struct admin *a)
{
	for (size_t i = 0; a->accept && i < a->listener->n_fds; i++)
		if (event_initialized(&a->accept[i]))
			event_del(&a->accept[i]);
	free(a->accept);
	a->accept = NULL;
}

static void start_timer(struct admin *a)
{
	/* Cannot fail: libevent has room for eight timers, and the control plane has fewer. */
	if (!event_pending(&a->timer, EV_TIMEOUT, NULL))
		event_add(&a->timer, &(struct timeval){.tv_usec = TICK_MS * 1000L});
}

/* Stop accepting until the timer starts it again. */
static void pause_accepting(struct admin *a, int error)
{
	int64_t now = now_ns();
	if (now >= a->silent_until) { /* a shortage may come and go with each client */
		log_warning("admin: cannot accept connections: %s; they wait in the backlog, "
			    "retrying every %d ms",
			    strerror(error), TICK_MS);
		a->silent_until = now + WARN_SECONDS * INT64_C(1000000000);
	}
	stop_accepting(a);
	start_timer(a);
}

/* Use the address of the connection: that of the listener may be 0.0.0.0. */
static bool is_loopback(int fd)
{
	struct address a = {.length = sizeof(a.sa)};
	return getsockname(fd, (struct sockaddr *)&a.sa, &a.length) == 0 &&
	       a.sa.ss_family != AF_UNIX && address_is_local(&a);
}

static bool begin_tls(struct client *c)
{
	struct admin *a = c->admin;
	if (!a->server)
		return true;
	if (!a->io.plain && !tls_io_init(&a->io, ENCRYPTED_MAX))
		return false;
	c->tls = tls_session_new(a->server);
	return c->tls;
}

/* Returns false, and closes FD, if out of memory. */
static bool add_client(struct admin *a, int fd)
{
	struct client *c = a->clients;
	for (struct client *i = c + 1; i < a->clients + ADMIN_CLIENTS; i++)
		if (i->state < c->state || (i->state == c->state && i->expires < c->expires))
			c = i;
	if (c->state != FREE)
		client_close(c);
	c->state = READING;
	c->fd = fd;
	c->is_loopback = is_loopback(fd);
	c->expires = now_ns() + CLIENT_SECONDS * INT64_C(1000000000);
	c->admin = a;
	c->length = 0;
	start_timer(a);
	event_assign(&c->event, a->base, fd, EV_READ | EV_PERSIST, on_client, c);
	if (begin_tls(c) && event_add(&c->event, NULL) == 0)
		return true;
	client_close(c);
	return false;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct admin *a = arg;
	(void)what;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		int error = client < 0 ? errno : add_client(a, client) ? 0 : ENOMEM;
		if (error == EAGAIN)
			return;
		if (error && error != ECONNABORTED && error != EPROTO && error != EINTR) {
			pause_accepting(a, error);
			return;
		}
	}
}

static void start_accepting(struct admin *a)
{
	const struct listener *l = a->listener;
	if (!l || a->accept)
		return;
	a->accept = calloc(l->n_fds, sizeof(*a->accept));
	for (size_t i = 0; i < l->n_fds; i++) {
		if (a->accept)
			event_assign(&a->accept[i], a->base, l->fds[i], EV_READ | EV_PERSIST,
				     on_accept, a);
		if (!a->accept || event_add(&a->accept[i], NULL) < 0) {
			pause_accepting(a, ENOMEM);
			return;
		}
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct admin *a = arg;
	int64_t now = now_ns();
	bool is_idle = true;
	(void)fd;
	(void)what;
	for (struct client *c = a->clients; c < a->clients + ADMIN_CLIENTS; c++) {
		if (c->state != FREE && now >= c->expires)
			client_close(c);
		is_idle = is_idle && c->state == FREE;
	}
	start_accepting(a);
	if (is_idle && (a->accept || !a->listener))
		event_del(&a->timer);
}

struct admin *admin_new(struct event_base *base, const struct admin_callbacks *callbacks)
{
	struct admin *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->base = base;
	a->callbacks = *callbacks;
	event_assign(&a->timer, base, -1, EV_PERSIST, on_timer, a);
	return a;
}

void admin_listen(struct admin *a, const struct snapshot *s)
{
	char address[ADDRESS_TEXT_MAX];
	const struct listener *l = s->admin;
	tls_sites_unref(a->sites);
	a->sites = tls_sites_ref(s->tls);
	a->server = l ? tls_sites_admin(s->tls) : NULL;
	if (l == a->listener)
		return;
	stop_accepting(a);
	a->listener = l;
	start_accepting(a);
	if (!l || address_is_local(&l->actual))
		return;
	address_format(&l->actual, address);
	log_warning("admin.address %s can be reached from other machines: they can read "
		    "metrics and status; use a firewall or a loopback address",
		    address);
}

void admin_free(struct admin *a)
{
	if (!a)
		return;
	stop_accepting(a);
	for (struct client *c = a->clients; c < a->clients + ADMIN_CLIENTS; c++)
		if (c->state != FREE)
			client_close(c);
	event_del(&a->timer);
	tls_sites_unref(a->sites);
	tls_io_free(&a->io);
	free(a);
}
