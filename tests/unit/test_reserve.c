/* base/reserve: who may not be refused memory is not; everybody else is, as by malloc(3). */
#include "base/reserve.h"

#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

TestSuite(reserve, .init = fixture_enter, .fini = fixture_leave);

/* malloc(3) of base/reserve.c, see CMakeLists.txt. */
void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
static bool refuses;

void *__wrap_malloc(size_t n)
{
	return refuses ? NULL : __real_malloc(n);
}

static bool is_usable(void *p, size_t n)
{
	if (!p || (uintptr_t)p % _Alignof(max_align_t))
		return false;
	memset(p, 0x5a, n);
	return true;
}

Test(reserve, only_where_malloc_refuses_and_only_so_often)
{
	void *p[4];
	refuses = true;
	cr_assert_null(reserve_malloc(1));
	reserve_open(3);
	refuses = false;
	p[0] = reserve_malloc(RESERVE_BLOCK); /* malloc's, and counted */
	refuses = true;
	p[1] = reserve_malloc(RESERVE_BLOCK);
	p[2] = reserve_realloc(NULL, 1);
	p[3] = reserve_malloc(1);
	cr_assert(is_usable(p[0], RESERVE_BLOCK) && is_usable(p[1], RESERVE_BLOCK) &&
		  is_usable(p[2], RESERVE_BLOCK));
	cr_assert(p[1] != p[2] && !p[3]);
	reserve_open(1);
	cr_assert_null(reserve_malloc(RESERVE_BLOCK + 1));
	for (size_t i = 0; i < 3; i++)
		reserve_free(p[i]);
	reserve_free(NULL);
	refuses = false;
	EXPECT_NOTHING_LEFT();
}

Test(reserve, what_grows)
{
	reserve_open(1);
	refuses = true;
	char *p = reserve_malloc(10);
	MUST(is_usable(p, RESERVE_BLOCK));
	cr_assert_eq(reserve_realloc(p, RESERVE_BLOCK), p);
	cr_assert_null(reserve_realloc(p, RESERVE_BLOCK + 1));
	cr_assert_eq(p[RESERVE_BLOCK - 1], 0x5a, "it is still there");
	refuses = false;
	char *larger = reserve_realloc(p, 2 * RESERVE_BLOCK);
	cr_assert(larger && larger != p && larger[RESERVE_BLOCK - 1] == 0x5a);
	larger = reserve_realloc(larger, 4 * RESERVE_BLOCK);
	cr_assert_eq(larger[RESERVE_BLOCK - 1], 0x5a);
	reserve_free(larger);
	reserve_open(1);
	refuses = true;
	cr_assert_eq(reserve_malloc(1), p, "it has been given back");
	reserve_free(p);
	refuses = false;
	EXPECT_NOTHING_LEFT();
}

static void *give_back_all(void *arg)
{
	void **p = arg;
	for (size_t i = 0; i < RESERVE_BLOCKS; i++)
		reserve_free(p[i]);
	refuses = true;
	cr_assert_null(reserve_malloc(1), "it is open for another thread");
	return NULL;
}

Test(reserve, all_of_it_and_again)
{
	static void *p[RESERVE_BLOCKS];
	refuses = true;
	for (int round = 0; round < 2; round++) {
		pthread_t thread;
		reserve_open(RESERVE_BLOCKS + 2);
		for (size_t i = 0; i < RESERVE_BLOCKS; i++)
			cr_assert(is_usable(p[i] = reserve_malloc(1), RESERVE_BLOCK));
		cr_assert_null(reserve_malloc(1));
		refuses = false; /* a thread needs some */
		MUST(pthread_create(&thread, NULL, give_back_all, p) == 0);
		pthread_join(thread, NULL);
	}
	refuses = false;
	EXPECT_NOTHING_LEFT();
}
