/*
 * The signal queue, which stands between the kernel and libevent's signal handler.
 *
 * libevent alone writes one byte per delivery into a pipe that holds 65,536, and runs a batch in
 * the order of signal numbers. The handler of the queue records each delivery with its sender and
 * time, in order, and calls libevent's handler once for all arrivals that have not been taken.
 * Consecutive deliveries of one signal from one sender are one arrival with a count, if the signal
 * merges: one reload is enough for them, but a second stop means something else than the first.
 *
 * Control thread only: all other threads block all signals.
 */
#ifndef SKELD_SIGNAL_QUEUE_H
#define SKELD_SIGNAL_QUEUE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct signal_arrival {
	int signal;
	int code;	/* si_code, sigaction(2) */
	pid_t pid;	/* the sender */
	uid_t uid;	/* the sender's real user, at the first delivery */
	uint64_t count; /* deliveries */
	int64_t at;	/* of the first delivery: CLOCK_MONOTONIC, nanoseconds */
};

/*
 * A flood must neither starve the loop nor hide another signal: the kernel delivers the lowest
 * number first, so a flood of SIGHUP would keep SIGINT pending forever. So the handler blocks a
 * signal after MAX_PER_TURN deliveries, until signal_queue_resume(). Until then the kernel keeps
 * one and discards the rest: standard signals do not queue, signal(7). Discarded signals are not
 * deliveries, and nothing counts them.
 *
 * Each turn takes the arrivals, handles them and resumes. So the queue never holds more than two
 * times MAX_PER_TURN arrivals of one signal: those between a take and the resume that follows, and
 * those between that resume and the next take.
 */
enum { MAX_PER_TURN = 16, QUEUED_SIGNALS_MAX = 6 };
enum { SIGNAL_QUEUE_SIZE = 2 * MAX_PER_TURN * QUEUED_SIGNALS_MAX };

/*
 * Put the queue in front of the handler that libevent has installed for SIGNAL in event_add().
 * HANDLED are all signals of the queue, at most QUEUED_SIGNALS_MAX: their handlers do not interrupt
 * each other. MERGES: consecutive deliveries from one sender become one arrival. Returns 0, or -1
 * and errno.
 */
int signal_queue_install(int signal, const sigset_t *handled, bool merges);

/* Move all arrivals to BATCH, in order. Returns their number. */
size_t signal_queue_take(struct signal_arrival batch[SIGNAL_QUEUE_SIZE]);

/* The batch is handled: unblock all signals of the queue. */
void signal_queue_resume(void);

/* Has an arrival not been taken? A hint: another one may follow at any time. */
bool signal_queue_pending(void);

/* Deliveries of SIGNAL so far. */
uint64_t signal_queue_received(int signal);

/* Empty the queue and clear its counts, for another run in this process. The caller has blocked
 * the signals. */
void signal_queue_reset(void);

#endif
