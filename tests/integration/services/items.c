#include "items.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STRIPES = 256, BUCKETS = STRIPES * 1024 };

static pthread_mutex_t locks[STRIPES] = {[0 ... STRIPES - 1] = PTHREAD_MUTEX_INITIALIZER};
static struct item *buckets[BUCKETS]; /* locks[i % STRIPES] protects buckets[i] */
static _Atomic size_t n_items, n_bytes;
static _Atomic uint64_t last_number, last_flushed; /* of values */
static _Atomic int64_t flush_due = INT64_MAX;

int64_t items_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec;
}

static bool has_passed(int64_t when)
{
	return when != INT64_MAX && when <= items_now();
}

static bool is_dead(const struct item *i)
{
	return i->number <= last_flushed || (i->expires && has_passed(i->expires));
}

static size_t size_of(const struct item *i)
{
	return sizeof(*i) + i->key + i->head + i->value + 2;
}

static void remove_at(struct item **at)
{
	struct item *i = *at;
	*at = i->next;
	n_items--;
	n_bytes -= size_of(i);
	free(i);
}

/* The link to the item with this key, or the last one. Removes dead items on the way. */
static struct item **search(struct item **at, uint64_t hash, struct word key)
{
	for (struct item *i; (i = *at);)
		if (is_dead(i))
			remove_at(at);
		else if (i->hash == hash && i->key == key.n && memcmp(i->text, key.at, key.n) == 0)
			break;
		else
			at = &i->next;
	return at;
}

static void flush_if_due(void)
{
	int64_t due = flush_due;
	if (has_passed(due) && atomic_compare_exchange_strong(&flush_due, &due, INT64_MAX))
		last_flushed = last_number;
}

static uint64_t mix(uint64_t hash)
{
	hash *= 0x9e3779b97f4a7c15;
	return hash ^ hash >> 32;
}

/* Eight bytes at a time. Each mix() moves changes of the low bits to the high ones and back. */
static uint64_t hash_of(struct word key)
{
	uint64_t hash = key.n, part;
	for (; key.n >= sizeof(part); key.at += sizeof(part), key.n -= sizeof(part)) {
		memcpy(&part, key.at, sizeof(part));
		hash = mix(hash ^ part);
	}
	for (; key.n; key.at++, key.n--)
		hash = mix(hash ^ (unsigned char)*key.at);
	return mix(hash);
}

struct place items_lock(struct word key)
{
	struct place p = {.key = key, .hash = hash_of(key)};
	flush_if_due();
	pthread_mutex_lock(&locks[p.hash % STRIPES]);
	p.at = search(&buckets[p.hash % BUCKETS], p.hash, key);
	return p;
}

void items_unlock(const struct place *p)
{
	pthread_mutex_unlock(&locks[p->hash % STRIPES]);
}

/* Remove the dead items of a stripe, which is locked, but not those of the bucket SPARED. */
static void clean_stripe(size_t stripe, size_t spared)
{
	for (size_t b = stripe; b < BUCKETS; b += STRIPES)
		for (struct item **at = &buckets[b]; b != spared && *at;)
			if (is_dead(*at))
				remove_at(at);
			else
				at = &(*at)->next;
}

/* The spared bucket has the link p->at, and the old value, which may be a part of the new one. */
static bool is_room(const struct place *p, size_t size, size_t limit)
{
	limit += *p->at ? size_of(*p->at) : 0;
	if (n_bytes + size > limit)
		clean_stripe(p->hash % STRIPES, p->hash % BUCKETS);
	return n_bytes + size <= limit;
}

bool items_store(struct place *p, const struct new_value *v, size_t limit)
{
	const struct word part[] = {p->key, v->head, v->a, v->b, {"\r\n", 2}};
	struct item new = {.hash = p->hash,
			   .expires = v->expires,
			   .flags = v->flags,
			   .key = (uint32_t)p->key.n,
			   .head = (uint32_t)v->head.n,
			   .value = (uint32_t)(v->a.n + v->b.n)};
	size_t size = size_of(&new);
	struct item *i = is_room(p, size, limit) ? malloc(size) : NULL;
	if (!i)
		return false;
	new.number = ++last_number;
	*i = new;
	char *end = i->text;
	for (size_t k = 0; k < sizeof(part) / sizeof(*part); k++)
		end = part[k].n ? mempcpy(end, part[k].at, part[k].n) : end;
	n_items++;
	n_bytes += size;
	if (*p->at)
		remove_at(p->at);
	i->next = *p->at;
	*p->at = i;
	return true;
}

void items_remove(struct place *p)
{
	remove_at(p->at);
}

void items_flush(int64_t when)
{
	flush_due = when;
	flush_if_due();
}

void items_clean(void)
{
	for (size_t stripe = 0; stripe < STRIPES; stripe++) {
		pthread_mutex_lock(&locks[stripe]);
		clean_stripe(stripe, BUCKETS);
		pthread_mutex_unlock(&locks[stripe]);
	}
}

size_t items_count(void)
{
	return n_items;
}

size_t items_bytes(void)
{
	return n_bytes;
}
