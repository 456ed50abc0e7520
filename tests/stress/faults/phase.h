/* Phases of a trial that several tests run. */
#ifndef SKELD_TESTS_PHASE_H
#define SKELD_TESTS_PHASE_H

#include "trial.h"

/* Reload the other configuration, with the armed call, and judge the outcome. */
void run_reload(struct trial *t);
/* The same without any failure. */
void reload_clean(struct trial *t);

/* Several clients; for one of them the daemon must queue bytes. Judge what they receive. */
void run_serve(struct trial *t);

#endif
