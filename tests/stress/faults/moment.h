/*
 * A moment is an entry or exit of a system call of the daemon's main thread, seen with ptrace(2).
 * The moments are counted from the beginning of a phase. At the selected one a signal is sent, and
 * the daemon continues untraced.
 */
#ifndef SKELD_TESTS_MOMENT_H
#define SKELD_TESTS_MOMENT_H

#include "harness.h"

/* LOADING is a start counted from exec; START is counted from the call that blocks the signals. */
enum phase { LOADING, START, RELOAD, DUMP, DRAIN, STOP, N_PHASES };
extern const char *const phase_names[N_PHASES];
extern const int moment_begins[N_PHASES]; /* the signal that begins the phase; 0: the start */

enum { NEVER = 1 << 30 };

/*
 * Run PHASE: LOADING and START spawn the daemon, other phases signal a running one. Send SIGNO at
 * the STOP-th moment. Returns the number of moments: STOP, or fewer if the phase ended before.
 * Afterwards the daemon is not traced, or it has ended (daemon_pid is 0, CODE has its exit code).
 * moment_too_late: had the daemon taken signals for the last time before?
 */
int moment_walk(enum phase phase, int stop, int signo, int *code);
extern bool moment_too_late;

#endif
