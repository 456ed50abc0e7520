/* Creates the event loops of the daemon. Any thread. */
#ifndef SKELD_EVENT_LOOP_H
#define SKELD_EVENT_LOOP_H

#include <event2/event.h>

/*
 * Returns a new event loop, or NULL and errno if memory or descriptors are short. CONFIG may be
 * NULL. Use this instead of event_base_new(): libevent 2.1 ends the process if it cannot open its
 * socket pair for signals.
 */
struct event_base *event_loop_new(const struct event_config *config);

#endif
