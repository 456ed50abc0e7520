/*
 * data/connection, data/service_api: no order of calls and events breaks a promise of service.h.
 *
 * Callbacks make random calls for their connection and for others. Clients send, receive and leave
 * at random, and time passes. The worker also connects to itself. All streams have the bytes of
 * pattern(). A failure names the seed.
 */
/* test: COST 5 */
/* test: NAME long ENV SKELD_LONG=1 LABELS long TIMEOUT 1800 */
#include "fixture.h"
#include "serving.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(random_calls, .init = fixture_enter, .fini = fixture_leave);

enum { SIDES_MAX = 1000, CLIENTS = 12, TURNS = 300, PROTOCOLS = 2, QUIET = 100 };

/* A connection, as its service sees it. */
struct side {
	struct connection *c;		 /* NULL: closed, and not held */
	const struct protocol *protocol; /* NULL: that of struct serving */
	size_t consumed, written;
	unsigned holds;
	bool closed, closing, paused;
	bool waits; /* a call has promised that unconsumed bytes are offered again */
};

static unsigned seed;
static struct side sides[SIDES_MAX], *running; /* running: in a callback */
static struct {
	int fd; /* 0: none */
	size_t sent, received;
} clients[CLIENTS];
static size_t n_sides;
static const struct protocol protocols[PROTOCOLS];

#define CHECK(condition) cr_assert(condition, "seed %u: %s", seed, #condition)

static unsigned pick(unsigned n)
{
	return (unsigned)random() % n;
}

static void write_some(struct side *s, size_t n)
{
	int result = connection_write(s->c, pattern(s->written, n), n);
	CHECK(result == -1 || !s->closing);
	s->written += n;
	s->closing = s->closing || result == -1;
}

static void release(struct side *s)
{
	struct connection *c = s->c;
	s->waits = true;
	if (!--s->holds && s->closed && running != s)
		s->c = NULL;
	connection_release(c);
}

static void make_connection(void)
{
	char address[ADDRESS_TEXT_MAX];
	struct side *s = &sides[n_sides];
	if (n_sides >= SIDES_MAX / 2)
		return;
	address_format(&serving.snapshot->listener[0]->actual, address);
	*s = (struct side){.protocol = &protocols[pick(PROTOCOLS)]};
	s->c = worker_connect(serving.w, address, s->protocol, s);
	n_sides += s->c != NULL;
}

static void call(struct side *s)
{
	static void (*const ends[])(struct connection *) = {connection_abort, connection_close,
							    connection_close, connection_shutdown,
							    connection_shutdown};
	unsigned what = pick(100);
	if (what < 5) {
		ends[what](s->c);
		s->closing = true;
	} else if (what < 20) {
		connection_hold(s->c);
		s->holds++;
	} else if (what < 40 && s->holds) {
		release(s);
	} else if (what < 55) {
		s->paused = what < 45;
		s->waits = s->waits || !s->paused;
		(s->paused ? connection_read_pause : connection_read_resume)(s->c);
	} else if (what < 65) {
		s->protocol = &protocols[pick(PROTOCOLS)];
		s->waits = true;
		connection_set_protocol(s->c, s->protocol);
	} else if (what < 69) {
		make_connection();
	} else {
		write_some(s, what < 75 ? pick(200000) : pick(5000));
	}
}

static void call_some(void)
{
	for (unsigned n = pick(4); n && n_sides; n--) {
		struct side *s = running && pick(4) ? running : &sides[pick((unsigned)n_sides)];
		if (s->c)
			call(s);
	}
}

static struct side *enter(struct connection *c)
{
	struct side *s = connection_data(c);
	CHECK(s && s->c == c && !s->closed && !running);
	return running = s;
}

static void on_event(struct connection *c)
{
	enter(c);
	call_some();
	running = NULL;
}

static int on_opened(struct connection *c)
{
	if (!connection_data(c)) {
		connection_set_data(c, &sides[n_sides]);
		sides[n_sides++] = (struct side){.c = c};
	}
	on_event(c);
	return 0;
}

