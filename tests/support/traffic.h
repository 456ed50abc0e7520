/* Clients that do several things at a time, and observations of the daemon during that time. */
#ifndef SKELD_TESTS_TRAFFIC_H
#define SKELD_TESTS_TRAFFIC_H

#include "client.h"

/* N, or a fifth of it if a sanitizer slows the daemon down. */
size_t scaled(size_t n);

/* Raise the limit of this process and its daemon to N descriptors. Returns the new limit. */
size_t allow_descriptors(size_t n);

/* A long message, sent and received at the same time. */
struct pump {
	int fd;
	uint64_t total, sent, received;
};

/* Send as much as possible without waiting. Returns false if nothing was sent. */
bool pump_send(struct pump *p);
/* Send until the socket is full and the daemon sleeps. */
void pump_fill(struct pump *p);
/* Send and receive until the whole message is back. */
void pump_run(struct pump *p);

/* Receive until EOF, at most SIZE - 1 bytes and a NUL, and close the client. */
size_t client_read_all(int fd, char *text, size_t size);
/* Half-close: shutdown(2) of the sending side. */
void client_shut(int fd);
/* Close with a reset. */
void client_reset(int fd);
/* The address of the client as in the daemon's log. */
const char *client_name(int fd, char name[static 32]);

/*
 * Clients send REQUEST, wait for REPLY and repeat, until a drain closes their connections. Expect
 * that each request has no reply or a complete one, and that nothing was cut off.
 */
void drain_with_clients(const char *request, const char *reply);

/* Send SIGUSR1. Returns METRIC of the new stats.prom. */
double stats_fresh(const char *metric);
/* Dump until METRIC has VALUE. */
void stats_await(const char *metric, double value);
/* Dump until N connections are open and accepted = closed + open. */
void stats_await_open(size_t n);

/* Wait until every thread of the daemon sleeps, so that no temporary descriptor is open. */
void await_idle(void);

/* The CPU time of the daemon during the next MS milliseconds, in milliseconds. */
double measure_cpu(unsigned ms);
double seconds_now(void);

#endif
