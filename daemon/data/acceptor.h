/*
 * Acceptors: each accepts connections from one listening socket, for one worker. Worker's thread.
 */
#ifndef SKELD_ACCEPTOR_H
#define SKELD_ACCEPTOR_H

#include "data/worker.h"

/*
 * Accept from the listeners of S and from no others. S NULL: from none. A listener that S does not
 * contain loses this worker's reference after the connections in its queue are accepted. The queue
 * of a socket unit is left to the unit.
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
