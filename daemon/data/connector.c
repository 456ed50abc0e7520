#include "data/connector.h"

#include "data/resolver.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ATTEMPTS_MAX = 8 };

struct attempt {
	struct connector *connector;
	struct address address;
	int fd; /* -1: not begun, or failed */
	struct event event;
};

struct connector {
	struct worker *worker;
	connector_done *done;
	void *arg;
	struct lookup *lookup;		      /* NULL: not needed, or over */
	struct attempt attempt[ATTEMPTS_MAX]; /* in the order in which they are made */
	size_t n, n_begun, n_open;
	int error;	    /* of the last attempt that failed */
	struct event timer; /* the next attempt, or the report of a failure, is due */
};

void connector_discard(int fd)
{
	const struct linger reset = {.l_onoff = 1};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
}

static void end_attempt(struct attempt *a)
{
	if (a->fd < 0)
		return;
	event_del(&a->event);
	connector_discard(a->fd);
	a->fd = -1;
	a->connector->n_open--;
}

void connector_free(struct connector *c)
{
	if (!c)
		return;
	if (c->lookup)
		resolver_cancel(c->lookup);
	for (size_t i = 0; i < c->n_begun; i++)
		end_attempt(&c->attempt[i]);
	event_del(&c->timer);
	free(c);
}

static void report(struct connector *c, int fd, const struct address *peer)
{
	connector_done *done = c->done;
	void *arg = c->arg;
	int error = fd < 0 ? c->error : 0;
	struct address copy = {0};
	if (peer)
		copy = *peer;
	connector_free(c);
	done(arg, fd, &copy, error);
}

/* A socket can connect to itself if its port was chosen from the range of the address's port. */
static bool is_connected_to_itself(int fd, const struct address *peer)
{
	struct address own = {.length = sizeof(own.sa)};
	return peer->sa.ss_family != AF_UNIX &&
	       getsockname(fd, (struct sockaddr *)&own.sa, &own.length) == 0 &&
	       address_equal(&own, peer);
}

static void try_next(struct connector *c);

static void on_attempt(evutil_socket_t fd, short what, void *arg)
{
	struct attempt *a = arg;
	struct connector *c = a->connector;
	int error = 0;
	socklen_t length = sizeof(error);
	(void)what;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		error = errno;
	if (!error && is_connected_to_itself(fd, &a->address))
		error = ECONNREFUSED;
	if (error) {
		c->error = error;
		end_attempt(a);
		try_next(c);
		return;
	}
	event_del(&a->event);
	a->fd = -1; /* the receiver of the report owns it */
	report(c, fd, &a->address);
}

/* Returns 0 or an errno. */
static int begin_attempt(struct attempt *a)
{
	const struct sockaddr *sa = (const struct sockaddr *)&a->address.sa;
	int on = 1;
	a->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->fd < 0)
		return errno;
	a->connector->n_open++;
	if (sa->sa_family != AF_UNIX) {
		setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(a->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	}
	int error = connect(a->fd, sa, a->address.length) < 0 ? errno : 0;
	event_assign(&a->event, a->connector->worker->base, a->fd, EV_WRITE, on_attempt, a);
	if ((!error || error == EINPROGRESS) && event_add(&a->event, NULL) == 0)
		return 0;
	end_attempt(a);
	return error && error != EINPROGRESS ? error : ENOMEM;
}

/* Begin the next attempt that can be begun, and set the timer for the one after it. */
static void try_next(struct connector *c)
{
	while (c->n_begun < c->n) {
		int error = begin_attempt(&c->attempt[c->n_begun++]);
		if (error)
			c->error = error;
		else
			break;
	}
	if (!c->n_open)
		report(c, -1, NULL);
	else if (c->n_begun < c->n)
		event_add(&c->timer, &(struct timeval){.tv_usec = NEXT_MS * 1000L});
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	try_next(arg);
}

static void add_address(struct connector *c, const struct sockaddr *sa, socklen_t length)
{
	struct attempt *a = &c->attempt[c->n++];
	*a = (struct attempt){.connector = c, .address.length = length, .fd = -1};
	memcpy(&a->address.sa, sa, length);
}

/* The first address of LIST, then the first one of another family, and so on. */
static void on_looked_up(void *arg, int error, const struct addrinfo *list)
{
	struct connector *c = arg;
	const struct addrinfo *same = list, *other = list;
	int family = list ? list->ai_family : AF_UNSPEC;
	c->lookup = NULL;
	c->error = error;
	while (c->n < ATTEMPTS_MAX && (same || other)) {
		const struct addrinfo **next = c->n % 2 && other ? &other : same ? &same : &other;
		bool wants_same = next == &same;
		while (*next && ((*next)->ai_family == family) != wants_same)
			*next = (*next)->ai_next;
		if (!*next)
			continue;
		add_address(c, (*next)->ai_addr, (*next)->ai_addrlen);
		*next = (*next)->ai_next;
	}
	try_next(c);
}

/* Split "name:port". */
static struct lookup *look_up(struct connector *c, const char *address)
{
	enum { PORT_MAX = 65535 }; /* getaddrinfo(3) uses the lower 16 bits of a larger number */
	char host[256];
	const char *colon = strrchr(address, ':');
	size_t length = colon ? (size_t)(colon - address) : 0;
	if (!length || length >= sizeof(host) || !colon[1] ||
	    colon[1 + strspn(colon + 1, "0123456789")] || strtoul(colon + 1, NULL, 10) > PORT_MAX ||
	    strpbrk(address, "[]/") || memchr(address, ':', length)) {
		errno = EINVAL;
		return NULL;
	}
	memcpy(host, address, length);
	host[length] = '\0';
	return resolver_look_up(c->worker, host, colon + 1, on_looked_up, c);
}

struct connector *connector_new(struct worker *w, const char *address, connector_done *done,
				void *arg)
{
	struct address a;
	struct connector *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->worker = w;
	c->done = done;
	c->arg = arg;
	event_assign(&c->timer, w->base, -1, 0, on_timer, c);
	if (address_parse(address, &a) && !a.no_interface && !a.datagram) {
		add_address(c, (const struct sockaddr *)&a.sa, a.length);
		event_active(&c->timer, EV_TIMEOUT, 1);
	} else if (!(c->lookup = look_up(c, address))) {
		free(c);
		return NULL;
	}
	return c;
}
