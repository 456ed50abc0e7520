#include "phase.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool reload_is_over(struct trial *t)
{
	const char *log = trial_log();
	return trial_has_reloaded(t) || strstr(log, "reload rejected") ||
	       (strstr(log, "reloaded: ") && notices.size && strstr(notices.bytes, "READY=1"));
}

static void judge_reload(struct trial *t, int to)
{
	bool rejected = strstr(trial_log(), "reload rejected");
	/* The log is faster than the status file, which may be written again. */
	if (!TRY(trial_has_reloaded(t)))
		trial_wrong(t, "the status file does not have the reload");
	else if (rejected && strcmp(trial_status("last_reload"), "rejected") != 0)
		trial_wrong(t, "rejected, but the status file has last_reload=%s",
			    trial_status("last_reload"));
	else if (rejected && !*trial_status("last_reload_error"))
		trial_wrong(t, "rejected, and the status file has no reason");
	else if (rejected && !trial_reported())
		trial_wrong(t, "rejected, and the log has no reason");
	else if (rejected)
		t->rejected++;
	else
		judge_log(t, to);
	t->side = rejected ? t->side : to;
	if (!trial_serves(t, t->side))
		trial_wrong(t, "does not serve the %s configuration", rejected ? "old" : "new");
	expect_no_leak(t, t->side);
}

void run_reload(struct trial *t)
{
	int to = !t->side;
	trial_configure(t, to);
	trial_forget();
	trial_reload(t);
	bool over = TRY(reload_is_over(t));
	trial_disarm(t);
	if (!over)
		judge_end(t, trial_end());
	else if (!has_ended(t))
		judge_reload(t, to);
}

void reload_clean(struct trial *t)
{
	int to = !t->side;
	trial_configure(t, to);
	trial_forget();
	trial_reload(t);
	if (!TRY(trial_has_reloaded(t)))
		fail_test("no reload");
	t->side = to;
	if (!trial_serves(t, to))
		fail_test("does not serve");
}

/* Removed listeners stay open for a second. Count those of several reloads as open after a clean
 * one: otherwise each trial would wait for the second. A leak of each trial soon exceeds that. */
void each_call_of_reloads(struct trial *t, phase_fn *run)
{
	size_t fds = trial_fds();
	for (int i = 0; i < 4; i++)
		reload_clean(t);
	for (int i = 0; i < 2; i++) {
		reload_clean(t);
		keep_clean(t, t->side);
	}
	each_call(t, run);
	if (!TRY(trial_fds() <= fds)) /* all removed listeners are closed in the end */
		trial_wrong(t, "%zu descriptors are open, %zu at the start", trial_fds(), fds);
}

enum { MUCH = 900000 };

void run_serve(struct trial *t)
{
	static const struct {
		enum place at;
		size_t bytes;
	} talks[] = {{MAIN, 5}, {LOCAL_A, 5}, {LOCAL_A, MUCH}, {PORT_A, 70000}, {MAIN, 5}};
	bool lost = false;
	trial_forget();
	for (size_t i = 0; i < sizeof(talks) / sizeof(*talks); i++) {
		enum answer a = trial_talk(t, talks[i].at, talks[i].bytes);
		if (a == HUNG || a == REFUSED)
			trial_wrong(t, "talk %zu: %s", i, a == HUNG ? "no answer" : "refused");
		lost = lost || a == CLOSED;
	}
	trial_disarm(t);
	if (has_ended(t))
		return;
	bool reported = trial_reported();
	bool peers = t->error == ECONNRESET || t->error == EPIPE || t->error == ETIMEDOUT;
	if (lost && !reported && !peers)
		trial_wrong(t, "a client was cut off, and the log has no reason");
	else if (lost || reported)
		t->reported++;
	else
		t->as_if_nothing++;
	if (!trial_serves(t, 0))
		trial_wrong(t, "does not serve");
	expect_no_leak(t, 0);
	if (!reported)
		return;
	kill(daemon_pid, SIGKILL); /* it warns once a second; a new daemon warns at once */
	trial_end();
	start_clean(t);
}
