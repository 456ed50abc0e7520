#include "base/reserve.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static struct {
	_Alignas(max_align_t) unsigned char bytes[RESERVE_BLOCK];
} block[RESERVE_BLOCKS];
static atomic_bool used[RESERVE_BLOCKS];
static _Thread_local unsigned open_for;

void reserve_open(unsigned count)
{
	open_for = count;
}

void *reserve_malloc(size_t n)
{
	bool may = open_for > 0;
	open_for -= may;
	void *p = malloc(n);
	if (p || !may || n > RESERVE_BLOCK)
		return p;
	for (size_t i = 0; i < RESERVE_BLOCKS; i++)
		if (!atomic_exchange(&used[i], true))
			return &block[i];
	return NULL;
}

static bool is_reserved(const void *p)
{
	return (uintptr_t)p - (uintptr_t)block < sizeof(block);
}

void *reserve_realloc(void *p, size_t n)
{
	if (!p)
		return reserve_malloc(n);
	if (!is_reserved(p))
		return realloc(p, n);
	if (n <= RESERVE_BLOCK)
		return p;
	void *larger = malloc(n);
	if (larger) {
		memcpy(larger, p, RESERVE_BLOCK);
		reserve_free(p);
	}
	return larger;
}

void reserve_free(void *p)
{
	if (is_reserved(p))
		atomic_store(&used[((uintptr_t)p - (uintptr_t)block) / sizeof(*block)], false);
	else
		free(p);
}
