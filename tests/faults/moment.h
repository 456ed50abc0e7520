/*
 * A moment: an entry or exit of a system call of the daemon's main thread, by ptrace(2). A walk
 * counts them from where a phase begins; at the chosen one a signal is sent, and the daemon let go.
 */
#ifndef SKELD_TESTS_MOMENT_H
#define SKELD_TESTS_MOMENT_H

#include "../integration/harness.h"

/* LOADING is a start that is counted from exec, START from where main() has blocked the signals. */
enum phase { LOADING, START, RELOAD, DUMP, DRAIN, STOP, N_PHASES };
extern const char *const phase_names[N_PHASES];
extern const int moment_begins[N_PHASES]; /* the signal that begins it, 0: it is the start */

enum { NEVER = 1 << 30 };

/*
 * Go through PHASE; LOADING and START spawn the daemon, the others signal one that runs. At the
 * STOP-th moment SIGNO is sent. Returns how many there were: STOP; fewer when the phase was over
 * before. The daemon is not traced any more after it, or has ended (f->pid is 0, its exit code in
 * CODE). moment_too_late says whether the daemon had looked for the last time for signals before.
 */
int moment_walk(struct fixture *f, enum phase phase, int stop, int signo, int *code);
extern bool moment_too_late;

#endif
