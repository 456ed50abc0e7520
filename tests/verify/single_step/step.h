/* One machine instruction after another, by ptrace(2). x86-64 only: breakpoints are its int3. */
#ifndef SKELD_TESTS_STEP_H
#define SKELD_TESTS_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/types.h>

bool step_possible(void);

/* A point of a run: the TIMES-th (from 0) execution of the instruction at PC. */
struct point {
	uintptr_t pc;
	unsigned times;
};

/* Let PID go on, with a signal if any. Returns the wait status of its next stop, or of its end. */
int step_resume(pid_t pid, enum __ptrace_request request, int signal);

uintptr_t step_pc(pid_t pid);

/* Is PID about to wait for events? */
bool step_at_wait(pid_t pid);

/* Go on to the entry of the system call that waits for events. */
void step_to_wait(pid_t pid);

/*
 * Go on, with a signal if any, to a point, which is counted from here; what is there has not been
 * executed. False when the process stopped for another reason or ended, with the wait status.
 */
bool step_to(pid_t pid, struct point to, int signal, int *status);

_Noreturn void bail_out(const char *what);

#endif
