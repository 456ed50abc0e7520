/* Who sent a signal, in words. Control thread. */
#ifndef SKELD_SENDER_H
#define SKELD_SENDER_H

#include "control/relay.h"

enum { SENDER_MAX = 160 };

/*
 * "pid 4711 (bash), user root". What cannot be known is said to be so: the sender may have ended,
 * or live outside of this pid or user namespace. Never asks a name service, which could block:
 * users come from /etc/passwd.
 */
void sender_describe(const struct arrival *a, char out[SENDER_MAX]);

#endif
