/* Peers that mean harm, all kinds at once, and one beside them that does not. */
#include "gang.h"
#include "http.h"
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

FIXTURE_SUITE(storm_hostile, fixture_use(f, LINES_BINARY));

enum { CROWD = 40, FEW = 1, BUFFER = 65536, PIECE = 16384 };

/* One process of each kind; what count[] counts is at each. */

/* One byte at a time on many connections, no line ever ends. Counts bytes. */
static void trickle(struct gang *g, unsigned i)
{
	int fd[CROWD];
	for (unsigned k = 0; k < CROWD; k++)
		fd[k] = gang_connect(g);
	for (unsigned k = 0; !atomic_load(&g->stop); k = (k + 1) % CROWD)
		if (send(fd[k], "x", 1, MSG_DONTWAIT) == 1) {
			atomic_fetch_add(&g->count[i], 1);
		} else if (errno != EAGAIN) { /* idle, if it was not too large before */
			close(fd[k]);
			if ((fd[k] = gang_connect(g)) < 0)
				return;
		}
}

/* Connections that say nothing and are reset. Counts connections. */
static void knock(struct gang *g, unsigned i)
{
	for (int fd; !atomic_load(&g->stop) && (fd = gang_connect(g)) >= 0;) {
		atomic_fetch_add(&g->count[i], 1);
		gang_reset(fd);
	}
}

/* A request without an end, as fast as it goes. Counts those that the daemon hung up on. */
static void never_end(struct gang *g, unsigned i)
{
	static char piece[PIECE];
	memset(piece, 'a', sizeof(piece));
	for (int fd; !atomic_load(&g->stop) && (fd = gang_connect(g)) >= 0; close(fd)) {
		while (!atomic_load(&g->stop) && send(fd, piece, sizeof(piece), 0) > 0)
			;
		if (errno == ECONNRESET || errno == EPIPE)
			atomic_fetch_add(&g->count[i], 1);
	}
}

/* Any bytes, what comes back is read; reset in the middle. Counts pieces. */
static void babble(struct gang *g, unsigned i)
{
	static unsigned char piece[PIECE], answer[PIECE];
	uint32_t random = 2463534242;
	for (int fd; !atomic_load(&g->stop) && (fd = gang_connect(g)) >= 0; gang_reset(fd))
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
			atomic_fetch_add(&g->count[i], 1);
		}
}

/* Many connections with as many requests as go through, and no answer is ever read. Counts
 * connections that are stuffed. */
static void never_read(struct gang *g, unsigned i)
{
	static char piece[PIECE];
	int fd[CROWD];
	for (size_t k = 0; k < sizeof(piece); k++)
		piece[k] = k % 16 == 15 ? '\n' : 'r';
	for (unsigned k = 0; k < CROWD; k++) {
		fd[k] = gang_connect(g);
		while (fd[k] >= 0 && send(fd[k], piece, sizeof(piece), MSG_DONTWAIT) > 0)
			;
		atomic_fetch_add(&g->count[i], 1);
	}
	while (!atomic_load(&g->stop)) /* until it is closed for being idle, and on */
		for (unsigned k = 0; k < CROWD; k++)
			send(fd[k], piece, sizeof(piece), MSG_DONTWAIT);
}

/* A peer whose machine is gone, in the middle of it: no packet is taken or answered any more. */
static bool vanish(int fd)
{
	struct sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sock_fprog program = {1, nothing};
	return send(fd, "hello\nhello\n", 12, 0) == 12 &&
	       setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0 &&
	       send(fd, "hel", 3, 0) == 3;
}

/* Counts those. */
static void be_gone(struct gang *g, unsigned i)
{
	for (unsigned k = 0; k < CROWD; k++)
		if (vanish(gang_connect(g)))
			atomic_fetch_add(&g->count[i], 1);
	while (!atomic_load(&g->stop))
		sched_yield();
}

static void (*const kinds[])(struct gang *g, unsigned i) = {trickle, knock,	 never_end,
							    babble,  never_read, be_gone};
enum { TRICKLE, KNOCK, NEVER_END, BABBLE, NEVER_READ, BE_GONE, KINDS };

