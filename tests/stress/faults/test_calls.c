/*
 * In each phase of the daemon's life, every call of every function that can fail fails once, with
 * each plausible errno. Accepted outcomes: no effect; a report in the log, and the daemon serves;
 * a rejected reload with a reason, and the old configuration serves; a failed start with a reason
 * that leaves nothing behind. Never: the end by a signal, a hang, a descriptor that stays open, a
 * failure without a report.
 */
/* test: COST 60 TIMEOUT 300 LABELS all */
/* test: NAME all ENV SKELD_LONG=1 TIMEOUT 900 LABELS long */
#include "judge.h"
#include "phase.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Start. */

static bool is_shortage(int error)
{
	return error == ENOMEM || error == LASTING || error == EMFILE || error == ENFILE ||
	       error == EIO;
}

static void judge_start(struct trial *t, bool ready, int code)
{
	if (!ready && code != 1 && code != 78)
		trial_wrong(t, "ended with %d", code);
	else if (!ready && code == 78 && is_shortage(t->error))
		trial_wrong(t, "ended with 78, so it is not restarted, although the file is good");
	else if (!ready && !strstr(trial_log(), " error   "))
		trial_wrong(t, "did not start, exit %d, without a reason", code);
	else if (!ready && !leaves_nothing(t) &&
		 t->call != CALL_fcntl) /* a daemon without the lock must not remove files */
		trial_wrong(t, "did not start, and left a file");
	else if (!ready)
		t->not_started++;
	if (!ready)
		return;
	if (has_ended(t))
		return;
	judge_log(t, 0);
	if (!trial_serves(t, 0))
		trial_wrong(t, "does not serve");
	expect_no_leak(t, 0);
	if (!TRY(trial_get(t, "/readyz") == 200))
		trial_wrong(t, "has no admin server");
}

static void run_start(struct trial *t)
{
	int code = 0;
	trial_forget();
	bool ready = trial_start(t, &code);
	trial_disarm(t);
	judge_start(t, ready, code);
	if (!ready)
		return;
	kill(daemon_pid, SIGTERM);
	if ((code = trial_end()) != 0)
		trial_wrong(t, "SIGTERM ends it with %d", code);
	else if (!leaves_nothing(t))
		trial_wrong(t, "a file is left after the end");
}

Test(calls, each_failing_call_of_start_is_harmless_or_reported)
{
	struct trial *t = trial_new("start");
	start_clean(t);
	/* Compare its lines before clients check that it serves. */
	keep_clean(t, 0);
	kill(daemon_pid, SIGTERM);
	trial_end();
	each_call(t, run_start);
	trial_free(t);
}

/* Reload: to the other configuration and back. */

Test(calls, each_failing_call_of_reload_is_harmless_or_reported)
{
	struct trial *t = trial_new("reload");
	start_clean(t);
	each_call_of_reloads(t, run_reload);
	trial_free(t);
}

/* A dump of statistics. */

static bool dump_is_over(void)
{
	return trial_file("stats.prom") || strstr(trial_log(), "stats.prom");
}

static void run_dump(struct trial *t)
{
	trial_forget();
	trial_dump();
	bool over = TRY(dump_is_over());
	trial_disarm(t);
	if (!over)
		judge_end(t, trial_end());
	if (!over || has_ended(t))
		return;
	judge_log(t, 0);
	if (!trial_file("stats.prom") && !trial_reported())
		trial_wrong(t, "there is no stats.prom");
	if (trial_talk(t, MAIN, 5) != ANSWERED)
		trial_wrong(t, "does not serve");
	expect_no_leak(t, 0);
}

Test(calls, each_failing_call_of_dump_is_harmless_or_reported)
{
	struct trial *t = trial_new("dump");
	start_clean(t);
	trial_forget();
	trial_dump();
	if (!TRY(trial_file("stats.prom")))
		fail_test("no dump");
	keep_clean(t, 0);
	each_call(t, run_dump);
	trial_free(t);
}

