/*
 * Clients by the thousand, from processes of their own. They report in memory that the test
 * shares with them; the first thing that goes wrong is told by crowd_join().
 */
#ifndef SKELD_TESTS_CROWD_H
#define SKELD_TESTS_CROWD_H

#include "harness.h"

#include <stdatomic.h>

enum { CROWD_PROCESSES = 2, ADDRESSES_MAX = 4 };

struct crowd {
	_Atomic bool stop;		      /* let it end */
	_Atomic unsigned ended;		      /* processes */
	_Atomic size_t refused;		      /* nobody listened */
	_Atomic size_t connected;	      /* connect(2) completed */
	_Atomic size_t served[ADDRESSES_MAX]; /* of these: answered */
	_Atomic size_t left;		      /* churn: gone by a reset instead */
	_Atomic unsigned failed;
	char failure[200]; /* the first of them */
	pid_t pid[CROWD_PROCESSES];
};

/*
 * Connections one after the other, N from each process and more until it is stopped: one third
 * echoes and leaves, one third half-closes and waits for EOF, one third leaves by a reset, before
 * or after it said something.
 */
struct crowd *crowd_churn(struct fixture *f, const char *address, size_t n);

/*
 * Until it is stopped: many connections at a time to the addresses in turn. Each one that
 * connect(2) completed says something after that, and must be answered.
 */
struct crowd *crowd_knock(struct fixture *f, const char *const addresses[], size_t n);

bool crowd_is_over(const struct crowd *c);
size_t crowd_served(const struct crowd *c);
/* Stop it, wait for its end, fail the test if anything went wrong. */
void crowd_join(struct fixture *f, struct crowd *c);
void crowd_free(struct crowd *c);

#endif
