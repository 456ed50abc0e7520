/* control/signal_queue: arrivals are taken in order, each once, with their sender. */
#include "fixture.h"
#include "signal_loop.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

TestSuite(signal_queue, .init = signal_loop_start, .fini = fixture_leave);

Test(signal_queue, a_burst_is_taken_in_the_order_of_arrival)
{
	static const int burst[] = {SIGUSR1, SIGHUP,  SIGUSR1, SIGUSR2, SIGHUP,
				    SIGINT,  SIGTERM, SIGHUP,  SIGQUIT};
	enum { N = sizeof(burst) / sizeof(*burst) };
	for (size_t i = 0; i < N; i++)
		raise(burst[i]);
	turn();
	expect_kinds(burst, N);
	for (size_t i = 0; i < N; i++) {
		cr_assert_eq(loop.taken[i].count, 1);
		cr_assert(i == 0 || loop.taken[i].at >= loop.taken[i - 1].at);
	}
	cr_assert_eq(loop.callbacks, 1);
	signal_loop_end();
}

Test(signal_queue, consecutive_signals_of_one_kind_and_sender_are_one_arrival)
{
	raise(SIGUSR1);
	turn();
	raise(SIGHUP);
	struct timespec after;
	clock_gettime(CLOCK_MONOTONIC, &after);
	raise_times(SIGHUP, 9);
	raise(SIGUSR1);
	raise(SIGHUP);
	turn();
	expect_kinds((int[]){SIGUSR1, SIGHUP, SIGUSR1, SIGHUP}, 4);
	cr_assert_eq(loop.taken[1].count, 10);
	cr_assert_eq(loop.taken[2].count, 1);
	cr_assert_eq(loop.taken[3].count, 1);
	cr_assert_leq(loop.taken[1].at, (int64_t)after.tv_sec * 1000000000 + after.tv_nsec);
	cr_assert_geq(loop.taken[1].at, loop.taken[0].at);
	signal_loop_end();
}

Test(signal_queue, an_arrival_has_pid_user_and_code_of_its_sender)
{
	/* The sender is the real user. Root can make it differ from the effective one. */
	MUST(geteuid() != 0 || setresuid(1, 0, 0) == 0);
	raise(SIGUSR1);
	turn();
	cr_assert_eq(loop.taken[0].pid, getpid());
	cr_assert_eq(loop.taken[0].uid, getuid());
	cr_assert_eq(loop.taken[0].code, SI_TKILL);
	signal_loop_end();
}

Test(signal_queue, consecutive_signals_of_two_senders_are_two_arrivals)
{
	raise(SIGHUP);
	pid_t child = fork();
	if (child == 0)
		_exit(kill(getppid(), SIGHUP) ? 1 : 0);
	int status;
	MUST(waitpid(child, &status, 0) == child && status == 0);
	raise(SIGHUP);
	turn();
	expect_kinds((int[]){SIGHUP, SIGHUP, SIGHUP}, 3);
	cr_assert_eq(loop.taken[0].pid, getpid());
	cr_assert_eq(loop.taken[1].pid, child);
	cr_assert_eq(loop.taken[1].code, SI_USER);
	cr_assert_eq(loop.taken[2].pid, getpid());
	signal_loop_end();
}

Test(signal_queue, libevents_pipe_holds_one_byte_for_all_arrivals)
{
	for (size_t i = 0; i < (size_t)(MAX_PER_TURN - 1) * N_KINDS; i++)
		raise(kinds[i % N_KINDS]);
	cr_assert_eq(pipe_bytes(), 1);
	turn();
	cr_assert_eq(pipe_bytes(), 0);
	turn();
	cr_assert_eq(loop.callbacks, 1);
	raise(SIGUSR1);
	cr_assert_eq(pipe_bytes(), 1);
	turn();
	cr_assert_eq(loop.callbacks, 2);
	signal_loop_end();
}

Test(signal_queue, a_signal_between_take_and_return_wakes_the_loop_again)
{
	raise(SIGUSR1);
	loop.raise_before_return = SIGHUP;
	turn();
	turn();
	expect_kinds((int[]){SIGUSR1, SIGHUP}, 2);
	cr_assert_eq(loop.callbacks, 2);
	signal_loop_end();
}

static struct signal_arrival *guarded;

/* signal_queue_take() has begun to copy the arrivals: send a signal now. */
static void on_fault(int signal)
{
	(void)signal;
	mprotect(guarded, SIGNAL_QUEUE_SIZE * sizeof(*guarded), PROT_READ | PROT_WRITE);
	raise(SIGHUP);
}

Test(signal_queue, a_signal_during_a_take_is_taken_next)
{
	struct sigaction fault = {.sa_handler = on_fault};
	guarded = mmap(NULL, SIGNAL_QUEUE_SIZE * sizeof(*guarded), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(guarded != MAP_FAILED && sigaction(SIGSEGV, &fault, NULL) == 0);
	raise(SIGUSR1);
	cr_assert_eq(signal_queue_take(guarded), 1);
	cr_assert_eq(guarded[0].signal, SIGUSR1);
	turn();
	expect_kinds((int[]){SIGHUP}, 1);
	MUST(munmap(guarded, SIGNAL_QUEUE_SIZE * sizeof(*guarded)) == 0);
	signal_loop_end();
}

Test(signal_queue, handled_signals_do_not_interrupt_each_other)
{
	for (size_t i = 0; i < N_KINDS; i++) {
		struct sigaction is;
		MUST(sigaction(kinds[i], NULL, &is) == 0);
		for (size_t j = 0; j < N_KINDS; j++)
			cr_assert(sigismember(&is.sa_mask, kinds[j]));
		cr_assert_eq(is.sa_flags & (SA_SIGINFO | SA_RESTART), SA_SIGINFO | SA_RESTART);
	}
	signal_loop_end();
}

Test(signal_queue, take_restores_the_signal_mask)
{
	struct signal_arrival batch[SIGNAL_QUEUE_SIZE];
	sigset_t set = all_kinds(), is;
	cr_assert_eq(signal_queue_take(batch), 0);
	MUST(sigprocmask(SIG_BLOCK, NULL, &is) == 0);
	cr_assert_not(sigismember(&is, SIGHUP));
	sigdelset(&set, SIGINT);
	MUST(sigprocmask(SIG_SETMASK, &set, NULL) == 0);
	cr_assert_eq(signal_queue_take(batch), 0);
	MUST(sigprocmask(SIG_BLOCK, NULL, &is) == 0);
	cr_assert(sigismember(&is, SIGHUP) && !sigismember(&is, SIGINT));
	signal_loop_end();
}

Test(signal_queue, reset_empties_the_queue_and_its_counts)
{
	struct signal_arrival batch[SIGNAL_QUEUE_SIZE];
	sigset_t set = all_kinds();
	raise(SIGHUP);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	signal_queue_reset();
	cr_assert_eq(signal_queue_take(batch), 0);
	cr_assert_eq(signal_queue_received(SIGHUP), 0);
	signal_loop_end();
}

Test(signal_queue, installing_sigkill_fails_with_einval)
{
	sigset_t set = all_kinds();
	errno = 0;
	cr_assert_eq(signal_queue_install(SIGKILL, &set, true), -1);
	cr_assert_eq(errno, EINVAL);
	signal_loop_end();
}
