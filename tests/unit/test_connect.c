/* data/connection, data/connector, data/resolver: outgoing connections. */
/* build: WRAP evbuffer_new getaddrinfo post_queue_add pthread_cond_signal */
#include "base/log.h"
#include "data/connector.h"
#include "fixture.h"
#include "peer.h"
#include "serving.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static sem_t answer_slowly; /* see __wrap_getaddrinfo() */
static pid_t resolver;	    /* the thread of the last lookup */

static void enter(void)
{
	fixture_enter();
	sem_init(&answer_slowly, 0, 0);
}

TestSuite(connect, .init = enter, .fini = fixture_leave);

/* Outgoing connections count in n_out_closed; serving.n_closed counts the accepted ones. */
static unsigned n_out_opened, n_out_ended, n_out_closed;
static char received[4096], error_text[128];

static int out_opened(struct connection *c)
{
	(void)c;
	n_out_opened++;
	return 0;
}

static size_t out_data(struct connection *c, const char *bytes, size_t n)
{
	size_t used = strlen(received);
	(void)c;
	snprintf(received + used, sizeof(received) - used, "%.*s", (int)n, bytes);
	return n;
}

static void out_ended(struct connection *c)
{
	(void)c;
	n_out_ended++;
}

static void out_closed(struct connection *c)
{
	n_out_closed++;
	snprintf(error_text, sizeof(error_text), "%s", connection_error(c));
}

static const struct protocol out = {
	.opened = out_opened, .data = out_data, .ended = out_ended, .closed = out_closed};

/* getaddrinfo(3): "two.test" has an address that refuses and one that accepts, "slow.test" waits
 * for the test, "none.test" does not exist. */
int __real_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
		       struct addrinfo **list);
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
		       struct addrinfo **list);

int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
		       struct addrinfo **list)
{
	resolver = gettid();
	if (strcmp(host, "none.test") == 0)
		return EAI_NONAME;
	if (strcmp(host, "slow.test") == 0)
		sem_wait(&answer_slowly);
	int error = __real_getaddrinfo("127.0.0.1", port, hints, list);
	if (!error && strcmp(host, "two.test") == 0) {
		struct addrinfo *second = NULL;
		error = __real_getaddrinfo("127.0.0.2", port, hints, &second);
		(*list)->ai_next = second;
		/* The server listens on 127.0.0.1 only: try 127.0.0.2 first. */
		struct sockaddr *first = (*list)->ai_addr;
		(*list)->ai_addr = second->ai_addr;
		second->ai_addr = first;
	}
	return error;
}

/* Replaces post_queue_add() in data/resolver.c: memory may be short. */
int __real_post_queue_add(struct post_queue *q, void (*run)(struct worker *w, void *arg),
			  void *arg);
int __wrap_post_queue_add(struct post_queue *q, void (*run)(struct worker *w, void *arg),
			  void *arg);

static sem_t refused; /* posted when a post was refused */
static bool refuses;

int __wrap_post_queue_add(struct post_queue *q, void (*run)(struct worker *w, void *arg), void *arg)
{
	if (!refuses)
		return __real_post_queue_add(q, run, arg);
	sem_post(&refused);
	return ENOMEM;
}

/* Replaces evbuffer_new(): memory may be short. */
struct evbuffer *__real_evbuffer_new(void);
struct evbuffer *__wrap_evbuffer_new(void);

static bool lacks_memory;

struct evbuffer *__wrap_evbuffer_new(void)
{
	return lacks_memory ? NULL : __real_evbuffer_new();
}

/* Replaces pthread_cond_signal(3): a thread may take long to wake. */
int __real_pthread_cond_signal(pthread_cond_t *c);
int __wrap_pthread_cond_signal(pthread_cond_t *c);

static bool wakes_late;

int __wrap_pthread_cond_signal(pthread_cond_t *c)
{
	bool late = wakes_late;
	wakes_late = false;
	return late ? 0 : __real_pthread_cond_signal(c);
}

