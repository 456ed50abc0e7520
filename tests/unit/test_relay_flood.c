/* control/relay: no flood loses anything or hides anything. What bare libevent does stands at the
 * end. */
#include "fixture.h"
#include "relay_loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(relay, .init = relay_loop_start, .fini = fixture_leave);

static uint64_t counted(int signal)
{
	uint64_t n = 0;
	for (size_t i = 0; i < loop.n; i++)
		if (loop.taken[i].signal == signal)
			n += loop.taken[i].count;
	return n;
}

/* Fill the ring with USR1 and HUP in turns; the last one is HUP. */
static void fill_ring(void)
{
	for (int i = 0; i < RELAY_RING; i++)
		raise(i % 2 ? SIGHUP : SIGUSR1);
}

/* The arrivals past a full ring. */
static void expect_late(const struct arrival *expected, size_t n)
{
	cr_assert_eq(loop.n, RELAY_RING + n);
	for (size_t i = 0; i < RELAY_RING; i++)
		cr_assert_eq(loop.taken[i].signal, i % 2 ? SIGHUP : SIGUSR1);
	for (size_t i = 0; i < n; i++) {
		cr_assert_eq(loop.taken[RELAY_RING + i].signal, expected[i].signal, "late %zu", i);
		cr_assert_eq(loop.taken[RELAY_RING + i].count, expected[i].count, "late %zu", i);
	}
}

Test(relay, a_flood_of_one_kind_hides_no_other)
{
	raise_times(SIGUSR1, 70000);
	raise(SIGHUP);
	raise(SIGINT);
	turn();
	expect_kinds((int[]){SIGUSR1, SIGHUP, SIGINT}, 3);
	cr_assert_eq(loop.taken[0].count, 70000);
	cr_assert_eq(relay_received(SIGUSR1), 70000);
	cr_assert_eq(relay_received(SIGHUP), 1);
	cr_assert_eq(loop.callbacks, 1);
	relay_loop_end();
}

Test(relay, every_delivery_past_the_ring_is_accounted_for)
{
	for (int i = 0; i < 10000; i++)
		raise(i % 2 ? SIGHUP : SIGUSR1);
	raise(SIGUSR2);
	raise(SIGINT);
	raise_times(SIGUSR2, 6);
	turn();
	const uint64_t rest = (10000 - RELAY_RING) / 2;
	expect_late((struct arrival[]){{.signal = SIGUSR1, .count = rest},
				       {.signal = SIGHUP, .count = rest},
				       {.signal = SIGUSR2, .count = 7},
				       {.signal = SIGINT, .count = 1}},
		    4);
	for (size_t i = 0; i < N_KINDS; i++)
		cr_assert_eq(counted(kinds[i]), relay_received(kinds[i]));
	cr_assert_eq(relay_received(SIGUSR1) + relay_received(SIGHUP), 10000);
	cr_assert_eq(loop.callbacks, 1);
	relay_loop_end();
}

Test(relay, kinds_past_the_ring_come_in_the_order_of_their_first)
{
	fill_ring();
	raise(SIGHUP); /* goes with the ring's last */
	raise(SIGTERM);
	raise(SIGHUP);
	raise(SIGUSR2);
	raise(SIGINT);
	raise(SIGUSR1);
	raise(SIGQUIT);
	raise(SIGHUP);
	turn();
	cr_assert_eq(loop.taken[RELAY_RING - 1].count, 2);
	expect_late((struct arrival[]){{.signal = SIGTERM, .count = 1},
				       {.signal = SIGHUP, .count = 2},
				       {.signal = SIGUSR2, .count = 1},
				       {.signal = SIGINT, .count = 1},
				       {.signal = SIGUSR1, .count = 1},
				       {.signal = SIGQUIT, .count = 1}},
		    6);
	relay_loop_end();
}

Test(relay, after_an_overflow_all_is_as_before)
{
	static const int burst[] = {SIGINT, SIGHUP, SIGTERM, SIGHUP};
	fill_ring();
	for (size_t i = 0; i < N_KINDS; i++)
		raise(kinds[i]);
	turn();
	loop.n = 0;
	for (size_t i = 0; i < 4; i++)
		raise(burst[i]);
	turn();
	expect_kinds(burst, 4);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(loop.taken[i].count, 1);
	turn();
	expect_kinds(burst, 4);
	relay_loop_end();
}

Test(relay, two_storms_at_once_are_accounted_for)
{
	pid_t child[2];
	for (int i = 0; i < 2; i++) {
		child[i] = fork();
		if (child[i] == 0) {
			for (int k = 0; k < 20000; k++)
				kill(getppid(), i ? SIGHUP : SIGUSR1);
			_exit(0);
		}
	}
	uint64_t taken[NSIG] = {0};
	for (int running = 2; running;) {
		running -= waitpid(-1, NULL, running ? WNOHANG : 0) > 0;
		turn();
		for (size_t i = 0; i < loop.n; i++)
			taken[loop.taken[i].signal] += loop.taken[i].count;
		loop.n = 0;
	}
	turn();
	for (size_t i = 0; i < N_KINDS; i++)
		cr_assert_eq(taken[kinds[i]] + counted(kinds[i]), relay_received(kinds[i]));
	cr_assert_gt(relay_received(SIGHUP), 0);
	cr_assert_gt(relay_received(SIGUSR1), 0);
	relay_loop_end();
}

