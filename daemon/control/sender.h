/* Who sent a signal, in words. Control thread. */
#ifndef SKELD_SENDER_H
#define SKELD_SENDER_H

#include "control/relay.h"

enum { SENDER_MAX = 160 };

/* The last user that was looked up: mostly it is the same again. All zero: none. */
struct sender_cache {
	uid_t uid;
	char name[64];
};

/*
 * "pid 4711 (bash), user root". What cannot be known is said to be so: the sender may have ended,
 * or live outside of this pid or user namespace. Never asks a name service, which could block:
 * users come from /etc/passwd. Safe to show: it went through text_escape().
 */
void sender_describe(const struct arrival *a, struct sender_cache *cache, char out[SENDER_MAX]);

#endif
