/*
 * The signals that the daemon handles. One table in signals.c has the action for each signal in
 * each state. Control thread.
 */
#ifndef SKELD_SIGNALS_H
#define SKELD_SIGNALS_H

#include "control/sender.h"
#include "metrics/registry.h"

struct daemon;
struct event;

enum { N_SIGNALS = 6, RECENT_SIGNALS = 8 };

struct handled_signal {
	const char *name, *action;
	uint64_t count; /* deliveries */
	double at;	/* of the first delivery, seconds since the epoch */
	char sender[SENDER_MAX];
};

struct signals {
	struct event *event[N_SIGNALS];
	uint64_t handled[NSIG], coalesced[NSIG]; /* by signal number */
	struct histogram latency;		 /* from arrival to handler */
	struct sender_cache sender;		 /* cleared by a reload */
	bool ignores_hangup;			 /* started by nohup(1) */
	/* A ring: the latest signal is at (n_recent - 1) % RECENT_SIGNALS. */
	struct handled_signal recent[RECENT_SIGNALS];
	size_t n_recent;
};

/* Block all handled signals until signals_start(). main() calls this first. */
void signals_block(void);

/* From now on a child that the service forks gets default signal handling. Call it before any code
 * of the service. Returns 0, or an errno. */
int signals_protect_children(void);

/* Install the handlers, then unblock. Returns 0, or -1 and errno. */
int signals_start(struct daemon *d);

/*
 * Once a tick: handle arrivals that did not wake the loop. libevent reports no error when its
 * handler cannot write the byte that wakes the loop (a pipe may lack memory), and the queue calls
 * the handler only once.
 */
void signals_check(struct daemon *d);

/* Signals that stop the daemon, delivered so far, handled or not. */
uint64_t signals_stops_received(void);

/* Block all signals for good, and handle those that have arrived. */
void signals_close(struct daemon *d);

/* Remove the events. */
void signals_stop(struct daemon *d);

/* Log the signals that came after signals_close(). */
void signals_log_late(void);

void signals_register_metrics(struct daemon *d, struct registry *r);

/* "SIGHUP"; "?" for a signal that is not handled. */
const char *signal_name(int signal);

#endif
