/*
 * Memory for a library that cannot be refused any, where malloc(3) has none: blocks set aside from
 * the start, for the few moments in which it needs them.
 *
 * libevent 2.1's evhttp goes through null pointers when it cannot have memory for a connection that
 * it has accepted: see control/admin.c.
 */
#ifndef SKELD_RESERVE_H
#define SKELD_RESERVE_H

#include <stddef.h>

enum { RESERVE_BLOCK = 1024, RESERVE_BLOCKS = 1024 }; /* no memory until they are used */

/* malloc(3), realloc(3) and free(3); any thread. What one of them has given is for the others. */
void *reserve_malloc(size_t n);
void *reserve_realloc(void *p, size_t n);
void reserve_free(void *p);

/* The next COUNT times that this thread asks for something new (malloc), it is not refused up to
 * RESERVE_BLOCK bytes. */
void reserve_open(unsigned count);

#endif
