/*
 * Items in memory that all workers share: a hash table of a fixed size. Each lock protects every
 * STRIPES-th bucket, so that workers rarely wait for each other. An item holds its answer, so that
 * nothing is formatted when it is read. All functions may be called by any thread.
 *
 * Dead items, which have expired or were flushed, are removed when they are found, or when a new
 * item does not fit. A live item is never discarded for a new one.
 */
#ifndef ITEMS_H
#define ITEMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes, not terminated. */
struct word {
	const char *at;
	size_t n;
};

struct item {
	struct item *next; /* in the bucket */
	uint64_t hash;
	uint64_t number;	   /* of this value; counts all values that were ever stored */
	int64_t expires;	   /* of items_now(); 0: never */
	uint32_t flags;		   /* of the owner */
	uint32_t key, head, value; /* bytes of the parts of `text` */
	char text[];		   /* the key, the head of the answer, the value, "\r\n" */
};

/* The place of a key, locked. */
struct place {
	struct word key;
	uint64_t hash;
	struct item **at; /* *AT is the item, NULL: there is none */
};

/* A new value: the head of the answer, and the value in two parts. */
struct new_value {
	struct word head, a, b;
	uint32_t flags;
	int64_t expires;
};

/* Seconds of a clock that never jumps. */
int64_t items_now(void);

/* Lock the stripe of KEY and find its item. KEY must stay valid until items_unlock(). */
struct place items_lock(struct word key);
void items_unlock(const struct place *p);

/* Store V, also in place of an item; the parts may be those of the old item. Returns false if all
 * items together would have more than LIMIT bytes, or there is no memory: the old item stays. */
bool items_store(struct place *p, const struct new_value *v, size_t limit);
void items_remove(struct place *p);

static inline struct word item_value(const struct item *i)
{
	return (struct word){i->text + i->key + i->head, i->value};
}

/* The head, the value and the line end. */
static inline struct word item_answer(const struct item *i)
{
	return (struct word){i->text + i->key, (size_t)i->head + i->value + 2};
}

/* Remove all items at WHEN, which is a time of items_now(); at once if it has passed. The items
 * that are stored until then are dead. A later call replaces one that is still due. */
void items_flush(int64_t when);

/* Remove all dead items, and free their memory. */
void items_clean(void);

/* The number of items and their bytes, dead ones included. */
size_t items_count(void);
size_t items_bytes(void);

#endif