static void attack(struct gang *g, unsigned i)
{
	if (nice(5) < 0)
		return;
	kinds[i](g, i);
}

static long pss_kib(void)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)f->pid);
	const char *text = file_text(f, path), *at = text ? strstr(text, "\nPss:") : NULL;
	MUST(at);
	return strtol(at + 5, NULL, 10);
}

/* Who means no harm. */
struct customer {
	int client;
	unsigned said, asked; /* on this connection, on all */
	double last;
};

static void come(struct customer *c)
{
	c->client = client_connect(f, "main");
	c->said = 0;
	c->last = seconds_now();
}

static void come_again(struct customer *c)
{
	client_close(f, c->client);
	come(c);
}

static void ask(struct customer *c)
{
	char line[64];
	if (seconds_now() > c->last + 1) /* the machine stood still: idle_timeout is near */
		come_again(c);
	client_send(f, c->client, "so much as a word?\n", 19);
	snprintf(line, sizeof(line), "%u: so much as a word?\n", ++c->said);
	client_expect_text(f, c->client, line);
	c->asked++;
	c->last = seconds_now();
}

static double closed(const char *reason)
{
	char metric[96];
	snprintf(metric, sizeof(metric), "skeld_connections_closed_total{reason=\"%s\"}", reason);
	return stats_value(f, metric);
}

/* In the line that closes the run: "accepted 12, closed by peer 3 error 9". */
static void expect_all_told(void)
{
	const char *line = log_line_with(f, "stats connections:"), *at;
	long accepted = 0, open = 0, sum = 0, n;
	int used;
	cr_assert(line &&
		  sscanf(strstr(line, "open"), "open %ld, accepted %ld", &open, &accepted) == 2);
	at = strstr(line, "closed by") + strlen("closed by");
	for (char reason[16]; sscanf(at, " %15[a-z] %ld%n", reason, &n, &used) == 2; at += used)
		sum += n;
	cr_assert_eq(accepted, sum + open, "%s", line);
	cr_assert_eq(open, 0);
	fprintf(stderr, "# %s\n", strstr(line, "accepted"));
}

/* Lines that nobody asked for: all but those of a dump, and that a worker does not answer, which
 * a machine says that is overloaded: those who attack take the processors as well. */
static size_t log_lines(void)
{
	size_t n = 0;
	for (const char *at = log_text(f), *end; (end = strchr(at, '\n')); at = end + 1) {
		size_t length = (size_t)(end - at);
		n += !memmem(at, length, " stats ", 7) && !memmem(at, length, ": dump stats", 12) &&
		     !memmem(at, length, "has not answered", 16) &&
		     !memmem(at, length, "answers again", 13);
	}
	return n;
}

static bool all_had_their_way(const struct gang *g)
{
	bool all = true;
	for (unsigned i = 0; i < KINDS; i++)
		all = all && gang_count(g, i) >= (i == NEVER_READ || i == BE_GONE ? CROWD : FEW);
	return all;
}

static void tell(const struct gang *g)
{
	for (unsigned i = 0; i < KINDS; i++)
		fprintf(stderr, "# kind %u: %llu\n", i, (unsigned long long)gang_count(g, i));
}

