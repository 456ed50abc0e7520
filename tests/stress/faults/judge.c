#include "judge.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct row {
	enum call call;
	int errors[7];
} table[] = {
	{CALL_memory, {ENOMEM, LASTING}},
	{CALL_open, {EMFILE, ENFILE, EACCES, ENOENT, ENOMEM}},
	{CALL_openat, {EMFILE, ENOSPC, EACCES, EROFS}},
	{CALL_read, {EIO, EINTR, SHORT}},
	{CALL_write, {ENOSPC, EIO, EINTR, EAGAIN, EDQUOT, SHORT}},
	{CALL_pwrite, {ENOSPC, EIO, SHORT}},
	{CALL_close, {EIO, EINTR}},
	{CALL_ftruncate, {EIO, EINTR}},
	{CALL_fcntl, {ENOLCK, EINTR}},
	{CALL_ioctl, {EINVAL}},
	{CALL_renameat, {ENOSPC, EACCES, EIO}},
	{CALL_mkdir, {ENOSPC, EACCES}},
	{CALL_unlinkat, {EACCES, EIO}},
	{CALL_unlink, {EACCES, EROFS}},
	{CALL_stat, {EACCES, EIO, ENOMEM}},
	{CALL_fstat, {EIO}},
	{CALL_fstatat, {EIO, ENOENT}},
	{CALL_lstat, {EACCES}},
	{CALL_socket, {EMFILE, ENFILE, ENOBUFS, ENOMEM}},
	{CALL_setsockopt, {ENOMEM, EINVAL, ENOPROTOOPT}},
	{CALL_getsockname, {ENOBUFS}},
	{CALL_bind, {EADDRINUSE, EACCES, EADDRNOTAVAIL}},
	{CALL_listen, {EADDRINUSE}},
	{CALL_accept4, {EMFILE, ENFILE, ENOMEM, ENOBUFS, ECONNABORTED, EINTR, EAGAIN}},
	{CALL_connect, {EACCES, EAGAIN}},
	{CALL_send, {ECONNRESET, EPIPE, ENOMEM, EINTR, EAGAIN, SHORT}},
	{CALL_sendto, {EAGAIN, ENOBUFS, ECONNREFUSED, ENOENT, ENOMEM}},
	{CALL_sendmsg, {EAGAIN, ENOBUFS, ECONNREFUSED, ETOOMANYREFS}},
	{CALL_sendmmsg, {EAGAIN, ENOBUFS, EPERM, ENOMEM, EINTR}},
	{CALL_recv, {ECONNRESET, ETIMEDOUT, ENOMEM, EINTR, EAGAIN, SHORT}},
	{CALL_recvmmsg, {EAGAIN, EINTR, ENOMEM, EIO}},
	{CALL_readv, {ECONNRESET, EINTR, EAGAIN, ENOMEM}},
	{CALL_writev, {ECONNRESET, EPIPE, EINTR, EAGAIN}},
	{CALL_shutdown, {ENOTCONN}},
	{CALL_poll, {EINTR, ENOMEM}},
	{CALL_epoll_create1, {EMFILE, ENFILE, ENOMEM}},
	{CALL_epoll_ctl, {ENOMEM, ENOSPC}},
	{CALL_epoll_wait, {EINTR}},
	{CALL_eventfd, {EMFILE, ENFILE, ENOMEM}},
	{CALL_pipe2, {EMFILE, ENFILE}},
	{CALL_socketpair, {EMFILE, ENFILE, ENOMEM}},
	{CALL_fork, {EAGAIN, ENOMEM}},
	{CALL_waitpid, {EINTR, ECHILD}},
	{CALL_pthread_create, {EAGAIN}},
	{CALL_sigaction, {EINVAL}},
	{CALL_sem_wait, {EINTR}},
	{CALL_getrlimit, {EPERM}},
	{CALL_setrlimit, {EPERM}},
	{CALL_fopen, {EMFILE, EACCES}},
	{CALL_fmemopen, {ENOMEM}},
	{CALL_open_memstream, {ENOMEM}},
	{CALL_opendir, {EMFILE, ENOENT}},
	{CALL_fclose, {ENOSPC, EIO}},
};

static bool is_wanted(enum call call)
{
	const char *only = getenv("FAULTS_CALL");
	return !only || strcmp(only, call_names[call]) == 0;
}

/* A lasting failure takes a second, until the status file is written again: do not try each of
 * them. */
