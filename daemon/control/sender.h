/* The sender of a signal, as text for the log. Control thread. */
#ifndef SKELD_SENDER_H
#define SKELD_SENDER_H

#include "control/signal_queue.h"

enum { SENDER_MAX = 160 };

/* The last user that was looked up: the next sender is often the same user. All zero: none. */
struct sender_cache {
	uid_t uid;
	char name[64];
};

/*
 * Write "pid 4711 (bash), user root" to OUT. The sender may have exited, or run in another pid or
 * user namespace: the text then states what is unknown. Users come from /etc/passwd only, because a
 * name service could block. The text is escaped, see text_escape().
 */
void sender_describe(const struct signal_arrival *a, struct sender_cache *cache,
		     char out[SENDER_MAX]);

#endif
