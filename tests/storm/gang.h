/*
 * Processes that do one thing as fast as they can until they are stopped: senders of signals,
 * clients, hostile ones, those that only burn time. They count what they did in memory that the
 * test shares with them. Whatever becomes of the test, they end with it.
 */
#ifndef SKELD_TESTS_GANG_H
#define SKELD_TESTS_GANG_H

#include "traffic.h"

#include <netinet/in.h>
#include <stdatomic.h>

enum { GANG_MAX = 16, GANG_COUNTS = 8 };

struct gang {
	_Atomic bool stop;
	_Atomic uint64_t count[GANG_COUNTS];
	pid_t daemon;
	struct sockaddr_in address; /* to connect to */
	unsigned n;
	pid_t pid[GANG_MAX];
};

/* N processes that each run DOES(gang, its number), with the address of the listener TITLE, "main".
 */
struct gang *gang_start_at(struct fixture *f, const char *title, unsigned n,
			   void (*does)(struct gang *g, unsigned i));
struct gang *gang_start(struct fixture *f, unsigned n, void (*does)(struct gang *g, unsigned i));
/* Stop them, wait for their end; the counters stay until gang_free(). */
void gang_stop(struct fixture *f, struct gang *g);
void gang_free(struct gang *g);
uint64_t gang_count(const struct gang *g, unsigned which);

/* For the processes: a socket connected to the daemon, with a patience of 8 s from then on. -1: it
 * listens no more, or it is time to stop. */
int gang_connect(const struct gang *g);
/* Close by a reset, which leaves no TIME_WAIT: ports are not used up. */
void gang_reset(int fd);

/* Talk to the echo service all the time, 16 KiB at once; count[0] counts the rounds. */
void gang_talk(struct gang *g, unsigned i);

/* Is this the long form, $SKELD_STORM_LONG? */
bool is_long(void);

#endif
