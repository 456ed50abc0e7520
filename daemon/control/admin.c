#include "control/admin.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/reserve.h"
#include "control/answers.h"
#include "control/daemon.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event_struct.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>

enum {
	REQUEST_SECONDS = 5, /* from accept to the last byte of the answer */
	HEADERS_MAX = 8192,  /* bytes, with the request line */
	BODY_MAX = 4096,     /* bytes, read and thrown away */
	ALLOCATIONS = 24,    /* for a new connection, at most, until evhttp can do without */
	PAUSE_MS = 10,	     /* after ADMIN_CLIENTS new ones: the loop has other things to do */
	EXHAUSTED_MS = 100,  /* until the next try when there is no descriptor */
	ANY_METHOD = 0xffff, /* also one that libevent does not know: all but GET, HEAD get 405 */
};

/*
 * A connection. libevent does not tell when it is done with one, so we hold a reference: once
 * evhttp has given up its own, the callbacks are gone, and dropping ours closes the descriptor.
 */
struct client {
	struct bufferevent *io; /* NULL: a free place */
	int64_t until;		/* monotonic ns */
	bool is_new;		/* evhttp may still fail to take it */
};

struct admin {
	struct daemon *daemon;
	struct evhttp *http;
	const struct listener *listener;
	struct evhttp_bound_socket **bound; /* one for each of its sockets */
	size_t n_bound;
	struct event *resume, *look;
	struct client client[ADMIN_CLIENTS];
	bool paused;
	bool warned;   /* that nothing can be accepted */
	bool unserved; /* an error has told that it cannot listen */
};

/* For on_accept_error(), which libevent calls with an argument of evhttp's. */
static struct admin *the_server;

/* Clients. */

static bool is_done(const struct client *c)
{
	void *connection;
	bufferevent_getcb(c->io, NULL, NULL, NULL, &connection);
	return !connection;
}

/*
 * When evhttp fails to take a connection after it has given us its descriptor, it lets go of it,
 * and closes the descriptor as well. The number may be a client's of a worker by now: it is not
 * ours to close. Called in the same turn of the loop, in which nobody else can have ended.
 */
static void look_at_new(struct admin *a)
{
	for (struct client *c = a->client; c < a->client + ADMIN_CLIENTS; c++) {
		if (c->io && c->is_new && is_done(c))
			bufferevent_setfd(c->io, -1);
		c->is_new = false;
	}
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look_at_new(arg);
}

/* Free the places of those that are done. Returns the oldest of the others, NULL: a place is free.
 */
static struct client *sweep(struct admin *a)
{
	struct client *oldest = NULL;
	bool room = false;
	look_at_new(a);
	for (struct client *c = a->client; c < a->client + ADMIN_CLIENTS; c++) {
		if (c->io && is_done(c)) {
			bufferevent_decref(c->io);
			c->io = NULL;
		}
		if (!c->io)
			room = true;
		else if (!oldest || c->until < oldest->until)
			oldest = c;
	}
	return room ? NULL : oldest;
}

/* evhttp is told that its time is over, and lets go of it. */
static void end(const struct client *c)
{
	bufferevent_trigger_event(c->io, BEV_EVENT_READING | BEV_EVENT_TIMEOUT, 0);
}

static void throw_away(struct bufferevent *io, void *context)
{
	struct evbuffer *input = bufferevent_get_input(io);
	(void)context;
	evbuffer_drain(input, evbuffer_get_length(input));
}

/*
 * While evhttp answers, and from when it is done until we let go, nobody reads what still comes:
 * it would be kept for as long as a peer sends. And while it reads, it waits for the end of a line,
 * however long, when that tells the size of a chunk.
 */
static void on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
	struct bufferevent *io = arg;
	bufferevent_data_cb read, write;
	bufferevent_event_cb event;
	void *context;
	bufferevent_getcb(io, &read, &write, &event, &context);
	if (!read)
		bufferevent_setcb(io, throw_away, write, event, context);
	else if (info->n_added && evbuffer_get_length(input) > HEADERS_MAX + BODY_MAX)
		bufferevent_trigger_event(io, BEV_EVENT_READING | BEV_EVENT_ERROR,
					  BEV_TRIG_DEFER_CALLBACKS);
}

/* False: not all that should accept do. */
static bool set_accepting(struct admin *a, bool accept)
{
	bool good = true;
	for (size_t i = 0; i < a->n_bound; i++) {
		struct evconnlistener *l = evhttp_bound_socket_get_listener(a->bound[i]);
		good = (accept ? evconnlistener_enable(l) : evconnlistener_disable(l)) == 0 && good;
	}
	a->paused = !accept;
	return good;
}

static void pause_accepting(struct admin *a, int ms)
{
	set_accepting(a, false);
	event_add(a->resume, &(struct timeval){.tv_usec = ms * 1000L});
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct admin *a = arg;
	(void)fd;
	(void)what;
	const struct client *oldest = sweep(a);
	if (oldest)
		end(oldest);
	if (sweep(a))
		pause_accepting(a, PAUSE_MS);
	else if (!set_accepting(a, true))
		pause_accepting(a, EXHAUSTED_MS);
}

/* evhttp has accepted a connection and asks for something to read and write it with. There is a
 * free place: whoever takes the last one pauses accepting. */
