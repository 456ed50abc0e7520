/* Hostile clients of all kinds and a well-behaved client at the same time. */
/* test: TIMEOUT 300 LABELS all */
/* test: NAME long ENV SKELD_LONG=1 TIMEOUT 3600 LABELS long */
#include "http.h"
#include "load.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

DAEMON_SUITE(storm_hostile_clients, daemon_use(LINES_BINARY));

enum { CONNECTIONS = 40, BUFFER = 65536, PIECE = 16384 };

/* One process for each kind of client. Process I counts in count[I] what its function states. */

/* Send one byte at a time on many connections, never a whole line. Counts bytes. */
static void send_slowly(struct load *load, unsigned i)
{
	int fd[CONNECTIONS];
	for (unsigned k = 0; k < CONNECTIONS; k++)
		fd[k] = load_connect(load);
	for (unsigned k = 0; !atomic_load(&load->stop); k = (k + 1) % CONNECTIONS)
		if (send(fd[k], "x", 1, MSG_DONTWAIT) == 1) {
			atomic_fetch_add(&load->count[i], 1);
		} else if (errno != EAGAIN) { /* closed as idle, or as an overflow before that */
			close(fd[k]);
			if ((fd[k] = load_connect(load)) < 0)
				return;
		}
}

/* Connect, send nothing, reset. Counts connections. */
static void connect_and_reset(struct load *load, unsigned i)
{
	for (int fd; !atomic_load(&load->stop) && (fd = load_connect(load)) >= 0;) {
		atomic_fetch_add(&load->count[i], 1);
		load_reset(fd);
	}
}

/* Send an endless request at full speed. Counts connections that the daemon closed. */
static void send_endless_request(struct load *load, unsigned i)
{
	static char piece[PIECE];
	memset(piece, 'a', sizeof(piece));
	for (int fd; !atomic_load(&load->stop) && (fd = load_connect(load)) >= 0; close(fd)) {
		while (!atomic_load(&load->stop) && send(fd, piece, sizeof(piece), 0) > 0)
			;
		if (errno == ECONNRESET || errno == EPIPE)
			atomic_fetch_add(&load->count[i], 1);
	}
}

/* Send random bytes, read the answers, reset in the middle. Counts pieces. */
static void send_random(struct load *load, unsigned i)
{
	static unsigned char piece[PIECE], answer[PIECE];
	uint32_t random = 2463534242;
	for (int fd; !atomic_load(&load->stop) && (fd = load_connect(load)) >= 0; load_reset(fd))
		for (unsigned n = 0; n < 20; n++) {
			for (size_t k = 0; k < sizeof(piece); k++) {
				random ^= random << 13, random ^= random >> 17,
					random ^= random << 5;
				piece[k] = (unsigned char)random;
			}
			if (send(fd, piece, sizeof(piece), 0) < 0)
				break;
			while (recv(fd, answer, sizeof(answer), MSG_DONTWAIT) > 0)
				;
			atomic_fetch_add(&load->count[i], 1);
		}
}

/* Send requests on many connections until the socket is full, never read an answer. Counts
 * connections. */
static void never_read(struct load *load, unsigned i)
{
	static char piece[PIECE];
	int fd[CONNECTIONS];
	for (size_t k = 0; k < sizeof(piece); k++)
		piece[k] = k % 16 == 15 ? '\n' : 'r';
	for (unsigned k = 0; k < CONNECTIONS; k++) {
		fd[k] = load_connect(load);
		while (fd[k] >= 0 && send(fd[k], piece, sizeof(piece), MSG_DONTWAIT) > 0)
			;
		atomic_fetch_add(&load->count[i], 1);
	}
	while (!atomic_load(&load->stop)) /* keep trying, also after the daemon has closed them */
		for (unsigned k = 0; k < CONNECTIONS; k++)
			send(fd[k], piece, sizeof(piece), MSG_DONTWAIT);
}

/* Act as a machine that lost its network within a request: the filter drops every packet. */
static bool vanish(int fd)
{
	struct sock_filter drop_all[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sock_fprog program = {1, drop_all};
	return send(fd, "hello\nhello\n", 12, 0) == 12 &&
	       setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0 &&
	       send(fd, "hel", 3, 0) == 3;
}

/* Counts connections. */
static void vanish_and_stay(struct load *load, unsigned i)
{
	for (unsigned k = 0; k < CONNECTIONS; k++)
		if (vanish(load_connect(load)))
			atomic_fetch_add(&load->count[i], 1);
	while (!atomic_load(&load->stop))
		sched_yield();
}

static const struct kind {
	const char *name;
	void (*run)(struct load *load, unsigned i);
} kinds[] = {
	{"slow", send_slowly},	 {"reset", connect_and_reset}, {"endless", send_endless_request},
	{"random", send_random}, {"never_read", never_read},   {"vanished", vanish_and_stay}};
enum { SLOW, RESET, ENDLESS, RANDOM, NEVER_READ, VANISHED, KINDS };

static void attack(struct load *load, unsigned i)
{
	if (nice(5) < 0)
		return;
	kinds[i].run(load, i);
}

static long pss_kib(void)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)daemon_pid);
	const char *text = file_text(path), *at = text ? strstr(text, "\nPss:") : NULL;
	MUST(at);
	return strtol(at + 5, NULL, 10);
}

