/*
 * Looks up host names in helper threads, because getaddrinfo(3) blocks. Worker's thread.
 *
 * At most two lookups run at once, the others wait. A lookup cannot be interrupted: if it is
 * cancelled, its result is discarded when it arrives.
 */
#ifndef SKELD_RESOLVER_H
#define SKELD_RESOLVER_H

#include <netdb.h>

struct worker;
struct lookup;

/*
 * Look up HOST and the number PORT for stream sockets. DONE is called on the thread of W, in a
 * later turn of its loop, with 0 and the addresses, which it does not own; or with an error of
 * getaddrinfo(3) and NULL. Then the lookup is over. If memory is short, DONE may never be called:
 * cancel the lookup after a time limit. Returns NULL and errno if too many lookups wait or memory
 * is short.
 */
struct lookup *resolver_look_up(struct worker *w, const char *host, const char *port,
				void (*done)(void *arg, int error, const struct addrinfo *list),
				void *arg);

/* DONE was not called yet, and will not be. */
void resolver_cancel(struct lookup *l);

#endif
