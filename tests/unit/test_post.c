/* data/post: the queue behind worker_post(). */
/* build: WRAP malloc */
#include "data/post.h"

#include "fixture.h"
#include "serving.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(post, .init = fixture_enter, .fini = fixture_leave);

/* Replaces malloc(). */
void *__wrap_malloc(size_t size);
void *__real_malloc(size_t size);

static bool no_memory;

void *__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

/* One turn of the loop. step() goes on until no event is left. */
static void turn(void)
{
	MUST(event_base_loop(serving.w->base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
}

static char ran[64]; /* the letters of the functions that have run */

static void append_letter(struct worker *w, void *letter)
{
	cr_assert_eq(w, serving.w);
	strcat(ran, letter);
}

static void post(void (*run)(struct worker *w, void *arg), const char *arg)
{
	cr_assert_eq(worker_post(serving.w, run, (char *)(uintptr_t)arg), 0);
}

Test(post, functions_run_in_order_in_the_loop)
{
	serve("");
	post(append_letter, "a");
	post(append_letter, "b");
	cr_assert_str_eq(ran, "");
	STEP_UNTIL(strlen(ran) == 2);
	post(append_letter, "c");
	STEP_UNTIL(strlen(ran) == 3);
	cr_assert_str_eq(ran, "abc");
	serving_end();
}

static void append_and_post(struct worker *w, void *letter)
{
	append_letter(w, letter);
	post(append_letter, "z");
	strcat(ran, "-");
}

Test(post, function_posted_by_a_function_runs_later_and_behind_earlier_ones)
{
	serve("");
	post(append_and_post, "a");
	post(append_letter, "b");
	turn();
	cr_assert_str_eq(ran, "a-b", "%s", ran);
	STEP_UNTIL(strlen(ran) == 4);
	cr_assert_str_eq(ran, "a-bz");
	serving_end();
}

Test(post, workers_are_found_by_their_index)
{
	serve("");
	cr_assert_eq(worker_total(serving.w), 1);
	cr_assert_eq(worker_of(serving.w, worker_index(serving.w)), serving.w);
	cr_assert_null(worker_of(serving.w, 1));
	serving_end();
}

static unsigned n_run;

static void count_run(struct worker *w, void *arg)
{
	(void)w, (void)arg;
	n_run++;
}

Test(post, long_queue_is_divided_into_turns_of_the_loop)
{
	const unsigned n = 10 * POSTS_PER_TURN + 1;
	serving.data = echo;
	serve("");
	int client = client_new();
	for (unsigned i = 0; i < n; i++)
		post(count_run, NULL);
	client_send(client, "x");
	for (unsigned turns = 1; turns <= 3; turns++) {
		turn();
		cr_assert_eq(n_run, turns * POSTS_PER_TURN);
	}
	cr_assert_eq(serving.n_data, 1, "the client waits for the posts");
	STEP_UNTIL(n_run == n);
	client_expect(client, "x");
	close(client);
	serving_end();
}

static void post_again(struct worker *w, void *arg)
{
	n_run++;
	if (worker_post(w, post_again, arg) < 0)
		cr_assert_eq(errno, ESHUTDOWN);
}

Test(post, close_runs_the_accepted_functions_and_refuses_others)
{
	const unsigned n = 3 * POSTS_PER_TURN;
	serve("");
	for (unsigned i = 0; i < n; i++)
		post(count_run, NULL);
	turn();
	cr_assert_lt(n_run, n);
	for (unsigned i = 0; i < n; i++)
		post(post_again, NULL);
	post_queue_close(&serving.w->posts);
	cr_assert_eq(n_run, 2 * n);
	errno = 0;
	cr_assert_eq(worker_post(serving.w, count_run, NULL), -1);
	cr_assert_eq(errno, ESHUTDOWN);
	step_all();
	cr_assert_eq(n_run, 2 * n);
	serving_end();
}

Test(post, functions_that_never_ran_are_freed)
{
	struct post_queue q = {.fd = -1};
	struct event_base *base = event_base_new();
	MUST(base && post_queue_init(&q, base, NULL) == 0);
	for (unsigned i = 0; i < 2 * POSTS_PER_TURN; i++)
		MUST(post_queue_add(&q, count_run, NULL) == 0);
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	cr_assert_eq(n_run, POSTS_PER_TURN);
	cr_assert_not_null(q.batch);
	MUST(post_queue_add(&q, count_run, NULL) == 0);
	cr_assert_not_null(q.first);
	post_queue_free(&q);
	event_base_free(base);
	libevent_global_shutdown();
	cr_assert_eq(n_run, POSTS_PER_TURN);
	EXPECT_NOTHING_LEFT();
}

Test(post, lack_of_memory_is_reported)
{
	serve("");
	errno = 0;
	no_memory = true;
	int result = worker_post(serving.w, count_run, NULL);
	int error = errno;
	no_memory = false;
	cr_assert_eq(result, -1);
	cr_assert_eq(error, ENOMEM);
	post(count_run, NULL);
	STEP_UNTIL(n_run == 1);
	serving_end();
}

enum { THREADS = 4, POSTS = 100000 };
static uintptr_t last[THREADS];

static void check_order(struct worker *w, void *arg)
{
	uintptr_t thread = (uintptr_t)arg % THREADS, number = (uintptr_t)arg / THREADS;
	cr_assert_eq(w, serving.w);
	cr_assert_eq(number, ++last[thread]);
	n_run++;
}

static void *post_many(void *thread)
{
	for (uintptr_t i = 1; i <= POSTS; i++)
		if (worker_post(serving.w, check_order, (void *)(i * THREADS + (uintptr_t)thread)) <
		    0)
			abort();
	return NULL;
}

Test(post, functions_of_threads_are_neither_lost_nor_reordered)
{
	pthread_t threads[THREADS];
	serve("");
	for (uintptr_t i = 0; i < THREADS; i++)
		MUST(pthread_create(&threads[i], NULL, post_many, (void *)i) == 0);
	STEP_UNTIL(n_run == THREADS * POSTS);
	for (unsigned i = 0; i < THREADS; i++)
		MUST(pthread_join(threads[i], NULL) == 0);
	serving_end();
}
