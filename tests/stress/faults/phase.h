/* Phases of a trial that several tests run. */
#ifndef SKELD_TESTS_PHASE_H
#define SKELD_TESTS_PHASE_H

#include "judge.h"

/* Reload the other configuration, with the armed call, and judge the outcome. */
void run_reload(struct trial *t);
/* The same without any failure. */
void reload_clean(struct trial *t);
/* each_call() with RUN, which reloads as run_reload() does. */
void each_call_of_reloads(struct trial *t, phase_fn *run);

/* Several clients; for one of them the daemon must queue bytes. Judge what they receive. */
void run_serve(struct trial *t);

#endif
