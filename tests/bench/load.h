/*
 * Clients that repeat: send a request, wait for the complete reply. A request may be several
 * pipelined ones. One thread, many connections.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "channel.h"
#include "measure.h"

struct client;

struct load {
	/* Set by the caller before load_compose(). */
	unsigned short port;
	size_t connections, depth; /* depth: pipelined requests */
	enum channel_kind kind;
	bool reconnect; /* open a new connection for every message */
	bool hold;	/* one message for each connection, opened some at a time; then idle */
	double rate;	/* messages per second over all connections; 0: closed loop, no pauses */

	/* Set by load_compose(): DEPTH requests, and their replies. */
	char *request, *reply;
	size_t request_size, reply_size;
	size_t skip_from, skip_to; /* bytes of each reply that may differ */

	/*
	 * The result. Latency is the time from the write(2) to the last byte of the reply. With a
	 * rate it starts when the message is due, so that a stall counts for each message that it
	 * delays. With reconnect it includes the connect(2).
	 */
	struct samples latency;
	long errors; /* connections refused, closed, reset or not resumed, and wrong replies */

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

/*
 * Compose the messages of PROTOCOL: echo, memcached-get, memcached-set, redis-get, redis-set
 * (values of SIZE bytes, a key for each of the pipelined requests) or http (GET /). Sets the values
 * that are read, and learns the reply of an HTTP server.
 */
void load_compose(struct load *load, const char *protocol, size_t size);

/* Connect all clients. Ends the program if a connection is refused. */
void load_open(struct load *load);

/* Run until every connection has its first reply. Ends the program after 5 s. */
void load_wait_first_replies(struct load *load);

/* Run for SECONDS and add to latency and errors. Returns early if no connection is left. */
void load_run(struct load *load, double seconds);

void load_close(struct load *load);

#endif