static long step(const struct trial *t, long n)
{
	if (t->error == LASTING)
		return 1 + n / 4;
	return t->call == CALL_memory && t->memory_step ? t->memory_step : 1;
}

/* From the first to the last call that the phase makes; with a mutant, until it is detected. */
void each_call(struct trial *t, phase_fn *run)
{
	size_t most = getenv("SKELD_LONG") ? 7 : 1;
	bool is_mutant = getenv("FAULTS_DAEMON");
	static_assert(sizeof(table) / sizeof(*table) == N_CALLS, "each call has a row");
	for (const struct row *r = table; r < table + N_CALLS; r++)
		for (size_t e = 0; e < most && r->errors[e] && is_wanted(r->call); e++)
			for (long n = 1, missed = 0; missed < 2; n += step(t, n)) {
				if (is_mutant && t->n_wrong)
					return;
				trial_arm(t, r->call, r->errors[e], n);
				run(t);
				if (atomic_exchange(&t->page->closed_twice, 0))
					trial_wrong(t, "a descriptor was closed twice");
				missed = trial_hit(t) ? 0 : missed + 1;
				t->hits += trial_hit(t);
			}
}

/* Wait until no more descriptors are open than after the clean run. */
void expect_no_leak(struct trial *t, int side)
{
	/* There may be fewer: libevent uses poll(2) if epoll_create(2) fails. */
	if (!TRY(trial_fds() <= t->fds[side]))
		trial_wrong(t, "%zu descriptors are open, %zu after a clean run", trial_fds(),
			    t->fds[side]);
}

/* Is the log that of the clean run? MORE lines may follow. */
static bool is_as_clean(struct trial *t, int side, bool more)
{
	const char *clean = t->before[side].bytes;
	char *essence = trial_essence();
	bool same =
		more ? strncmp(essence, clean, strlen(clean)) == 0 : strcmp(essence, clean) == 0;
	free(essence);
	return same;
}

/* The phase succeeded: either the failure had no effect, or the log reports it. The next line that
 * can be written reports lost lines. */
void judge_log(struct trial *t, int side)
{
	bool writes = t->call == CALL_write || t->call == CALL_poll;
	if (!writes)
		TRY(is_as_clean(t, side, false) || trial_reported());
	for (int i = 0; writes && i < PATIENCE && !is_as_clean(t, side, false); i++)
		trial_turn(deadline());
	bool same = is_as_clean(t, side, false);
	if (!same && !trial_reported() && writes) {
		trial_dump();
		TRY(strstr(trial_log(), " lines lost: ") && trial_file("stats.prom"));
		same = is_as_clean(t, side, true); /* no line was lost, one was delayed */
	}
	if (trial_reported())
		t->reported++;
	else if (same)
		t->as_if_nothing++;
	else
		trial_wrong(t, "the log differs from a clean run, and has no reason");
}

void start_clean(struct trial *t)
{
	int code = 0;
	t->side = 0;
	trial_configure(t, 0);
	trial_forget();
	trial_disarm(t);
	if (!trial_start(t, &code))
		fail_test("the daemon does not start, exit %d", code);
	TRY(strstr(trial_log(), " ready: "));
	if (!trial_serves(t, 0))
		fail_test("the daemon does not serve");
}

/* The daemon ended with CODE although it should run. */
void judge_end(struct trial *t, int code)
{
	trial_wrong(t, "no outcome; ended with %d", code);
	start_clean(t);
}

/* The failed call may end the daemon later. Returns true if it has ended, and another one was
 * started. */
bool has_ended(struct trial *t)
{
	if (trial_turn(deadline()))
		return false;
	judge_end(t, trial_end());
	return true;
}

bool leaves_nothing(struct trial *t)
{
	return !trial_file("skeld.pid") && !trial_file("status") && !trial_file("stats.prom") &&
	       !trial_file(".new") && access(t->address[LOCAL_A] + 5, F_OK) < 0 &&
	       access(t->address[LOCAL_B] + 5, F_OK) < 0;
}

void keep_clean(struct trial *t, int side)
{
	t->fds[side] = trial_fds();
	for (int i = 0; i < PATIENCE; i++) { /* the connections of the clients end */
		trial_turn(deadline());
		size_t n = trial_fds();
		t->fds[side] = n < t->fds[side] ? n : t->fds[side];
	}
	free(t->before[side].bytes);
	t->before[side].bytes = trial_essence();
}
