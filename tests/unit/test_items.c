/* The items of the example services kv.c and resp.c. */
/* build: LINK example_parts */
#include "items.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { NO_LIMIT = 1 << 30 };

static struct word word(const char *text)
{
	return (struct word){text, strlen(text)};
}

static bool store(const char *key, const char *value, int64_t expires, size_t limit)
{
	struct place p = items_lock(word(key));
	const struct new_value v = {.head = word("head "), .a = word(value), .expires = expires};
	bool stored = items_store(&p, &v, limit);
	items_unlock(&p);
	return stored;
}

/* The answer of the item, "" if there is none. */
static const char *get(const char *key)
{
	static char text[64];
	struct place p = items_lock(word(key));
	struct word answer = *p.at ? item_answer(*p.at) : word("");
	snprintf(text, sizeof(text), "%.*s", (int)answer.n, answer.at);
	items_unlock(&p);
	return text;
}

Test(items, an_item_has_the_last_value_of_its_key)
{
	cr_assert(store("a", "first", 0, NO_LIMIT) && store("b", "other", 0, NO_LIMIT));
	size_t bytes = items_bytes();
	cr_assert(store("a", "third", 0, NO_LIMIT));
	cr_assert_str_eq(get("a"), "head third\r\n");
	cr_assert_str_eq(get("b"), "head other\r\n");
	cr_assert_str_eq(get("c"), "");
	cr_assert_eq(items_count(), 2);
	cr_assert_eq(items_bytes(), bytes);
}

Test(items, a_value_may_contain_the_old_one)
{
	cr_assert(store("a", "x", 0, NO_LIMIT));
	struct place p = items_lock(word("a"));
	const struct new_value v = {.a = item_value(*p.at), .b = word("y")};
	cr_assert(items_store(&p, &v, NO_LIMIT));
	items_unlock(&p);
	cr_assert_str_eq(get("a"), "xy\r\n");
}

Test(items, a_value_above_the_limit_leaves_the_old_one)
{
	cr_assert(store("a", "x", 0, NO_LIMIT));
	cr_assert(!store("a", "longer", 0, items_bytes()));
	cr_assert(store("a", "y", 0, items_bytes()));
	cr_assert_str_eq(get("a"), "head y\r\n");
}

Test(items, a_removed_item_frees_its_bytes)
{
	cr_assert(store("a", "x", 0, NO_LIMIT));
	struct place p = items_lock(word("a"));
	items_remove(&p);
	cr_assert_null(*p.at);
	items_unlock(&p);
	cr_assert(items_count() == 0 && items_bytes() == 0);
}

Test(items, an_item_expires_at_its_time)
{
	int64_t now = items_now();
	cr_assert(store("a", "x", now + 1000, NO_LIMIT) && store("b", "x", now, NO_LIMIT) &&
		  store("c", "x", -1, NO_LIMIT));
	cr_assert_str_eq(get("a"), "head x\r\n");
	cr_assert_str_eq(get("b"), "");
	cr_assert_str_eq(get("c"), "");
	cr_assert_eq(items_count(), 1);
}

Test(items, a_flush_ends_older_items_only)
{
	cr_assert(store("a", "x", 0, NO_LIMIT));
	items_flush(items_now() + 1000);
	cr_assert_str_eq(get("a"), "head x\r\n");
	items_flush(0);
	cr_assert(store("b", "x", 0, NO_LIMIT));
	cr_assert_str_eq(get("a"), "");
	cr_assert_str_eq(get("b"), "head x\r\n");
}

Test(items, clean_removes_dead_items_and_no_others)
{
	char key[16];
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "%d", i);
		cr_assert(store(key, "x", 0, NO_LIMIT));
	}
	items_flush(0);
	cr_assert(store("a", "x", 0, NO_LIMIT));
	items_clean();
	cr_assert_eq(items_count(), 1);
	cr_assert_str_eq(get("a"), "head x\r\n");
}

enum { THREADS = 4, ROUNDS = 2000 };

/* Adds 1 to the flags of one item, and stores and removes another one. */
static void *run(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		struct place p = items_lock(word("shared"));
		uint32_t n = *p.at ? (*p.at)->flags : 0;
		const struct new_value v = {.a = word("x"), .flags = n + 1};
		cr_assert(items_store(&p, &v, NO_LIMIT));
		items_unlock(&p);
		p = items_lock(word("other"));
		if (*p.at)
			items_remove(&p);
		else
			cr_assert(items_store(&p, &v, NO_LIMIT));
		items_unlock(&p);
	}
	return NULL;
}

Test(items, threads_lose_no_change)
{
	pthread_t thread[THREADS];
	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, run, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	struct place p = items_lock(word("shared"));
	cr_assert(*p.at && (*p.at)->flags == THREADS * ROUNDS);
	items_unlock(&p);
}
