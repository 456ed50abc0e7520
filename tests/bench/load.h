/*
 * Clients that send a request, wait for the whole reply, and go on: one thread, many connections.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "measure.h"

struct client;

struct load {
	/* What to do; set before load_open(). The request and the reply belong to the caller. */
	unsigned short port;
	size_t connections;
	const char *request, *reply; /* the same bytes for an echo */
	size_t request_size, reply_size;
	bool reconnect; /* a new connection for every message */
	double rate;	/* messages a second over all connections; 0 = as fast as answers come */

	/*
	 * What was seen. Latency is from the write() to the last byte of the reply; with a rate
	 * it is from the moment the message was due, so that a stall counts for every message
	 * it held up. With reconnect it includes the connect.
	 */
	struct samples latency;
	long errors; /* connections refused, closed or reset, and wrong bytes */

	/* Private. */
	int epoll;
	struct client *clients;
	size_t live, ungreeted;
	unsigned opened;
	struct client **idle; /* with a rate: those without a message, a ring */
	size_t idle_first, idle_count;
	double due;
};

/* Connects all clients. Ends the program when one is refused. */
void load_open(struct load *load);

/* Runs until every connection was answered once. Ends the program when that takes 5 s. */
void load_greet(struct load *load);

/* Runs for SECONDS, adding to latency and errors; stops early when no client is left. */
void load_run(struct load *load, double seconds);

void load_close(struct load *load);

#endif
