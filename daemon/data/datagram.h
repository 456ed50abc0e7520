/*
 * The datagrams of a worker: it receives from its socket of each UDP listener, passes the datagrams
 * to the service, and sends the answers. Worker's thread.
 *
 * Each turn of the loop receives one batch from a socket, so that datagrams do not starve
 * connections. Answers are gathered while callbacks run, and sent in batches.
 *
 * A socket whose listener was removed is retired: the service receives the datagrams that the
 * kernel has queued, then the socket is closed. While the service holds the worker, the socket
 * stays open for answers.
 *
 * data/datagram.c also implements service_datagram.h.
 */
#ifndef SKELD_DATAGRAM_H
#define SKELD_DATAGRAM_H

#include "data/worker.h"
#include "service_datagram.h"

/* Receive from FD, a socket of L, unless the worker does so already. Takes a reference to L. TITLE
 * is that of the section in this snapshot. Returns false if there is no memory. */
bool datagrams_add(struct worker *w, struct listener *l, int fd, const char *title);

/* Retire the sockets of the listeners that S does not contain. S NULL: of all. The queue of a
 * socket unit is left to the unit. */
void datagrams_keep(struct worker *w, const struct snapshot *s);

/* The service no longer holds the worker: close the retired sockets. */
void datagrams_close_retired(struct worker *w);

/* Once a second: count the datagrams that the kernel has dropped. */
void datagrams_tick(struct worker *w);

/* Close all sockets. The thread has ended. */
void datagrams_free(struct worker *w);

#endif
