/*
 * Clients that do several things at a time, and what can be seen of the daemon meanwhile.
 */
#ifndef SKELD_TESTS_TRAFFIC_H
#define SKELD_TESTS_TRAFFIC_H

#include "client.h"

/* N, or a fifth of it when a sanitizer makes the daemon slow. */
size_t scaled(size_t n);

/* Let this process, and the daemon that it spawns, open N descriptors. How many it may open. */
size_t allow_descriptors(size_t n);

/* A long message that is sent and received back at the same time. */
struct pump {
	int fd;
	uint64_t total, sent, received;
};

/* Send as much as goes without waiting. False: nothing went. */
bool pump_send(struct fixture *f, struct pump *p);
/* Send until neither side takes any more: the daemon has read what it wants, and sleeps. */
void pump_stuff(struct fixture *f, struct pump *p);
/* Both ways, until all of it is back and right. */
void pump_run(struct fixture *f, struct pump *p);

void client_expect_text(struct fixture *f, int fd, const char *text);
/* What comes until EOF, at most SIZE - 1 bytes and a NUL; the client is closed. */
size_t client_read_all(struct fixture *f, int fd, char *text, size_t size);
/* Say that no more comes. */
void client_shut(struct fixture *f, int fd);
/* Leave without a farewell: the daemon receives a reset. */
void client_reset(struct fixture *f, int fd);
/* Where the client is, as the daemon names its peer. */
const char *client_name(struct fixture *f, int fd, char name[static 32]);

/* SIGUSR1, and METRIC of the new stats.prom. */
double stats_fresh(struct fixture *f, const char *metric);
/* Dump until METRIC has VALUE. */
void stats_await(struct fixture *f, const char *metric, double value);
/* Dump until so many connections are open, and accepted = closed + open. */
void stats_await_open(struct fixture *f, size_t n);

/* Wait until every thread of the daemon waits: what it had open for a moment is closed. */
void await_rest(struct fixture *f);

/* CPU time that the daemon takes in the next so many milliseconds; in milliseconds. */
double cpu_during(struct fixture *f, unsigned ms);
double seconds_now(void);

#endif