static size_t on_data(struct connection *c, const char *bytes, size_t n)
{
	struct side *s = enter(c);
	const struct protocol *before = s->protocol;
	size_t used = pick(2) ? n : pick(2) ? pick((unsigned)n) : 0;
	CHECK(!s->paused);
	call_some();
	s->waits = s->protocol != before;
	CHECK(memcmp(bytes, pattern(s->consumed, n), n) == 0);
	s->consumed += used;
	running = NULL;
	return used;
}

static void on_closed(struct connection *c)
{
	struct side *s = enter(c);
	s->closed = s->closing = true;
	serving.n_closed += !c->outgoing && s->protocol;
	call_some();
	s->c = s->holds ? c : NULL;
	running = NULL;
}

static const struct protocol protocols[PROTOCOLS] = {
	{on_opened, on_data, NULL, on_event, on_event, NULL, on_closed},
	{on_opened, on_data, on_event, on_event, on_event, NULL, on_closed}};

/* A client with unread bytes resets its connection. */
static void end_client(size_t i)
{
	if (clients[i].fd)
		close(clients[i].fd);
	memset(&clients[i], 0, sizeof(clients[i]));
}

static void act(size_t i)
{
	char bytes[65536];
	int fd = clients[i].fd;
	unsigned what = pick(40);
	if (!fd) {
		clients[i].fd = client_new();
	} else if (what < 18) {
		ssize_t n = send(fd, pattern(clients[i].sent, 65536), pick(65536), MSG_NOSIGNAL);
		clients[i].sent += n > 0 ? (size_t)n : 0;
	} else if (what < 36) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
		CHECK(n <= 0 || !memcmp(bytes, pattern(clients[i].received, (size_t)n), (size_t)n));
		clients[i].received += n > 0 ? (size_t)n : 0;
	} else if (what < 38) {
		shutdown(fd, SHUT_WR);
	} else {
		end_client(i);
	}
}

/* Nothing is left to do: no call has been forgotten. */
static void check_quiet(void)
{
	const struct connection *c;
	size_t n = 0, debt = 0;
	for (int i = 0; i < QUIET; i++)
		step();
	for (size_t i = 0; i < N_LISTS; i++)
		TAILQ_FOREACH (c, &serving.w->lists[i], entry) {
			const struct side *s = connection_data(c);
			bool has_room = c->state == OPEN && !s->paused && !buffered(c->out);
			CHECK(!has_room || !s->waits || !buffered(c->in));
			n++;
			debt += c->debt;
		}
	CHECK(n == serving.workers->n_connections + serving.workers->n_outgoing);
	CHECK(debt == serving.w->buffered);
}

static void run(void)
{
	srandom(seed);
	serving = (struct serving){.opened = on_opened,
				   .data = on_data,
				   .ended = on_event,
				   .draining = on_event,
				   .closed = on_closed};
	n_sides = 0;
	serve(seed % 2 ? "" : "limits { buffer = 4096 memory = 1M idle_timeout = 3 }");
	for (int turn = 0; turn < TURNS; turn++) {
		act(pick(CLIENTS));
		if (!pick(3))
			call_some();
		for (unsigned n = pick(4); n; n--)
			step();
		if (!pick(20))
			pass_time(pick(8));
		if (!pick(10))
			check_quiet();
	}
	if (pick(2)) {
		workers_drain(serving.workers);
		check_quiet();
	}
	workers_close_connections(serving.workers);
	STEP_UNTIL(workers_drained(serving.workers));
	for (struct side *s = sides; s < sides + n_sides; s++) {
		CHECK(s->closed);
		while (s->holds)
			release(s);
	}
	for (size_t i = 0; i < CLIENTS; i++)
		end_client(i);
	serving_end();
}

Test(random_calls, no_order_of_calls_and_events_breaks_a_promise)
{
	unsigned n = getenv("SKELD_LONG") ? 20000 : 200;
	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	for (seed = 1; seed <= n; seed++)
		run();
}