/* A server in the test, not accepted by the worker. */
static int listen_on_loopback(unsigned *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 8) == 0);
	MUST(getsockname(fd, (struct sockaddr *)&a, &length) == 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static struct connection *connect_to(const char *host, unsigned port)
{
	char address[64];
	snprintf(address, sizeof(address), "%s:%u", host, port);
	struct connection *c = worker_connect(serving.w, address, &out, NULL);
	cr_assert(c, "%s: %m", address);
	return c;
}

static void abort_it(evutil_socket_t fd, short what, void *c)
{
	(void)fd, (void)what;
	connection_abort(c);
}

/* The peer has accepted the connection, before the worker knew that it was made. */
static void expect_reset(int listener)
{
	char byte;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	cr_assert(fd >= 0 && recv(fd, &byte, 1, 0) < 0 && errno == ECONNRESET, "%m");
	close(fd);
}

/* In the second turn of the loop, the event of the test runs before that of the connected socket.
 */
Test(connect, a_connection_that_is_aborted_in_the_turn_in_which_it_connects_is_not_opened)
{
	unsigned port;
	int listener = listen_on_loopback(&port);
	serve("");
	struct event *first = evtimer_new(serving.w->base, abort_it, connect_to("127.0.0.1", port));
	MUST(event_base_loop(serving.w->base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
	cr_assert_eq(n_out_opened, 0);
	await_fd(listener, POLLIN, deadline(), "the connection");
	event_active(first, EV_TIMEOUT, 1);
	STEP_UNTIL(n_out_closed == 1);
	step_all();
	cr_assert_eq(n_out_opened, 0);
	expect_reset(listener);
	event_free(first);
	close(listener);
	serving_end();
}

Test(connect, a_connection_that_is_aborted_before_it_is_known_to_be_made_is_reset)
{
	unsigned port;
	int listener = listen_on_loopback(&port);
	serve("");
	struct connection *c = connect_to("127.0.0.1", port);
	MUST(event_base_loop(serving.w->base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
	cr_assert_eq(n_out_opened, 0);
	await_fd(listener, POLLIN, deadline(), "the connection");
	connection_abort(c);
	STEP_UNTIL(n_out_closed == 1);
	cr_assert_eq(n_out_opened, 0);
	expect_reset(listener);
	close(listener);
	serving_end();
}

static int accept_client(int listener)
{
	struct pollfd waiting = {.fd = listener, .events = POLLIN};
	STEP_UNTIL(poll(&waiting, 1, 0) == 1);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	MUST(fd >= 0);
	return fd;
}

static void expect_failure(const char *text)
{
	STEP_UNTIL(n_out_closed == 1);
	cr_assert_eq(n_out_opened, 0);
	cr_assert_str_eq(error_text, text);
	cr_assert_eq(count_of(COUNT_CONNECT_FAILED), 1);
	cr_assert_eq(count_of(COUNT_CONNECTED), 0);
}

Test(connect, bytes_flow_both_ways_also_those_written_early)
{
	unsigned port;
	int listener = listen_on_loopback(&port);
	serve("");
	struct connection *c = connect_to("127.0.0.1", port);
	cr_assert_eq(connection_write(c, "early ", 6), 0);
	int fd = accept_client(listener);
	STEP_UNTIL(n_out_opened == 1);
	cr_assert_eq(connection_write(c, "late", 4), 0);
	client_expect(fd, "early late");
	client_send(fd, "answer");
	STEP_UNTIL(strcmp(received, "answer") == 0);
	cr_assert_eq(count_of(COUNT_OUTGOING_SENT), 10);
	cr_assert_eq(count_of(COUNT_OUTGOING_RECEIVED), 6);
	cr_assert_eq(count_of(COUNT_SENT) + count_of(COUNT_RECEIVED), 0);
	close(fd);
	STEP_UNTIL(n_out_closed == 1);
	cr_assert_eq(n_out_ended, 1);
	cr_assert_str_eq(error_text, "");
	cr_assert_eq(count_of(COUNT_CONNECTED), 1);
	cr_assert_eq(count_of(COUNT_CONNECT_FAILED), 0);
	close(listener);
	serving_end();
}

Test(connect, a_refused_connection_reports_the_reason)
{
	unsigned port;
	serve("");
	close(listen_on_loopback(&port));
	connect_to("127.0.0.1", port);
	expect_failure("Connection refused");
	serving_end();
}

Test(connect, a_unix_socket_is_connected)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "server.sock"};
	char path[PATH_MAX], address[PATH_MAX + 8];
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(listener, 8) == 0);
	serve("");
	MUST(realpath("server.sock", path) != NULL);
	snprintf(address, sizeof(address), "unix:%s", path);
	cr_assert(worker_connect(serving.w, address, &out, NULL));
	STEP_UNTIL(n_out_opened == 1);
	close(listener);
	STEP_UNTIL(n_out_closed == 1);
	serving_end();
}

Test(connect, malformed_addresses_are_refused_at_once)
{
	static const char *const wrong[] = {"",
					    "host",
					    "host:",
					    ":80",
					    "host:http",
					    "::1:80",
					    "a/b:80",
					    "host:65536",
					    "127.0.0.1:70000",
					    "udp:127.0.0.1:80"};
	serve("");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		errno = 0;
		cr_assert_null(worker_connect(serving.w, wrong[i], &out, NULL), "%s", wrong[i]);
		cr_assert_eq(errno, EINVAL, "%s: %m", wrong[i]);
	}
	serving_end();
}

/* Names. */

Test(connect, the_second_address_of_a_name_is_tried)
{
	unsigned port;
	int listener = listen_on_loopback(&port);
	serve("");
	connect_to("two.test", port);
	STEP_UNTIL(n_out_opened == 1);
	close(listener);
	STEP_UNTIL(n_out_closed == 1);
	serving_end();
}

Test(connect, an_unknown_name_is_reported)
{
	serve("");
	connect_to("none.test", 80);
	expect_failure(gai_strerror(EAI_NONAME));
	serving_end();
}

Test(connect, a_lookup_that_does_not_end_times_out_and_its_result_is_discarded)
{
	serve("");
	connect_to("slow.test", 80);
	step_all();
	cr_assert_eq(n_out_closed, 0);
	pass_time(OPENING_SECONDS + 2);
	expect_failure("Connection timed out");
	serving_end();
	sem_post(&answer_slowly); /* the result arrives when the worker is gone */
}

Test(connect, a_connection_that_is_given_up_is_closed_once)
{
	serve("");
	struct connection *c = connect_to("slow.test", 80);
	connection_close(c);
	STEP_UNTIL(n_out_closed == 1);
	cr_assert_eq(count_of(COUNT_CONNECT_FAILED), 0, "the service gave it up");
	sem_post(&answer_slowly);
	serving_end();
}

Test(connect, early_bytes_that_find_no_memory_end_the_connection_at_once)
{
	serve("");
	struct connection *c = connect_to("slow.test", 80);
	lacks_memory = true;
	cr_assert_eq(connection_write(c, "early", 5), -1);
	STEP_UNTIL(n_out_closed == 1);
	sem_post(&answer_slowly);
	serving_end();
}

/* Wait until the thread of the last lookup waits for another one. */
static void await_idle_resolver(void)
{
	char path[64], state = 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)resolver);
	for (int64_t until = deadline(); state != 'S'; sched_yield()) {
		MUST(sscanf(file_text(path), "%*d (%*[^)]) %c", &state) == 1);
		if (is_past(until))
			fail_test("the resolver is not idle");
	}
}