Test(storm_hostile, peers_of_all_kinds_harm_nobody_else)
{
	unsigned rounds = is_long() ? 5000 : 200;
	struct customer customer = {0}, *c = &customer;
	setenv("SKELD_TEST_SLOW", "6", 1); /* who is served in turn waits for the others */
	daemon_start(f, "workers = 2\nadmin { address = \"\" }\ndrain_timeout = 3\n" LISTEN_MAIN
			"limits { connections = 400 buffer = 65536 idle_timeout = 3 }\n");
	come(c);
	ask(c);
	long before = pss_kib(), most = before;
	await(f, log_contains(f, "ready: generation 1"));
	size_t lines = log_lines();
	struct gang *g = gang_start(f, KINDS, attack);
	uint64_t others = 0;
	/* Until each of them has had its way, and longer. */
	for (int64_t until = deadline(); !all_had_their_way(g) || c->asked < rounds;) {
		if (is_past(until) && c->asked >= rounds)
			tell(g), give_up(f, "not all kinds had their way");
		ask(c);
		most = c->asked % 20 ? most : pss_kib() > most ? pss_kib() : most;
		if (c->asked % 50 == 0) /* whoever comes now is served, too */
			come_again(c);
	}
	for (unsigned i = 0; i < KINDS; i++)
		others += gang_count(g, i);
	tell(g);
	fprintf(stderr, "# %u answers, %llu events of others, Pss %ld -> %ld KiB\n", c->asked,
		(unsigned long long)others, before, most);
	/* At most a buffer each way, in chunks of up to twice the size, and what it takes itself.
	 */
	long bound = before + 3 * CROWD * 4 * BUFFER / 1024 + 1024;
	if (SANITIZED(""))
		cr_assert_leq(most, bound, "%ld KiB, at most %ld", most, bound);
	/* Who was gone or did not read is closed for that, while those who do something are not. */
	for (int64_t until = deadline();
	     stats_fresh(f, "skeld_connections_open") < 0 || closed("idle") < 2 * CROWD;) {
		ask(c);
		await_turn(f, until, "those who are gone to be closed");
	}
	double ended = (double)gang_count(g, NEVER_END), left = (double)gang_count(g, KNOCK);
	for (int64_t until = deadline(); closed("overflow") < ended || closed("error") < left / 2 ||
					 closed("overflow") + closed("idle") < ended + 3 * CROWD;
	     stats_dump(f)) {
		ask(c);
		await_turn(f, until, "those who were hung up on and those who left to be counted");
	}
	cr_assert_eq(closed("limit"), 0);
	cr_assert_leq(log_lines(), lines, "%s", log_text(f));
	ask(c);

	daemon_signal(f, SIGINT); /* under attack */
	cr_assert_eq(daemon_wait_exit(f), 0);
	expect_all_told();
	gang_stop(f, g);
	gang_free(g);
}

/* The admin port. It has room for few, whose time is short: who is pushed out may ask again. */
Test(storm_hostile, peers_of_all_kinds_keep_no_operator_out)
{
	unsigned rounds = is_long() ? 2000 : 100, answered = 0, asked = 0;
	struct customer customer = {0}, *c = &customer;
	setenv("SKELD_TEST_SLOW", "6", 1);
	daemon_start(f, "workers = 2\nadmin { address = \"127.0.0.1:0\" }\n" LISTEN_MAIN);
	come(c);
	cr_assert_eq(http_get(f, "/livez"), 200);
	long before = pss_kib(), most = before;
	struct gang *g = gang_start_at(f, "admin", KINDS, attack);
	uint64_t events = 0;
	for (int64_t until = deadline(); answered < rounds || events < 1000;) {
		int code = http_get(f, asked++ % 2 ? "/metrics" : "/readyz");
		cr_assert(code == 200 || code == 0, "%d", code);
		answered += code == 200;
		if (code == 200)
			until = deadline();
		if (code == 200 && answered % 10 == 0) { /* nor is anything else held up */
			ask(c);
			daemon_reload_and_wait(f);
		}
		most = pss_kib() > most ? pss_kib() : most;
		events = 0;
		for (unsigned i = 0; i < KINDS; i++)
			events += gang_count(g, i);
		if (is_past(until))
			tell(g), give_up(f, "%u of %u were answered", answered, asked);
	}
	fprintf(stderr, "# %u of %u answered, %llu events of others, Pss %ld -> %ld KiB\n",
		answered, asked, (unsigned long long)events, before, most);
	if (SANITIZED("")) /* 32 clients, what they ask and are told */
		cr_assert_leq(most, before + 2048, "%ld KiB, then %ld", before, most);
	expect_signals_accounted(f);
	cr_assert_eq(log_count_warnings(f) + log_count(f, " error   "), 0, "%s", log_text(f));
	daemon_signal(f, SIGINT);
	cr_assert_eq(daemon_wait_exit(f), 0);
	gang_stop(f, g);
	gang_free(g);
}
