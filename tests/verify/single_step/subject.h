/*
 * The process that is stepped through: libevent's loop, the signal queue and control/signals.c as
 * they are. Stubs replace the rest of the daemon. Its results are in shared memory.
 */
#ifndef SKELD_TESTS_SUBJECT_H
#define SKELD_TESTS_SUBJECT_H

#include "control/signal_queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NOTES_MAX = 1024, BATCHES_MAX = 16, ALARM_SECONDS = 10 };

/* One delivery. The sender's pid is invented: the kernel does not check si_pid in sigqueue(3). */
struct note {
	int signal;
	pid_t sender;
};

/* Shared by the subject and its tracer. Only one of them runs at a time. */
struct tally {
	uintptr_t callback; /* address of the callback */
	size_t due;	    /* deliveries after which the subject leaves its loop */
	size_t n_delivered, n_handled, n_batches;
	struct note delivered[NOTES_MAX];	  /* by the kernel, in that order */
	size_t batches_before[NOTES_MAX];	  /* batches taken before each delivery */
	struct signal_arrival handled[NOTES_MAX]; /* as dispatched */
	size_t batch[BATCHES_MAX];		  /* arrivals in each signal_queue_take() */
	uint64_t received[NSIG], acted[NSIG], coalesced[NSIG];
	bool mask_is_empty;
};

/* Queue SIGNAL to PID, from SENDER. */
void send_as(pid_t pid, int signal, pid_t sender);

/*
 * Install the handlers, receive the N signals of PREFILL, stop for the tracer, and run the loop
 * until the signals that are due have been handled. Does not return. SIGALRM ends a loop that is
 * not woken.
 */
_Noreturn void subject_run(struct tally *o, const struct note *prefill, size_t n);

/* An address that the callback reaches after signal_queue_take(). */
uintptr_t subject_taken(void);

#endif