/* Clients. */

Test(calls, each_failing_call_of_serve_is_harmless_or_reported)
{
	struct trial *t = trial_new("serve");
	start_clean(t);
	keep_clean(t, 0);
	each_call(t, run_serve);
	trial_free(t);
}

/* Admin clients: each gets an answer or is closed, and the next one gets an answer. */

static void run_admin(struct trial *t)
{
	static const char *const paths[] = {"/metrics", "/nothing", "/status", "/livez", "/readyz"};
	const size_t n = getenv("SKELD_LONG") ? sizeof(paths) / sizeof(*paths) : 2;
	bool lost = false, dead = false;
	trial_forget();
	for (size_t i = 0; i < n && !dead; i++) {
		int code = trial_get(t, paths[i]);
		lost = lost || code == 0 || code >= 500;
		if (code < 0 || (!trial_hit(t) && code != 200 && code != 404))
			trial_wrong(t, "%s: %d", paths[i], code);
		dead = code <= 0;
	}
	trial_disarm(t);
	if (has_ended(t))
		return;
	if (!TRY(trial_get(t, "/readyz") == 200)) {
		if (has_ended(t))
			return;
		trial_wrong(t, "does not answer any more");
		kill(daemon_pid, SIGKILL);
		judge_end(t, trial_end());
		return;
	}
	if (lost || trial_reported())
		t->reported++;
	else
		t->as_if_nothing++;
	expect_no_leak(t, 0);
}

Test(calls, each_failing_call_of_admin_is_harmless_or_reported)
{
	struct trial *t = trial_new("admin");
	start_clean(t);
	keep_clean(t, 0);
	each_call(t, run_admin);
	trial_free(t);
}

/* Stop, with a client that sends one more request: otherwise the drain would wait, see GRACE_MS. */

static void run_stop(struct trial *t)
{
	enum call call = t->call;
	long nth = atomic_load(&t->page->nth);
	int error = t->error;
	start_clean(t);
	if (!t->before[0].bytes)
		keep_clean(t, 0);
	expect_no_leak(t, 0); /* the clients of the check have left */
	char byte = 'x';
	int client = trial_dial(t, MAIN);
	if (send(client, &byte, 1, MSG_NOSIGNAL) != 1 || recv(client, &byte, 1, 0) != 1)
		fail_test("no echo");
	trial_forget();
	trial_arm(t, call, error, nth);
	t->runs--; /* the same call, armed for this phase only */
	kill(daemon_pid, SIGINT);
	for (int i = 0; i < 5 && trial_turn(deadline()); i++)
		;
	send(client, &byte, 1, MSG_NOSIGNAL); /* the daemon may have ended */
	while (recv(client, &byte, 1, 0) > 0)
		;
	close(client);
	int code = trial_end();
	if (!nth) {
		free(t->before[0].bytes);
		t->before[0].bytes = trial_essence();
		return;
	}
	char *essence = trial_essence();
	bool reported = trial_reported(), same = strcmp(essence, t->before[0].bytes) == 0;
	/* No later line could report a failure of the last one. */
	bool writes = t->call == CALL_write || t->call == CALL_poll;
	bool all_but_last =
		writes && strncmp(essence, t->before[0].bytes, strlen(essence) - 1) == 0;
	free(essence);
	if (code != 0 && (code != 1 || !reported))
		trial_wrong(t, "ended with %d", code);
	else if (!leaves_nothing(t) && !reported)
		trial_wrong(t, "left a file");
	else if (!reported && !same && !all_but_last)
		trial_wrong(t, "the log differs from a clean end, and has no reason");
	else if (reported || !same)
		t->reported++;
	else
		t->as_if_nothing++;
}

Test(calls, each_failing_call_of_stop_is_harmless_or_reported)
{
	struct trial *t = trial_new("stop");
	run_stop(t);
	each_call(t, run_stop);
	trial_free(t);
}
