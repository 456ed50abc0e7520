/* The accepted outcomes of a failing call, the same for every phase. */
#ifndef SKELD_TESTS_JUDGE_H
#define SKELD_TESTS_JUDGE_H

#include "trial.h"

enum { PATIENCE = 50 }; /* turns of the loop, a millisecond or less each */

/* Run a phase with the armed call, and judge the outcome. */
typedef void phase_fn(struct trial *t);

/* Every call of every function; with $SKELD_LONG with each errno, else with the first of them.
 */
void each_call(struct trial *t, phase_fn *run);

/* Start a daemon on side 0 without any failure. */
void start_clean(struct trial *t);
/* Record the log and the number of descriptors of the clean run, to compare them after each
 * failure. */
void keep_clean(struct trial *t, int side);

/* The phase succeeded: either the failure had no effect, or the log reports it. */
void judge_log(struct trial *t, int side);
/* The daemon ended with CODE although it should run: another one is started. */
void judge_end(struct trial *t, int code);
/* Returns true if the failed call has ended the daemon: this is judged, and another one was
 * started. */
bool has_ended(struct trial *t);
/* Wait until no more descriptors are open than after the clean run. */
void expect_no_leak(struct trial *t, int side);
bool leaves_nothing(
	struct trial *t); /* no file is left in the runtime directory, and no socket file */

#endif
