/*
 * Clients that repeat: send a request, wait for the complete reply. One thread, many connections.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "measure.h"

struct client;

struct load {
	/* Set by the caller before load_open(). The caller owns the request and the reply. */
	unsigned short port;
	size_t connections;
	const char *request, *reply; /* the same bytes for an echo */
	size_t request_size, reply_size;
	bool reconnect; /* open a new connection for every message */
	double rate;	/* messages per second over all connections; 0: closed loop, no pauses */

	/*
	 * The result. Latency is the time from the write(2) to the last byte of the reply. With a
	 * rate it starts when the message is due, so that a stall counts for each message that it
	 * delays. With reconnect it includes the connect(2).
	 */
	struct samples latency;
	long errors; /* connections refused, closed or reset, and wrong replies */

	/* Private. */
	int epoll;
	struct client *clients;
	size_t live;	   /* open connections */
	size_t unanswered; /* connections without a first reply */
	unsigned opened;
	struct client **idle; /* with a rate: ring of the clients that wait for a message */
	size_t idle_first, idle_count;
	double due_us; /* clock_us() of the next message */
};

/* Connect all clients. Ends the program if a connection is refused. */
void load_open(struct load *load);

/* Run until every connection has its first reply. Ends the program after 5 s. */
void load_wait_first_replies(struct load *load);

/* Run for SECONDS and add to latency and errors. Returns early if no connection is left. */
void load_run(struct load *load, double seconds);

void load_close(struct load *load);

#endif