/* The well-behaved client: it sends a line and waits for the numbered answer. */
struct good_client {
	int client;
	unsigned lines;	   /* on this connection; the service numbers them */
	unsigned requests; /* on all connections */
	double last;	   /* request, in seconds_now() */
};

static void good_client_connect(struct good_client *c)
{
	c->client = client_connect("main");
	c->lines = 0;
	c->last = seconds_now();
}

static void good_client_reconnect(struct good_client *c)
{
	client_close(c->client);
	good_client_connect(c);
}

static void good_client_request(struct good_client *c)
{
	char line[64];
	if (seconds_now() > c->last + 1) /* the test was delayed: idle_timeout may close it */
		good_client_reconnect(c);
	client_send_bytes(c->client, "one more request\n", 17);
	snprintf(line, sizeof(line), "%u: one more request\n", ++c->lines);
	client_expect(c->client, line);
	c->requests++;
	c->last = seconds_now();
}

static double closed_by(const char *reason)
{
	char metric[96];
	snprintf(metric, sizeof(metric), "skeld_connections_closed_total{reason=\"%s\"}", reason);
	return stats_value(metric);
}

/* In the last statistics: "open=0 accepted=12 closed_peer=3 closed_error=9". */
static void expect_connections_accounted(void)
{
	const char *line = log_line_with("stats connections:"), *at;
	long accepted = 0, open = 0, sum = 0, n;
	int used;
	cr_assert(line &&
		  sscanf(strstr(line, "open"), "open=%ld accepted=%ld", &open, &accepted) == 2);
	at = strstr(line, " closed_");
	for (char reason[16]; sscanf(at, " closed_%15[a-z]=%ld%n", reason, &n, &used) == 2;
	     at += used)
		sum += n;
	cr_assert_eq(accepted, sum + open, "%s", line);
	cr_assert_eq(open, 0);
	fprintf(stderr, "# %s\n", strstr(line, "accepted"));
}

/*
 * Lines in the log, except the statistics that the test requests and reports of workers that do not
 * respond: the attackers also take processor time from the workers.
 */
static size_t count_log_lines(void)
{
	size_t n = 0;
	for (const char *at = log_text(), *end; (end = strchr(at, '\n')); at = end + 1) {
		size_t length = (size_t)(end - at);
		n += !memmem(at, length, " stats ", 7) &&
		     !memmem(at, length, ": dump statistics", 17) &&
		     !memmem(at, length, "worker not responding:", 22) &&
		     !memmem(at, length, "worker responding again:", 24);
	}
	return n;
}

/* Each kind has done at least once what it counts. */
static bool all_kinds_active(const struct load *load)
{
	bool all = true;
	for (unsigned i = 0; i < KINDS; i++)
		all = all &&
		      load_count(load, i) >= (i == NEVER_READ || i == VANISHED ? CONNECTIONS : 1);
	return all;
}

static uint64_t count_all(const struct load *load)
{
	uint64_t all = 0;
	for (unsigned i = 0; i < KINDS; i++)
		all += load_count(load, i);
	return all;
}

static void print_counts(const struct load *load)
{
	for (unsigned i = 0; i < KINDS; i++)
		fprintf(stderr, "# %s: %llu\n", kinds[i].name,
			(unsigned long long)load_count(load, i));
}

/* Memory of the daemon in KiB: before the attack, and the most so far. */
struct memory {
	long before, most;
};

static struct memory measure_memory(void)
{
	long now = pss_kib();
	return (struct memory){.before = now, .most = now};
}

static void update_memory(struct memory *m)
{
	long now = pss_kib();
	m->most = now > m->most ? now : m->most;
}

/* Request until each kind was active and N requests are answered. */
static void request_under_attack(struct good_client *c, const struct load *load, unsigned n,
				 struct memory *memory)
{
	for (int64_t until = deadline(); !all_kinds_active(load) || c->requests < n;) {
		if (is_past(until) && c->requests >= n) {
			print_counts(load);
			fail_test("not every kind of client was active");
		}
		good_client_request(c);
		if (c->requests % 20 == 0)
			update_memory(memory);
		if (c->requests % 50 == 0) /* new connections are accepted, too */
			good_client_reconnect(c);
	}
	print_counts(load);
	fprintf(stderr, "# %u answers, %llu events of hostile clients, Pss %ld -> %ld KiB\n",
		c->requests, (unsigned long long)count_all(load), memory->before, memory->most);
}

