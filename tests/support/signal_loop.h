/* An event loop with the signal queue, and the arrivals taken from the queue. */
#ifndef SKELD_TESTS_SIGNAL_LOOP_H
#define SKELD_TESTS_SIGNAL_LOOP_H

#include "control/signal_queue.h"

#include <event2/event.h>
#include <stdbool.h>

enum { N_KINDS = 6, TAKEN_MAX = 4 * SIGNAL_QUEUE_SIZE, DESCRIPTORS = 64 };
extern const int kinds[N_KINDS]; /* all signals that are handled */

struct signal_loop {
	struct event_base *base;
	struct event *event[N_KINDS];
	unsigned callbacks;
	struct signal_arrival taken[TAKEN_MAX]; /* by all callbacks together */
	size_t n;
	int raise_before_return;    /* in the next callback, once */
	bool was_open[DESCRIPTORS]; /* before libevent opened its own */
};
extern struct signal_loop loop;

sigset_t all_kinds(void);

/* The init function of a TestSuite. */
void signal_loop_start(void);

/* The end of a test: free everything, and check that nothing is left. */
void signal_loop_end(void);

/* One turn of the loop, without waiting. */
void turn(void);

void raise_times(int signal, long n);

/* Expect that exactly these kinds were taken, in this order. */
void expect_kinds(const int *expected, size_t n);

/* The number of unread bytes in libevent's pipe. */
int pipe_bytes(void);

#endif
