/*
 * What concerns one library alone. That what judge_is_beyond_us() takes for libconfuse's own is:
 * the same happens to a program that does nothing but parse a file with it.
 */
#include "../integration/observe.h"
#include "judge.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

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
	t->beyond = died;
	if (!died)
		trial_wrong(t, "libconfuse survives: the exceptions in judge.c can go");
	trial_free(t);
}

Test(alone, a_reload_with_little_memory_is_rejected)
{
	enum { STEP = 64 << 10, MOST = 3 << 20 };
	struct trial *t = trial_new("little memory");
	struct fixture *f = t->f;
	start_clean(t);
	for (rlim_t more = 0; more < MOST; more += STEP) {
		struct rlimit old, tight;
		MUST(prlimit(f->pid, RLIMIT_AS, NULL, &old) == 0);
		tight = (struct rlimit){(rlim_t)proc_number(f, "VmSize") * 1024 + more,
					old.rlim_max};
		trial_forget(t);
		MUST(prlimit(f->pid, RLIMIT_AS, &tight, NULL) == 0);
		t->runs++;
		trial_reload(t);
		bool over = TRY(t, trial_has_reloaded(t));
		if (!over) {
			trial_wrong(t, "%llu bytes more: no outcome, %d", (unsigned long long)more,
				    trial_end(t));
			break;
		}
		MUST(prlimit(f->pid, RLIMIT_AS, &old, NULL) == 0);
		bool rejected = strcmp(trial_status(t, "last_reload"), "rejected") == 0;
		t->rejected += rejected;
		t->as_if_nothing += !rejected;
		if (!trial_serves(t, 0))
			trial_wrong(t, "does not serve");
	}
	if (!t->rejected || !t->as_if_nothing)
		trial_wrong(t, "all or nothing was rejected: too much memory, or too little");
	trial_free(t);
}