/* Wait until the daemon has closed each hostile connection for the reason that applies to it. */
static void expect_closed_by_reason(struct good_client *c, const struct load *load)
{
	for (int64_t until = deadline();
	     stats_fresh("skeld_connections_open") < 0 || closed_by("idle") < 2 * CONNECTIONS;) {
		good_client_request(c);
		await_turn(until, "vanished clients and those that never read to be closed");
	}
	double endless = (double)load_count(load, ENDLESS), reset = (double)load_count(load, RESET);
	for (int64_t until = deadline();
	     closed_by("overflow") < endless || closed_by("error") < reset / 2 ||
	     closed_by("overflow") + closed_by("idle") < endless + 3 * CONNECTIONS;
	     stats_dump()) {
		good_client_request(c);
		await_turn(until, "endless requests and resets to be counted");
	}
	cr_assert_eq(closed_by("limit"), 0);
}

Test(storm_hostile_clients, attack_delays_no_other_client_and_is_counted_by_reason)
{
	struct good_client client = {0}, *c = &client;
	daemon_start("workers = 2\nadmin { address = \"\" }\ndrain_timeout = 3\n" LISTEN_MAIN
		     "limits { connections = 400 buffer = 65536 idle_timeout = 3 }\n");
	good_client_connect(c);
	good_client_request(c);
	AWAIT(log_contains("ready: generation=1"));
	size_t lines = count_log_lines();
	struct memory memory = measure_memory();
	struct load *load = load_start(KINDS, attack);
	request_under_attack(c, load, is_long_form() ? 5000 : 200, &memory);
	/* A buffer each way, in chunks of up to twice that size, and 1 MiB for the daemon itself.
	 */
	long bound = memory.before + 3 * CONNECTIONS * 4 * BUFFER / 1024 + 1024;
	if (SANITIZED(""))
		cr_assert_leq(memory.most, bound, "%ld KiB, at most %ld", memory.most, bound);
	expect_closed_by_reason(c, load);
	cr_assert_leq(count_log_lines(), lines, "%s", log_text());
	good_client_request(c);

	daemon_signal(SIGINT); /* the attack goes on */
	cr_assert_eq(daemon_wait_exit(), 0);
	expect_connections_accounted();
	load_stop(load);
	load_free(load);
}

/*
 * Send GET requests until N are answered with 200. The admin server has few places, so a hostile
 * client may push a request out: it gets no answer, and the next one may.
 */
static void get_under_attack(struct good_client *c, const struct load *load, unsigned n,
			     struct memory *memory)
{
	unsigned answered = 0, sent = 0;
	for (int64_t until = deadline(); answered < n || count_all(load) < 1000;) {
		int code = http_get(sent++ % 2 ? "/metrics" : "/readyz");
		cr_assert(code == 200 || code == 0, "%d", code);
		answered += code == 200;
		if (code == 200)
			until = deadline();
		if (code == 200 && answered % 10 == 0) { /* clients and reloads are served, too */
			good_client_request(c);
			daemon_reload_and_wait();
		}
		update_memory(memory);
		if (is_past(until)) {
			print_counts(load);
			fail_test("%u of %u requests were answered", answered, sent);
		}
	}
	fprintf(stderr, "# %u of %u answered, %llu events of hostile clients, Pss %ld -> %ld KiB\n",
		answered, sent, (unsigned long long)count_all(load), memory->before, memory->most);
}

Test(storm_hostile_clients, attack_on_the_admin_port_does_not_lock_out_the_operator)
{
	struct good_client client = {0}, *c = &client;
	daemon_start("workers = 2\nadmin { address = \"127.0.0.1:0\" }\n" LISTEN_MAIN);
	good_client_connect(c);
	cr_assert_eq(http_get("/livez"), 200);
	struct memory memory = measure_memory();
	struct load *load = load_start_at("admin", KINDS, attack);
	get_under_attack(c, load, is_long_form() ? 2000 : 100, &memory);
	if (SANITIZED("")) /* 32 connections of the admin server, with requests and answers */
		cr_assert_leq(memory.most, memory.before + 2048, "%ld KiB, then %ld", memory.before,
			      memory.most);
	expect_signals_accounted();
	cr_assert_eq(log_count_warnings() + log_count(" error   "), 0, "%s", log_text());
	daemon_signal(SIGINT);
	cr_assert_eq(daemon_wait_exit(), 0);
	load_stop(load);
	load_free(load);
}
