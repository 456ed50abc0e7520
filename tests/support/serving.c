#include "serving.h"

#include "data/load.h"
#include "fixture.h"
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct serving serving;

static int on_opened(struct connection *c)
{
	serving.n_opened++;
	serving.last = c;
	return serving.opened ? serving.opened(c) : 0;
}

static size_t on_data(struct connection *c, const char *bytes, size_t n)
{
	size_t used = strlen(serving.offered);
	cr_assert_gt(n, 0);
	serving.n_data++;
	snprintf(serving.offered + used, sizeof(serving.offered) - used, "[%.*s]", (int)n, bytes);
	return serving.data ? serving.data(c, bytes, n) : n;
}

static void on_writable(struct connection *c)
{
	serving.n_writable++;
	if (serving.writable)
		serving.writable(c);
}

static void on_ended(struct connection *c)
{
	serving.n_ended++;
	if (serving.ended)
		serving.ended(c);
}

static void on_ending(struct connection *c, enum ending_reason why)
{
	serving.n_ending++;
	if (serving.ending)
		serving.ending(c, why);
}

static void on_draining(struct connection *c)
{
	serving.n_draining++;
	if (serving.draining)
		serving.draining(c);
}

static void on_closed(struct connection *c)
{
	serving.n_closed++;
	if (serving.closed)
		serving.closed(c);
}

static void on_drain(struct worker *w)
{
	serving.n_drain++;
	if (serving.drain)
		serving.drain(w);
}

static void on_datagram(struct worker *w, const struct datagram_peer *from, const char *bytes,
			size_t n)
{
	serving.n_datagrams++;
	if (serving.datagram)
		serving.datagram(w, from, bytes, n);
}

static void on_reloaded(struct worker *w)
{
	cr_assert_eq(w, serving.w);
	serving.n_reloaded++;
}

static const struct service_metric metrics[] = {
	[COUNTED] = {"test_counted_total", METRIC_COUNTER, "What the test counts", "test",
		     "counted"},
	{0},
};
struct test_config {
	char *greeting;
};
static const struct service_option options[] = {{.name = "greeting",
						 .type = OPTION_TEXT,
						 .offset = offsetof(struct test_config, greeting),
						 .default_value = "hello",
						 .help = "The text"},
						{0}};
static struct service service_under_test = {.name = "test",
					    .options = options,
					    .config_size = sizeof(struct test_config),
					    .metrics = metrics,
					    .protocol = {.opened = on_opened,
							 .data = on_data,
							 .ended = on_ended,
							 .draining = on_draining,
							 .ending = on_ending,
							 .closed = on_closed},
					    .drain = on_drain,
					    .datagram = on_datagram,
					    .reloaded = on_reloaded};
static const struct service_schema schema = {"test", options, .size = sizeof(struct test_config),
					     .datagrams = true};

/* The certificates of the tls sections of S. */
static void load_tls(struct snapshot *s, struct config *c, const struct snapshot *old)
{
	struct load load = {
		.service = &service_under_test, .file = "skeld.conf", .timeout_seconds = 60};
	struct errors e = {0};
	size_t before = open_descriptors();
	struct loaded *loaded = load_wait(&load, c, old ? old->tls : NULL, &e);
	cr_assert(loaded, "%s", errors_text(&e, 0));
	for (int64_t until = deadline(); open_descriptors() > before; sched_yield())
		if (is_past(until))
			fail_test("the thread that loads has not ended");
	snapshot_set_loaded(s, loaded);
}

struct snapshot *snapshot_of(const char *conf, const struct snapshot *old)
{
	static const struct listeners none;
	struct errors e = {0};
	char *text = NULL;
	MUST(asprintf(&text,
		      "admin { address = \"\" }\n"
		      "listen \"main\" { address = \"127.0.0.1:0\" %s }\n%s\n",
		      serving.listen ? serving.listen : "", conf) > 0);
	file_write("skeld.conf", text);
	free(text);
	struct config *c = config_parse("skeld.conf", &schema, &e);
	cr_assert(c, "%s", errors_text(&e, 0));
	struct snapshot *s = snapshot_new(c, old, &none, &none, 1, &e);
	cr_assert(s, "%s", errors_text(&e, 0));
	if (c->n_tls)
		load_tls(s, c, old);
	return s;
}

void serve(const char *conf)
{
	struct errors e = {0};
	/* With this callback, the daemon leaves back-pressure to the service. */
	service_under_test.protocol.writable = serving.writable ? on_writable : NULL;
	serving.progress_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	MUST(serving.progress_fd >= 0);
	serving.workers = workers_new(&service_under_test, 1, serving.progress_fd, &e);
	cr_assert(serving.workers, "%s", errors_text(&e, 0));
	serving.w = &serving.workers->worker[0];
	event_del(serving.w->tick); /* see pass_time() */
	serving.snapshot = snapshot_of(conf, NULL);
	/* As the worker's thread does at its start. */
	serving.w->snapshot = snapshot_ref(serving.snapshot);
	serving.w->generation = 1;
	acceptors_update(serving.w, serving.snapshot);
}