Test(connect, a_lookup_does_not_wait_for_one_that_hangs)
{
	unsigned port;
	int listener = listen_on_loopback(&port);
	serve("");
	connect_to("fast.test", port); /* starts the first thread */
	STEP_UNTIL(n_out_opened == 1);
	await_idle_resolver();
	wakes_late = true;
	struct connection *slow = connect_to("slow.test", 80);
	connect_to("fast.test", port);
	STEP_UNTIL(n_out_opened == 2);
	connection_abort(slow);
	close(listener);
	STEP_UNTIL(n_out_closed == 3);
	sem_post(&answer_slowly);
	serving_end();
}

Test(connect, a_result_that_cannot_be_posted_times_out)
{
	serve("");
	sem_init(&refused, 0, 0);
	refuses = true;
	connect_to("two.test", 80);
	MUST(sem_wait(&refused) == 0);
	refuses = false;
	pass_time(OPENING_SECONDS + 2);
	expect_failure("Connection timed out");
	serving_end();
}

Test(connect, a_log_line_of_a_connection_that_is_not_made_says_so)
{
	int ends[2], saved = dup(STDERR_FILENO);
	serve("");
	struct connection *c = connect_to("slow.test", 80);
	MUST(saved >= 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
	MUST(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
	memset(c->connector, 'x', 3); /* the title must not be taken from there */
	log_set_format(LOG_AS_JSON);
	connection_log(c, LOG_NOTICE, "waits");
	log_set_format(LOG_AS_TEXT);
	MUST(dup2(saved, STDERR_FILENO) == STDERR_FILENO);
	char *line = fd_text(ends[0]);
	cr_assert(strstr(line, "\"listener\":\"\""), "%s", line);
	cr_assert(strstr(line, "\"peer\":\"not connected\""), "%s", line);
	free(line);
	close(ends[0]);
	close(ends[1]);
	close(saved);
	connection_abort(c);
	STEP_UNTIL(n_out_closed == 1);
	sem_post(&answer_slowly);
	serving_end();
}

/* Limits and drains. */

static int error_of_reconnect;

static void connect_again(struct connection *c)
{
	static const struct protocol persistent = {.data = out_data, .closed = connect_again};
	struct worker *w = connection_worker(c);
	errno = 0;
	if (++n_out_closed < 5 && !worker_connect(w, "127.0.0.1:1", &persistent, NULL))
		error_of_reconnect = errno;
}

Test(connect, a_forced_stop_ends_although_each_closed_connection_is_made_again)
{
	static const struct protocol persistent = {.data = out_data, .closed = connect_again};
	serve("");
	cr_assert(worker_connect(serving.w, "slow.test:80", &persistent, NULL));
	workers_close_connections(serving.workers);
	STEP_UNTIL(n_out_closed);
	cr_assert_eq(n_out_closed, 1);
	cr_assert_eq(error_of_reconnect, ESHUTDOWN);
	sem_post(&answer_slowly);
	serving_end();
}

Test(connect, the_limit_counts_open_connections)
{
	unsigned port;
	int listener = listen_on_loopback(&port);
	serve("limits { outgoing = 1 }");
	struct connection *c = connect_to("127.0.0.1", port);
	STEP_UNTIL(n_out_opened == 1);
	cr_assert_null(worker_connect(serving.w, "127.0.0.1:1", &out, NULL));
	cr_assert_eq(errno, EAGAIN);
	connection_abort(c);
	STEP_UNTIL(n_out_closed == 1);
	connect_to("127.0.0.1", port);
	STEP_UNTIL(n_out_opened == 2);
	close(listener);
	serving_end();
}

Test(connect, a_drain_waits_for_a_held_outgoing_connection)
{
	unsigned port;
	int listener = listen_on_loopback(&port);
	serve("");
	struct connection *held = connect_to("127.0.0.1", port);
	connection_hold(held);
	connect_to("127.0.0.1", port);
	STEP_UNTIL(n_out_opened == 2);
	workers_drain(serving.workers);
	STEP_UNTIL(n_out_closed == 1);
	step_all();
	cr_assert_not(workers_drained(serving.workers));
	connection_release(held);
	STEP_UNTIL(n_out_closed == 2);
	cr_assert(workers_drained(serving.workers));
	close(listener);
	serving_end();
}
