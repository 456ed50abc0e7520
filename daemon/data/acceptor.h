/*
 * Acceptors: each accepts connections from one listening socket, for one worker. The sockets of UDP
 * listeners are passed to data/datagram.h. Worker's thread.
 */
#ifndef SKELD_ACCEPTOR_H
#define SKELD_ACCEPTOR_H

#include "data/worker.h"

/*
 * Accept from the listeners of S. From any other listener, accept the connections that are in its
 * queue, and wait a second for handshakes that have begun; then drop this worker's reference. S
 * NULL: accept what is in the queues, and do not wait. The queue of a socket unit is left to the
 * unit.
 */
void acceptors_update(struct worker *w, const struct snapshot *s);

/*
 * The worker takes S: add acceptors for the listeners of all snapshots that it has not taken, see
 * data/snapshot.h. The following acceptors_update() accepts what waits there.
 */
void acceptors_catch_up(struct worker *w, struct snapshot *s);

/* Timer: accept again. Descriptors or memory had run out. */
void acceptors_resume(struct worker *w);

/* Remove all acceptors, even if connections wait that cannot be accepted for lack of descriptors.
 */
void acceptors_abandon(struct worker *w);

#endif