static struct bufferevent *on_accepted(struct event_base *base, void *arg)
{
	struct admin *a = arg;
	size_t used = 0;
	struct client *free_place = NULL;
	reserve_open(ALLOCATIONS);
	for (struct client *c = a->client; c < a->client + ADMIN_CLIENTS; c++) {
		used += c->io != NULL;
		if (!c->io)
			free_place = c;
	}
	if (used + 1 >= ADMIN_CLIENTS)
		pause_accepting(a, PAUSE_MS);
	struct bufferevent *io = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	if (!io || !free_place)
		return io;
	bufferevent_set_max_single_read(io, BODY_MAX);
	evbuffer_add_cb(bufferevent_get_input(io), on_input, io);
	bufferevent_incref(io);
	look_at_new(a); /* the one before it, in the same turn */
	*free_place = (struct client){io, now_ns() + REQUEST_SECONDS * 1000000000LL, true};
	event_active(a->look, 0, 0);
	a->warned = false;
	return io;
}

static void on_accept_error(struct evconnlistener *listener, void *http)
{
	struct admin *a = the_server;
	(void)listener;
	(void)http;
	if (!a->warned)
		log_warning("admin: cannot accept connections: %s; they wait in the backlog, "
			    "trying again every %d ms",
			    strerror(errno), EXHAUSTED_MS);
	a->warned = true;
	pause_accepting(a, EXHAUSTED_MS);
}

void admin_tick(struct admin *a)
{
	int64_t now = now_ns();
	look_at_new(a);
	for (const struct client *c = a->client; c < a->client + ADMIN_CLIENTS; c++)
		if (c->io && now >= c->until)
			end(c);
	sweep(a);
}

static void on_request(struct evhttp_request *r, void *arg)
{
	const struct admin *a = arg;
	answers_give(r, a->daemon, a->listener);
}

/* Its life. */

static void on_nothing(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/*
 * libevent keeps timers in an array that grows when one is added, which may fail for lack of
 * memory, and never shrinks. It becomes as large as our clients ever make it: whoever has a
 * deadline in this loop does not fail.
 */
static bool make_room_for_timers(struct event_base *base)
{
	enum { EACH = 2, OTHERS = 16 };
	struct event timer[ADMIN_CLIENTS * EACH + OTHERS];
	size_t n = 0;
	bool good = true;
	for (; good && n < sizeof(timer) / sizeof(*timer); n++) {
		event_assign(&timer[n], base, -1, 0, on_nothing, NULL);
		good = event_add(&timer[n], &(struct timeval){.tv_sec = 1000}) == 0;
	}
	while (n)
		event_del(&timer[--n]);
	return good;
}

struct admin *admin_new(struct daemon *d)
{
	struct admin *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->daemon = d;
	the_server = a;
	a->http = evhttp_new(d->base);
	a->resume = evtimer_new(d->base, on_resume, a);
	a->look = event_new(d->base, -1, 0, on_look, a);
	if (!a->http || !a->resume || !a->look || !make_room_for_timers(d->base)) {
		admin_free(a);
		return NULL;
	}
	evhttp_set_allowed_methods(a->http, ANY_METHOD);
	evhttp_set_max_headers_size(a->http, HEADERS_MAX);
	evhttp_set_max_body_size(a->http, BODY_MAX);
	evhttp_set_timeout(a->http, REQUEST_SECONDS);
	evhttp_set_bevcb(a->http, on_accepted, a);
	evhttp_set_gencb(a->http, on_request, a);
	return a;
}

static void unbind(struct admin *a)
{
	while (a->n_bound)
		evhttp_del_accept_socket(a->http, a->bound[--a->n_bound]);
	free((void *)a->bound);
	a->bound = NULL;
	a->listener = NULL;
}

static bool bind_socket(struct admin *a, int fd)
{
	struct evconnlistener *l =
		evconnlistener_new(a->daemon->base, NULL, NULL, LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	struct evhttp_bound_socket *bound = l ? evhttp_bind_listener(a->http, l) : NULL;
	if (!bound) {
		if (l)
			evconnlistener_free(l);
		return false;
	}
	evconnlistener_set_error_cb(l, on_accept_error);
	a->bound[a->n_bound++] = bound;
	/* evhttp has enabled it, and did not look whether that worked. */
	return (a->paused ? evconnlistener_disable(l) : evconnlistener_enable(l)) == 0;
}

void admin_listen(struct admin *a, const struct listener *l)
{
	if (l == a->listener)
		return;
	char address[ADDRESS_TEXT_MAX];
	unbind(a);
	if (!l)
		return;
	address_show(&l->actual, address);
	a->listener = l;
	a->bound = calloc(l->n_fds, sizeof(*a->bound));
	for (size_t i = 0; i < l->n_fds; i++)
		if (!a->bound || !bind_socket(a, l->fds[i])) {
			if (!a->unserved)
				log_error("admin: cannot serve on %s: out of memory; who connects "
					  "waits in the backlog, trying again every second",
					  address);
			a->unserved = true;
			unbind(a);
			return;
		}
	if (a->unserved)
		log_notice("admin: serves on %s now", address);
	a->unserved = false;
	if (!address_is_local(&l->actual))
		log_warning("admin.address %s can be reached from other machines: whoever "
			    "connects reads metrics and status; a firewall or a loopback "
			    "address keeps others out",
			    address);
}

void admin_free(struct admin *a)
{
	if (!a)
		return;
	unbind(a);
	if (a->http)
		evhttp_free(a->http);
	if (a->resume)
		event_free(a->resume);
	if (a->look)
		event_free(a->look);
	for (struct client *c = a->client; c < a->client + ADMIN_CLIENTS; c++)
		if (c->io)
			bufferevent_decref(c->io);
	free(a);
}