void serving_publish(const char *conf)
{
	struct snapshot *old = serving.snapshot;
	serving.snapshot = snapshot_of(conf, old);
	workers_publish(serving.workers, serving.snapshot);
	STEP_UNTIL(workers_behind(serving.workers, serving.snapshot->generation, NULL) == 0);
	snapshot_unref(old);
}

void serving_end(void)
{
	workers_close_connections(serving.workers);
	STEP_UNTIL(workers_drained(serving.workers));
	cr_assert_eq(serving.n_opened, serving.n_closed, "`closed` was called %u times for %u",
		     serving.n_closed, serving.n_opened);
	cr_assert_eq(workers_open_connections(serving.workers), 0);
	uint64_t closed = 0;
	for (size_t i = 0; i < N_CLOSE_REASONS; i++)
		closed += closed_by((enum close_reason)i);
	cr_assert_eq(closed, count_of(COUNT_ACCEPTED));
	step_all(); /* free the last released connections */
	workers_free(serving.workers);
	snapshot_unref(serving.snapshot);
	close(serving.progress_fd);
	libevent_global_shutdown();
	EXPECT_NOTHING_LEFT();
}

void step(void)
{
	MUST(event_base_loop(serving.w->base, EVLOOP_NONBLOCK) >= 0);
}

void step_all(void)
{
	for (int i = 0; i < 10; i++)
		step();
}

void pass_time(unsigned seconds)
{
	while (seconds--) {
		serving.w->now++;
		connection_list_tick(serving.w);
	}
}

uint64_t count_of(size_t counter)
{
	return serving.w->counters[counter];
}

uint64_t closed_by(enum close_reason why)
{
	return count_of(COUNT_CLOSED + (size_t)why);
}

int client_new(void)
{
	unsigned before = serving.n_opened;
	int fd = peer_connect(&serving.snapshot->listener[0]->actual);
	MUST(fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	STEP_UNTIL(serving.n_opened > before);
	return fd;
}

int serve_one(size_t (*data)(struct connection *c, const char *bytes, size_t n), const char *conf,
	      const char *text)
{
	serving.data = data;
	serve(conf);
	int client = client_new();
	client_send(client, text);
	return client;
}

void slow_down(void)
{
	int small = 4096;
	MUST(setsockopt(serving.last->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
}

void client_send(int fd, const char *text)
{
	MUST(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* Run the loop until FD has bytes. Returns their number, 0 at the end. */
static size_t receive(int fd, void *bytes, size_t n)
{
	ssize_t got;
	STEP_UNTIL((got = recv(fd, bytes, n, MSG_DONTWAIT)) >= 0 || errno != EAGAIN);
	cr_assert_geq(got, 0, "%s", strerror(errno));
	return (size_t)got;
}

void client_expect(int fd, const char *text)
{
	char is[4096];
	size_t n = strlen(text), got = 0;
	cr_assert_lt(n, sizeof(is));
	for (size_t more = 1; got < n && more; got += more)
		more = receive(fd, is + got, n - got);
	is[got] = '\0';
	cr_assert_str_eq(is, text, "\"%s\", expected \"%s\"", is, text);
}

void client_expect_pattern(int fd, size_t n)
{
	static char is[65536];
	for (size_t at = 0, got; at < n; at += got) {
		got = receive(fd, is, n - at < sizeof(is) ? n - at : sizeof(is));
		cr_assert_gt(got, 0, "the end came after %zu bytes of %zu", at, n);
		cr_assert_eq(memcmp(is, pattern(at, got), got), 0, "after byte %zu", at);
	}
}

void client_expect_end(int fd)
{
	char byte;
	cr_assert_eq(receive(fd, &byte, 1), 0, "more comes: '%c'", byte);
}

const char *pattern(size_t first, size_t n)
{
	static char bytes[1 << 21];
	cr_assert_leq(first % 256 + n, sizeof(bytes));
	if (!bytes[1])
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (char)(i % 256);
	return bytes + first % 256;
}

size_t echo(struct connection *c, const char *bytes, size_t n)
{
	connection_write(c, bytes, n);
	worker_count(connection_worker(c), COUNTED, 1);
	return n;
}

size_t echo_lines(struct connection *c, const char *bytes, size_t n)
{
	const char *end = memrchr(bytes, '\n', n);
	return end ? echo(c, bytes, (size_t)(end + 1 - bytes)) : 0;
}

bool has_progress(void)
{
	eventfd_t n;
	return eventfd_read(serving.progress_fd, &n) == 0;
}
