/* An event loop of libevent's. Any thread. */
#ifndef SKELD_LOOP_H
#define SKELD_LOOP_H

#include <event2/event.h>

/* CONFIG may be NULL. NULL and errno when there is no memory, or no descriptor left to this
 * process: libevent 2.1 itself ends the process where it cannot have a pipe for signals. */
struct event_base *loop_new(const struct event_config *config);

#endif
