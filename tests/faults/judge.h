/* What may come of a call that fails, for every phase alike. */
#ifndef SKELD_TESTS_JUDGE_H
#define SKELD_TESTS_JUDGE_H

#include "trial.h"

enum { PATIENCE = 50 }; /* turns, of a millisecond or less */

/* A phase: run it with the call that is armed, and judge. */
typedef void phase_fn(struct trial *t);

/* Every call of every function; with $SKELD_TEST_ALL with each errno, else with the first of them.
 */
void each_call(struct trial *t, phase_fn *run);

/* A daemon on side 0 that serves, without any failure. */
void start_clean(struct trial *t);
/* What it logged, and how many descriptors it has: so it is to be after each failure. */
void keep_clean(struct trial *t, int side);

/* It went on: either nothing is to be noticed, or the log tells. */
void judge_log(struct trial *t, int side);
/* It ended, with CODE, where it should have lived on: another one is started. */
void judge_end(struct trial *t, int code);
/* True: the call that failed has ended it, if not at once; judged, and another one was started. */
bool has_ended(struct trial *t);
/* Waits until no more descriptors are open than after the clean run. */
void expect_no_leak(struct trial *t, int side);
bool leaves_nothing(struct trial *t); /* no file, in the runtime directory or of a socket */

#endif
