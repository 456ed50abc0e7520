/*
 * The service manager's notification protocol, sd_notify(3): datagrams of KEY=VALUE lines to the
 * socket in NOTIFY_SOCKET. libsystemd is too large a dependency for one datagram. Control thread.
 */
#ifndef SKELD_NOTIFY_H
#define SKELD_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { NOTIFY_MAX = 4096 };

struct notify {
	int fd;	     /* -1: no service manager */
	bool stores; /* the manager keeps descriptors for the daemon, FDSTORE */
	bool warned; /* the last datagram failed, and the failure is logged */
	struct sockaddr_un address;
	socklen_t length;
	char pending[NOTIFY_MAX]; /* lines that the socket could not take yet */
};

/* Reads NOTIFY_SOCKET and removes it from the environment, so that no child inherits it. */
void notify_open(struct notify *n);

/*
 * The interval in seconds within which the manager expects WATCHDOG=1; 0: it expects none. Reads
 * WATCHDOG_USEC and WATCHDOG_PID, sd_watchdog_enabled(3), and removes them.
 */
double notify_watchdog(void);

/*
 * Send one datagram; lines are separated by newlines. Never blocks: if the socket is full, the
 * lines are sent with the next datagram, or by notify_retry().
 */
void notify_send(struct notify *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
void notify_retry(struct notify *n);

/*
 * Store copies of N_FDS descriptors in the manager under NAME, for the next start of this daemon; 0
 * removes them. Returns false, and logs a warning, if the message could not be sent.
 */
bool notify_store(struct notify *n, const char *name, const int *fds, size_t n_fds);

void notify_close(struct notify *n);

#endif
