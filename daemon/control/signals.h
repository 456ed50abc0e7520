/*
 * What every signal does in every state: one table, in signals.c.
 */
#ifndef SKELD_SIGNALS_H
#define SKELD_SIGNALS_H

#include "base/stats.h"
#include "control/sender.h"

struct daemon;
struct event;

enum { N_SIGNALS = 6, REMEMBERED = 8 };

/* One that was handled, for those who ask later who sent it. */
struct handled {
	const char *signal, *does; /* NULL: none yet */
	uint64_t count;
	double at; /* it arrived, seconds since the epoch */
	char sender[SENDER_MAX];
};

struct signals {
	struct event *event[N_SIGNALS];
	uint64_t handled[N_SIGNALS], coalesced[N_SIGNALS];
	struct histogram latency;   /* arrival to handler */
	struct sender_cache sender; /* forgotten by a reload */
	struct handled last[REMEMBERED];
	size_t n_last; /* all that were ever put there: the latest is at (n_last - 1) % REMEMBERED
			*/
};

/* The first thing main does: until there are handlers, no signal may arrive. */
void signals_block(void);

/* Add the events, put the relay in front of them, and only then let signals in. -1 and errno. */
int signals_start(struct daemon *d);

/* Every now and then: handle those that libevent was not woken for. */
void signals_look(struct daemon *d);

/* Block all, and account for what has arrived. */
void signals_close(struct daemon *d);

/* The last thing: log which have come since then. Nobody acts on them. */
void signals_tell_late(void);

/* Remove the events. */
void signals_stop(struct daemon *d);

void signals_register(struct daemon *d, struct stats *s);

/* "SIGHUP"; and the signal in the I-th row of the table. */
const char *signal_name(int signal);
int signals_at(unsigned i);

#endif
