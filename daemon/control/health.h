/* Checks that the workers respond: each gets a ping at every tick. One that does not answer is
 * stuck. */
#ifndef SKELD_HEALTH_H
#define SKELD_HEALTH_H

#include <stdbool.h>
#include <stddef.h>

struct daemon;

/*
 * Log each worker that has stopped answering, and each that answers again. Returns true if every
 * worker answers in time, so that the service manager's watchdog may be fed.
 */
bool health_check(struct daemon *d);

/* Log each unix socket whose file was removed, once. */
void health_check_socket_files(struct daemon *d);

/* Is the daemon running, and does every worker answer? If not, WHY (SIZE bytes) gets the reason. */
bool health_is_ready(const struct daemon *d, char *why, size_t size);

#endif