/* A process that sends SIGNAL all the time, and counts in memory that it shares with us. */
static pid_t flood(int signal, _Atomic uint64_t *sent)
{
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (kill(getppid(), signal) == 0)
			atomic_fetch_add(sent, 1);
		_exit(0);
	}
	return pid;
}

Test(relay, a_flood_from_outside_leaves_time_and_lets_others_through)
{
	enum { MANY = 20000 };
	alarm(30); /* Criterion's own .timeout loses a test's end now and then */
	_Atomic uint64_t *sent =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(sent != MAP_FAILED);
	/* The lowest number, twice: the kernel has one at hand whenever a handler returns. */
	const pid_t child[] = {flood(SIGHUP, &sent[0]), flood(SIGHUP, &sent[1]),
			       flood(SIGUSR1, &sent[2])};
	while (relay_received(SIGHUP) < RELAY_MOST || relay_received(SIGUSR1) < RELAY_MOST)
		;
	/* This is the loop, in a callback that takes its time. */
	for (size_t i = 0; i < 3; i++)
		for (uint64_t before = sent[i]; sent[i] < before + MANY;)
			;
	cr_assert_eq(relay_received(SIGHUP), RELAY_MOST);
	cr_assert_eq(relay_received(SIGUSR1), RELAY_MOST);
	pid_t other = fork();
	if (other == 0)
		_exit(kill(getppid(), SIGTERM));
	MUST(waitpid(other, NULL, 0) == other);
	while (!relay_received(SIGTERM))
		;
	for (int round = 2; round < 5; round++) { /* taken, as many may come again */
		loop.n += relay_take(loop.taken + loop.n);
		cr_assert_eq(relay_received(SIGHUP), (uint64_t)(round - 1) * RELAY_MOST);
		relay_resume();
		while (relay_received(SIGHUP) < (uint64_t)round * RELAY_MOST)
			;
		cr_assert_eq(relay_received(SIGHUP), (uint64_t)round * RELAY_MOST);
	}
	cr_assert_eq(counted(SIGTERM), 1);

	sigset_t set = all_kinds();
	MUST(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	loop.n += relay_take(loop.taken + loop.n);
	for (size_t i = 0; i < N_KINDS; i++)
		cr_assert_eq(counted(kinds[i]), relay_received(kinds[i]));
	for (size_t i = 0; i < 3; i++)
		MUST(kill(child[i], SIGKILL) == 0 && waitpid(child[i], NULL, 0) == child[i]);
	munmap(sent, 4096);
	relay_loop_end();
}

/* Negative controls: the same trials on libevent alone. */

static struct {
	struct event_base *base;
	struct event *event[N_KINDS];
	int called[8]; /* in this order */
	size_t n;
} bare;

static void note(evutil_socket_t signal, short what, void *arg)
{
	(void)what, (void)arg;
	if (bare.n < sizeof(bare.called) / sizeof(*bare.called))
		bare.called[bare.n] = signal;
	bare.n++;
}

static void bare_start(void)
{
	bare.base = event_base_new();
	MUST(bare.base);
	for (size_t i = 0; i < N_KINDS; i++) {
		bare.event[i] = evsignal_new(bare.base, kinds[i], note, NULL);
		MUST(bare.event[i] && event_add(bare.event[i], NULL) == 0);
	}
}

/* Turn the loop until nothing happens any more. */
static void bare_end(void)
{
	for (size_t before = bare.n + 1; before != bare.n;) {
		before = bare.n;
		MUST(event_base_loop(bare.base, EVLOOP_NONBLOCK) >= 0);
	}
	for (size_t i = 0; i < N_KINDS; i++)
		event_free(bare.event[i]);
	event_base_free(bare.base);
}

TestSuite(bare_libevent, .init = bare_start);

Test(bare_libevent, handles_a_burst_in_the_order_of_numbers)
{
	raise(SIGUSR1);
	raise(SIGINT);
	raise(SIGHUP);
	bare_end();
	cr_assert_eq(bare.n, 3);
	cr_assert_eq(bare.called[0], SIGHUP);
	cr_assert_eq(bare.called[1], SIGINT);
	cr_assert_eq(bare.called[2], SIGUSR1);
}

Test(bare_libevent, calls_back_never_for_65536_of_one_kind)
{
	raise_times(SIGUSR1, 65536);
	bare_end();
	cr_assert_eq(bare.n, 0);
}

Test(bare_libevent, loses_what_comes_after_65536)
{
	raise_times(SIGUSR1, 65536);
	raise(SIGHUP);
	raise(SIGINT);
	bare_end();
	cr_assert_eq(bare.n, 0);
}
