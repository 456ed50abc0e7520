/*
 * Load: processes that each repeat one thing as fast as they can until the test stops them. They
 * send signals, act as clients, good or hostile, or only use processor time. They count in memory
 * that they share with the test. The kernel kills them when the test process ends.
 */
#ifndef SKELD_TESTS_LOAD_H
#define SKELD_TESTS_LOAD_H

#include "traffic.h"

#include <netinet/in.h>
#include <stdatomic.h>

enum { LOAD_PROCESSES_MAX = 16, LOAD_COUNTERS = 8 };

struct load {
	_Atomic bool stop;
	_Atomic uint64_t count[LOAD_COUNTERS]; /* each run function defines what it counts */
	pid_t daemon;
	struct sockaddr_in address; /* of the daemon's listener */
	unsigned n;
	pid_t pid[LOAD_PROCESSES_MAX];
};

/*
 * Start N processes. Each calls RUN(load, index of the process). load->address is the address of
 * the listener TITLE; load_start() uses "main".
 */
struct load *load_start_at(const char *title, unsigned n,
			   void (*run)(struct load *load, unsigned i));
struct load *load_start(unsigned n, void (*run)(struct load *load, unsigned i));
/* Stop the processes and wait for them. The counters stay valid until load_free(). */
void load_stop(struct load *load);
void load_free(struct load *load);
uint64_t load_count(const struct load *load, unsigned which);

/*
 * For the processes: connect to the daemon. Every later call on the socket times out after 8 s.
 * Returns -1 if the daemon does not listen any more or the load is to stop.
 */
int load_connect(const struct load *load);
/* Close the connection with a reset. A reset leaves no TIME_WAIT, so ports do not run out. */
void load_reset(int fd);

/* A run function: send 16 KiB to the echo service, compare the answer. count[0]: round trips. */
void load_echo(struct load *load, unsigned i);

/* Returns true in the long form of the tests ($SKELD_LONG). */
bool is_long_form(void);

#endif
