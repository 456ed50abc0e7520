/*
 * The relay: what stands between the kernel and libevent's signal handler.
 *
 * libevent alone writes one byte for each delivery into a pipe that holds 65,536 of them, and runs
 * a batch in the order of signal numbers. The relay notes each delivery with its sender and time,
 * in order, and lets libevent write one byte for all that have not been taken yet. Nothing is
 * lost: deliveries of one kind from one sender in a row become one arrival with a count; when the
 * ring is full, each further kind becomes one arrival with a count.
 *
 * A flood from other processes would leave the loop no time between two handlers; and the kernel
 * delivers by number, so one of SIGHUP would keep SIGINT from ever arriving. So a kind that has
 * come RELAY_MOST times is blocked until these are handled: the kernel keeps one for later.
 *
 * Control thread only: every other thread has all signals blocked.
 */
#ifndef SKELD_RELAY_H
#define SKELD_RELAY_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct arrival {
	int signal;
	int code;	/* si_code, sigaction(2) */
	pid_t pid;	/* of the sender, of the first one when there is a count */
	uid_t uid;	/* the sender's real user */
	uint64_t count; /* deliveries that this stands for */
	int64_t at;	/* of the first: CLOCK_MONOTONIC, nanoseconds */
};

enum { RELAY_RING = 256, RELAY_BATCH = RELAY_RING + NSIG, RELAY_MOST = 16 };

/*
 * Put the relay in front of the handler that libevent has installed for SIGNAL, after event_add().
 * HANDLED are all signals that are relayed: they do not interrupt each other. Returns 0, or -1 and
 * errno.
 */
int relay_install(int signal, const sigset_t *handled);

/* Take all arrivals since the last call, in order. Returns how many. */
size_t relay_take(struct arrival batch[RELAY_BATCH]);

/* Those taken are handled: let in what was held back. */
void relay_resume(void);

/* Has one arrived that was not taken? Only a hint: another may arrive at any time. */
bool relay_waits(void);

/* Deliveries of SIGNAL so far, counted one by one. */
uint64_t relay_received(int signal);

/* Forget what was counted: a new run in the same process. All handled signals are blocked. */
void relay_reset(void);

#endif
