/*
 * The process that is stepped through: libevent's loop, the relay and control/signals.c as they
 * are, and nothing of the daemon that signals.c would call. What it did stands in shared memory.
 */
#ifndef SKELD_TESTS_SUBJECT_H
#define SKELD_TESTS_SUBJECT_H

#include "control/relay.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NOTES_MAX = 1024, BATCHES_MAX = 16, ALARM_SECONDS = 10, OWN = 0 };

/* One delivery. The sender is a made-up pid: sigqueue's si_pid is the sender's own word. OWN: that
 * of the subject itself, which the relay does not hold back however much comes. */
struct note {
	int signal;
	pid_t sender;
};

/* Shared by the subject and its tracer; the one who writes has stopped the other, or ended. */
struct account {
	uintptr_t callback; /* where libevent's callback begins */
	size_t due;	    /* deliveries after which the subject leaves its loop */
	size_t n_delivered, n_handled, n_batches;
	struct note delivered[NOTES_MAX];  /* by the kernel, in that order */
	struct arrival handled[NOTES_MAX]; /* as dispatched */
	size_t batch[BATCHES_MAX];	   /* arrivals in each relay_take() */
	uint64_t received[NSIG], acted[NSIG], coalesced[NSIG];
	bool mask_is_empty;
};

/* Queue SIGNAL to PID, from SENDER. */
void send_as(pid_t pid, int signal, pid_t sender);

/*
 * Arm the handlers, take N signals of PREFILL, stop to be traced, and run the loop until what is
 * due was handled. Does not return. A loop that is not woken ends by SIGALRM.
 */
_Noreturn void subject_run(struct account *o, const struct note *prefill, size_t n);

/* Where the callback is once it has taken the ring. */
uintptr_t subject_taken(void);

#endif
