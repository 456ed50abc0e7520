/* control/signal_queue: no flood loses or hides a signal. Bare libevent, at the end, does both. */
#include "fixture.h"
#include "signal_loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(signal_flood, .init = signal_loop_start, .fini = fixture_leave);

static uint64_t counted(int signal)
{
	uint64_t n = 0;
	for (size_t i = 0; i < loop.n; i++)
		if (loop.taken[i].signal == signal)
			n += loop.taken[i].count;
	return n;
}

/* Every sender is limited alike; the test sends to itself. */
Test(signal_flood, a_signal_is_blocked_after_max_per_turn_deliveries)
{
	sigset_t is;
	raise_times(SIGUSR1, MAX_PER_TURN - 1);
	MUST(sigprocmask(SIG_BLOCK, NULL, &is) == 0);
	cr_assert_not(sigismember(&is, SIGUSR1));
	raise(SIGUSR1);
	MUST(sigprocmask(SIG_BLOCK, NULL, &is) == 0);
	cr_assert(sigismember(&is, SIGUSR1));
	cr_assert_not(sigismember(&is, SIGHUP));
	raise_times(SIGUSR1, 1000);
	cr_assert_eq(signal_queue_received(SIGUSR1), MAX_PER_TURN);
	/* The first callback takes the batch and resumes: the kernel then delivers the one that it
	 * has kept, which a second callback takes. */
	turn();
	cr_assert_eq(loop.callbacks, 2);
	cr_assert_eq(loop.taken[0].count, MAX_PER_TURN);
	cr_assert_eq(loop.taken[1].count, 1);
	cr_assert_eq(signal_queue_received(SIGUSR1), MAX_PER_TURN + 1);
	cr_assert_eq(counted(SIGUSR1), MAX_PER_TURN + 1);
	signal_loop_end();
}

Test(signal_flood, a_flood_of_one_kind_hides_no_other)
{
	raise_times(SIGUSR1, 70000);
	raise(SIGHUP);
	raise(SIGINT);
	turn();
	/* The last arrival is the one that the kernel kept until the queue resumed. */
	expect_kinds((int[]){SIGUSR1, SIGHUP, SIGINT, SIGUSR1}, 4);
	cr_assert_eq(loop.taken[0].count, MAX_PER_TURN);
	cr_assert_eq(loop.taken[3].count, 1);
	cr_assert_eq(signal_queue_received(SIGHUP), 1);
	cr_assert_eq(loop.callbacks, 2);
	signal_loop_end();
}

/* As many arrivals as there can be: all kinds in turn before a resume, and again after it. */
Test(signal_flood, the_queue_has_room_for_two_full_turns_of_all_kinds)
{
	cr_assert_eq(signal_queue_take(loop.taken), 0);
	for (int i = 0; i < MAX_PER_TURN * N_KINDS; i++)
		raise(kinds[i % N_KINDS]);
	signal_queue_resume();
	for (int i = 0; i < MAX_PER_TURN * N_KINDS; i++)
		raise(kinds[i % N_KINDS]);
	loop.n = signal_queue_take(loop.taken);
	cr_assert_eq(loop.n, SIGNAL_QUEUE_SIZE);
	for (size_t i = 0; i < loop.n; i++) {
		cr_assert_eq(loop.taken[i].signal, kinds[i % N_KINDS], "arrival %zu", i);
		cr_assert_eq(loop.taken[i].count, 1);
	}
	signal_loop_end();
}

Test(signal_flood, after_a_flood_the_queue_works_as_before)
{
	static const int burst[] = {SIGINT, SIGHUP, SIGTERM, SIGHUP};
	for (int i = 0; i < 100; i++)
		raise(i % 2 ? SIGHUP : SIGUSR1);
	turn();
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
	signal_loop_end();
}

