/*
 * Why the configuration is read by a process of its own: a program that does nothing but parse a
 * file with libconfuse dies where it gets no memory. And what a daemon does that is really short of
 * memory, rather than once refused some, and where a loop of libevent ends.
 */
#include "../integration/observe.h"
#include "judge.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

Test(alone, libconfuse_dies_where_it_gets_no_memory)
{
	struct trial *t = trial_new("libconfuse alone");
	struct fixture *f = t->f;
	const char *const argv[] = {NAIVE_BINARY, "reload", f->config, f->config, NULL};
	size_t died = 0;
	bool hit = true;
	config_write(f, "port = 8080\n");
	for (long n = 1; hit; n++) {
		trial_arm(t, CALL_memory, ENOMEM, n);
		spawn(f, argv);
		int code = trial_end(t);
		hit = trial_hit(t);
		t->hits += hit;
		if (code == 0 || code == 1)
			continue;
		died++;
		if (!trial_caller(t, "libconfuse"))
			trial_wrong(t, "ended with %d, and libconfuse did not ask", code);
	}
	if (!died)
		trial_wrong(t, "libconfuse survives: no loader is needed for this");
	trial_free(t);
}

/* The limit of PID becomes as much as it has and MORE. Returns the one that it had. */
static struct rlimit tighten(struct fixture *f, pid_t pid, rlim_t more)
{
	struct rlimit old, tight;
	char path[32];
	unsigned long pages;
	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	const char *statm = file_text(f, path);
	MUST(statm && sscanf(statm, "%lu", &pages) == 1);
	MUST(prlimit(pid, RLIMIT_AS, NULL, &old) == 0);
	tight = (struct rlimit){(rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + more, old.rlim_max};
	MUST(prlimit(pid, RLIMIT_AS, &tight, NULL) == 0);
	return old;
}

/* The loader's memory, then the daemon's: of too little a reload is rejected, and no more. */
Test(alone, a_reload_with_little_memory_is_rejected)
{
	enum { STEP = 64 << 10, MOST = 3 << 20 };
	struct trial *t = trial_new("little memory");
	struct fixture *f = t->f;
	start_clean(t);
	for (int whose = 0; whose < 2; whose++) {
		size_t before = t->as_if_nothing;
		for (rlim_t more = 0; more < MOST; more += STEP) {
			pid_t pid = whose ? f->pid : loader_pid(f);
			trial_forget(t);
			struct rlimit old = tighten(f, pid, more);
			t->runs++;
			trial_reload(t);
			if (!TRY(t, trial_has_reloaded(t))) {
				trial_wrong(t, "%llu bytes more: no outcome, %d",
					    (unsigned long long)more, trial_end(t));
				break;
			}
			MUST(prlimit(pid, RLIMIT_AS, &old, NULL) == 0);
			bool rejected = strcmp(trial_status(t, "last_reload"), "rejected") == 0;
			t->rejected += rejected;
			t->as_if_nothing += !rejected;
			if (!trial_serves(t, 0))
				trial_wrong(t, "does not serve");
		}
		/* The daemon itself may need no more than it has. */
		if ((whose == 0 && !t->rejected) || t->as_if_nothing == before)
			trial_wrong(t, "all or nothing: too much memory, or too little");
	}
	trial_free(t);
}

/*
 * What no call fails with unless somebody closes a descriptor that is not his: the loop it belongs
 * to cannot go on, and the daemon ends, says why, and leaves nothing behind.
 */
Test(alone, a_loop_that_breaks)
{
	enum { LOOPS = 12 }; /* turns: of the control plane, and of either worker */
	struct trial *t = trial_new("broken loop");
	for (long n = 1; n <= LOOPS; n++) {
		start_clean(t);
		trial_forget(t);
		trial_arm(t, CALL_epoll_wait, EBADF, n);
		trial_dump(t); /* which the control plane wakes up for, and a client for a worker */
		trial_talk(t, MAIN, 5);
		int code = trial_end(t);
		t->hits += trial_hit(t);
		if (code != 1 || !strstr(trial_log(t), " error   "))
			trial_wrong(t, "ended with %d", code);
		else if (!leaves_nothing(t))
			trial_wrong(t, "left a file");
		else
			t->told++;
	}
	trial_free(t);
}

/*
 * As many operators as there are places but one, and then one for whom there is not all of the
 * memory: who comes later is answered. What opens the door again is a timer, and libevent may need
 * memory for one more.
 */
Test(alone, operators_come_when_memory_is_short)
{
	enum { PLACES = 32, CALLS = 6 };
	struct trial *t = trial_new("short of memory");
	struct fixture *f = t->f;
	int held[PLACES];
	start_clean(t);
	keep_clean(t, 0);
	size_t fds = t->fds[0];
	for (long nth = 1; nth <= CALLS; nth++) {
		for (int i = 0; i < PLACES - 1; i++)
			MUST((held[i] = trial_dial(t, ADMIN)) >= 0 &&
			     send(held[i], "G", 1, 0) == 1);
		if (!TRY(t, trial_fds(t) >= fds + PLACES - 1))
			trial_wrong(t, "there are places, and nobody gets one");
		trial_arm(t, CALL_memory, LASTING, nth);
		MUST((held[PLACES - 1] = trial_dial(t, ADMIN)) >= 0);
		t->hits += TRY(t, trial_hit(t));
		trial_disarm(t);
		for (int i = 0; i < PLACES; i++)
			close(held[i]);
		if (!TRY(t, trial_get(t, "/livez") == 200)) {
			trial_wrong(t, "nobody is answered any more");
			break;
		}
		expect_no_leak(t, 0);
	}
	trial_free(t);
}
