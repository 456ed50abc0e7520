/* Thousands of clients in separate processes. They report in memory that they share with the test;
 * crowd_join() prints the first failure. */
#ifndef SKELD_TESTS_CROWD_H
#define SKELD_TESTS_CROWD_H

#include "harness.h"

#include <stdatomic.h>

enum { CROWD_PROCESSES = 2, ADDRESSES_MAX = 4 };

struct crowd {
	_Atomic bool stop;		      /* end the crowd */
	_Atomic unsigned ended;		      /* processes */
	_Atomic size_t refused;		      /* connect(2) failed with ECONNREFUSED */
	_Atomic size_t connected;	      /* connect(2) completed */
	_Atomic size_t served[ADDRESSES_MAX]; /* of these: answered */
	_Atomic size_t left;		      /* churn: closed with a reset instead */
	_Atomic unsigned failed;
	char failure[200]; /* the first failure */
	pid_t pid[CROWD_PROCESSES];
};

/*
 * Each process makes at least N connections, one after the other, until it is stopped. One third
 * echoes and closes, one third half-closes and waits for EOF, one third resets before or after a
 * request.
 */
struct crowd *crowd_churn(const char *address, size_t n);

/* Until it is stopped, make many connections at a time to the addresses in turn. Every connection
 * that connect(2) completed sends a request and must get its answer. */
struct crowd *crowd_knock(const char *const addresses[], size_t n);

bool crowd_is_over(const struct crowd *c);
size_t crowd_served(const struct crowd *c);
/* Stop the crowd, wait for its end, and fail the test if a client failed. */
void crowd_join(struct crowd *c);
void crowd_free(struct crowd *c);

#endif