Test(signal_flood, two_floods_at_once_are_accounted_for)
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
		cr_assert_eq(taken[kinds[i]] + counted(kinds[i]), signal_queue_received(kinds[i]));
	cr_assert_gt(signal_queue_received(SIGHUP), 0);
	cr_assert_gt(signal_queue_received(SIGUSR1), 0);
	signal_loop_end();
}

/* Start a process that sends SIGNAL without a pause, and counts its signals in shared memory. */
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

Test(signal_flood, a_flood_from_outside_neither_starves_the_loop_nor_hides_another_signal)
{
	enum { MANY = 20000 };
	deadline(); /* a hang ends the test: Criterion's .timeout sometimes misses the end of a test
		     */
	_Atomic uint64_t *sent =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(sent != MAP_FAILED);
	/* Two senders of the lowest number: one is pending whenever a handler returns. */
	const pid_t child[] = {flood(SIGHUP, &sent[0]), flood(SIGHUP, &sent[1]),
			       flood(SIGUSR1, &sent[2])};
	while (signal_queue_received(SIGHUP) < MAX_PER_TURN ||
	       signal_queue_received(SIGUSR1) < MAX_PER_TURN)
		;
	/* The loop is in a slow callback. */
	for (size_t i = 0; i < 3; i++)
		for (uint64_t before = sent[i]; sent[i] < before + MANY;)
			;
	cr_assert_eq(signal_queue_received(SIGHUP), MAX_PER_TURN);
	cr_assert_eq(signal_queue_received(SIGUSR1), MAX_PER_TURN);
	pid_t other = fork();
	if (other == 0)
		_exit(kill(getppid(), SIGTERM));
	MUST(waitpid(other, NULL, 0) == other);
	while (!signal_queue_received(SIGTERM))
		;
	for (int round = 2; round < 5; round++) { /* each turn delivers as many again */
		loop.n += signal_queue_take(loop.taken + loop.n);
		cr_assert_eq(signal_queue_received(SIGHUP), (uint64_t)(round - 1) * MAX_PER_TURN);
		signal_queue_resume();
		while (signal_queue_received(SIGHUP) < (uint64_t)round * MAX_PER_TURN)
			;
		cr_assert_eq(signal_queue_received(SIGHUP), (uint64_t)round * MAX_PER_TURN);
	}
	cr_assert_eq(counted(SIGTERM), 1);

	sigset_t set = all_kinds();
	MUST(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	loop.n += signal_queue_take(loop.taken + loop.n);
	for (size_t i = 0; i < N_KINDS; i++)
		cr_assert_eq(counted(kinds[i]), signal_queue_received(kinds[i]));
	for (size_t i = 0; i < 3; i++)
		MUST(kill(child[i], SIGKILL) == 0 && waitpid(child[i], NULL, 0) == child[i]);
	munmap(sent, 4096);
	signal_loop_end();
}

/* Negative controls: the same tests on libevent alone. */

static struct {
	struct event_base *base;
	struct event *event[N_KINDS];
	int called[8]; /* signals, in the order of the callbacks */
	size_t n;
} bare;

static void record_signal(evutil_socket_t signal, short what, void *arg)
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
		bare.event[i] = evsignal_new(bare.base, kinds[i], record_signal, NULL);
		MUST(bare.event[i] && event_add(bare.event[i], NULL) == 0);
	}
}

/* Run the loop until it calls nothing. */
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

Test(bare_libevent, bare_libevent_handles_a_burst_in_the_order_of_numbers)
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

Test(bare_libevent, bare_libevent_never_calls_back_for_65536_signals_of_one_kind)
{
	raise_times(SIGUSR1, 65536);
	bare_end();
	cr_assert_eq(bare.n, 0);
}

Test(bare_libevent, bare_libevent_loses_all_signals_after_65536)
{
	raise_times(SIGUSR1, 65536);
	raise(SIGHUP);
	raise(SIGINT);
	bare_end();
	cr_assert_eq(bare.n, 0);
}
