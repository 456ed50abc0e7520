/*
 * The service manager's notification protocol, sd_notify(3): datagrams of KEY=VALUE lines to the
 * socket named by NOTIFY_SOCKET. libsystemd does it too, and is too large a thing to link for a
 * datagram. Control thread.
 */
#ifndef SKELD_NOTIFY_H
#define SKELD_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { NOTIFY_MAX = 4096 };

struct notify {
	int fd;	     /* -1: nobody asked */
	bool stores; /* the manager keeps descriptors for us, FDSTORE */
	bool warned; /* that it does not hear us */
	struct sockaddr_un address;
	socklen_t length;
	char owed[NOTIFY_MAX]; /* what the manager had no room for yet */
};

/* Reads NOTIFY_SOCKET and removes it from the environment: children must not speak for us. */
void notify_open(struct notify *n);

/*
 * Seconds within which the manager wants to hear WATCHDOG=1, 0 = never. Reads WATCHDOG_USEC and
 * WATCHDOG_PID, sd_watchdog_enabled(3), and removes them.
 */
double notify_watchdog(void);

/*
 * Send one datagram; lines are separated by newlines. Never blocks: what finds no room is kept,
 * and goes out first thing with the next one or notify_retry().
 */
void notify_send(struct notify *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
void notify_retry(struct notify *n);

/*
 * Have the manager keep copies of N descriptors under NAME for our next start, or forget them
 * (N = 0). False: it was not told.
 */
bool notify_store(struct notify *n, const char *name, const int *fds, size_t n_fds);

void notify_close(struct notify *n);

#endif
