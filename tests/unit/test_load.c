/*
 * data/load: every result of a load, at every moment at which the caller may abandon it.
 * Each object is unloaded once, and nothing is left.
 */
/* build: WRAP pthread_create WRAP eventfd WRAP calloc WRAP malloc */
#include "data/load.h"

#include "fixture.h"
#include "loading.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

/* Functions that can fail: the failure is for one call of this thread. */
static _Thread_local bool no_thread, no_eventfd;
static _Thread_local int no_memory; /* the number of the allocation that fails; 0: none */

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __wrap_eventfd(unsigned n, int flags);
int __real_eventfd(unsigned n, int flags);
void *__wrap_calloc(size_t n, size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__real_malloc(size_t size);

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg)
{
	return no_thread ? EAGAIN : __real_pthread_create(t, a, run, arg);
}

int __wrap_eventfd(unsigned n, int flags)
{
	errno = EMFILE;
	return no_eventfd ? -1 : __real_eventfd(n, flags);
}

static bool fails(void)
{
	errno = ENOMEM;
	return no_memory && --no_memory == 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

/* The service: `load` waits until the test lets it go on. */
static int object;
static const void *config_at_load;
static const char *rejection; /* NULL: `load` succeeds */
static sem_t may_return;
static _Atomic unsigned unloads;
static _Atomic int64_t size_at_unload; /* read from the configuration */

static void *on_load(const void *config, char *why, size_t size)
{
	config_at_load = config;
	while (sem_wait(&may_return) < 0)
		;
	if (rejection)
		snprintf(why, size, "%s", rejection);
	return rejection ? NULL : &object;
}

static void on_unload(void *loaded)
{
	cr_assert_eq(loaded, &object);
	const struct thing *t = config_at_load;
	size_at_unload = t->size;
	unloads++;
}

static const struct service its = {.name = "thing", .load = on_load, .unload = on_unload};

static struct load its_load = {&its, "main.conf", .timeout_seconds = ANY_SECONDS};
static struct config *config;
static struct errors e;

static void setup(void)
{
	fixture_enter();
	sem_init(&may_return, 0, 0);
	config = load_good("thing {\n\tsize = 5\n}\n");
}

TestSuite(load, .init = setup, .fini = fixture_leave);

static void expect_one_error(const char *text)
{
	cr_assert_eq(e.n, 1);
	cr_assert_str_eq(errors_text(&e, 0), text);
	errors_clear(&e);
}

static void expect_nothing_left(void)
{
	/* The thread drops what it shares with the caller after it has reported. */
	for (int64_t until = deadline(); open_descriptors() != descriptors_before;) {
		cr_assert(!is_past(until), "a descriptor was left");
		poll(NULL, 0, 1);
	}
	EXPECT_NOTHING_LEFT();
}

/* Request a load, which does not return yet. */
static int request(void)
{
	int fd = load_request(&its_load, config, NULL, &e);
	cr_assert(fd >= 0, "%s", errors_text(&e, 0));
	cr_assert(its_load.busy && !load_poll(&its_load));
	return fd;
}

/* Let the load return, and wait for it. */
static void finish(int fd)
{
	MUST(sem_post(&may_return) == 0);
	await_fd(fd, POLLIN, deadline(), "the end of the load");
	cr_assert(load_poll(&its_load));
}

Test(load, the_object_is_unloaded_with_its_last_reference)
{
	finish(request());
	struct loaded *l = load_result(&its_load, &e);
	cr_assert(l && e.n == 0 && !its_load.busy && its_load.conclusive);
	cr_assert_eq(loaded_object(l), &object);
	cr_assert_eq(config_at_load, config->service);
	config_unref(config); /* the object may still use it */
	cr_assert_eq(loaded_ref(l), l);
	loaded_unref(l);
	cr_assert_eq(unloads, 0);
	loaded_unref(l);
	cr_assert_eq(unloads, 1);
	cr_assert_eq(size_at_unload, 5);
	expect_nothing_left();
}

Test(load, a_rejection_has_the_reason_and_the_line_of_the_section)
{
	rejection = "no such list";
	finish(request());
	cr_assert_null(load_result(&its_load, &e));
	cr_assert(its_load.conclusive && !its_load.busy);
	expect_one_error("skeld.conf:3: section thing: no such list");
	config_unref(config);
	cr_assert_eq(unloads, 0);
	expect_nothing_left();
}

Test(load, a_rejection_without_a_reason_and_without_a_section_is_reported)
{
	config_unref(config);
	config = load_good("workers = 1\n");
	rejection = "";
	finish(request());
	cr_assert_null(load_result(&its_load, &e));
	expect_one_error("main.conf: section thing: the service has not loaded");
	config_unref(config);
	expect_nothing_left();
}

Test(load, a_late_load_is_abandoned_and_blocks_the_next_one)
{
	its_load.timeout_seconds = 0.1;
	MUST(load_request(&its_load, config, NULL, &e) >= 0);
	for (int64_t until = deadline(); !load_poll(&its_load);) {
		cr_assert(!is_past(until));
		poll(NULL, 0, 1);
	}
	cr_assert_null(load_result(&its_load, &e));
	cr_assert(!its_load.conclusive && !its_load.busy);
	expect_one_error(
		"skeld.conf:3: section thing: not loaded within 0.1 s: the file system may "
		"be hung");
	cr_assert_eq(load_request(&its_load, config, NULL, &e), -1);
	expect_one_error(
		"skeld.conf:3: section thing: the previous load has not returned: the file "
		"system may be hung");
	cr_assert_not(load_end(&its_load, 0));
	MUST(sem_post(&may_return) == 0);
	cr_assert(load_end(&its_load, INT32_MAX));
	cr_assert_eq(unloads, 1);
	its_load.timeout_seconds = ANY_SECONDS;
	finish(request());
	loaded_unref(load_result(&its_load, &e));
	cr_assert_eq(unloads, 2);
	config_unref(config);
	expect_nothing_left();
}

Test(load, a_load_that_is_abandoned_before_it_returns_unloads_its_object)
{
	request();
	load_abandon(&its_load);
	load_abandon(&its_load); /* no effect */
	config_unref(config);	 /* the load still uses it */
	MUST(sem_post(&may_return) == 0);
	cr_assert(load_end(&its_load, INT32_MAX));
	cr_assert_eq(unloads, 1);
	cr_assert_eq(size_at_unload, 5);
	expect_nothing_left();
}

Test(load, a_load_that_is_abandoned_after_it_has_returned_is_unloaded)
{
	finish(request());
	load_abandon(&its_load);
	cr_assert_eq(unloads, 1);
	cr_assert(load_end(&its_load, 0));
	config_unref(config);
	cr_assert_eq(unloads, 1);
	expect_nothing_left();
}

/* The caller abandons each load at about the moment at which it returns. */
Test(load, an_object_is_unloaded_once_if_abandon_and_return_race)
{
	enum { TIMES = 2000 };
	for (unsigned i = 1; i <= TIMES; i++) {
		MUST(load_request(&its_load, config, NULL, &e) >= 0);
		MUST(sem_post(&may_return) == 0);
		for (unsigned k = 0; k < i % 50; k++)
			load_poll(&its_load);
		load_abandon(&its_load);
		cr_assert(load_end(&its_load, INT32_MAX));
		cr_assert_eq(unloads, i);
	}
	config_unref(config);
	expect_nothing_left();
}

/* This process was stopped for an hour. */
Test(load, time_in_which_the_process_was_stopped_does_not_count)
{
	int fd = request();
	its_load.limit.polled_ns -= INT64_C(3600000000000);
	cr_assert_not(load_poll(&its_load));
	finish(fd);
	loaded_unref(load_result(&its_load, &e));
	config_unref(config);
	expect_nothing_left();
}

Test(load, a_load_that_cannot_start_is_an_error_and_leaves_nothing)
{
	static const int reasons[] = {EAGAIN, EMFILE, ENOMEM, ENOMEM};
	char text[256];
	for (int i = 0; i < 4; i++) {
		snprintf(text, sizeof(text),
			 "skeld.conf:3: section thing: cannot start the thread that loads: %s",
			 strerror(reasons[i]));
		no_thread = i == 0;
		no_eventfd = i == 1;
		no_memory = i > 1 ? i - 1 : 0;
		cr_assert_null(load_wait(&its_load, config, NULL, &e));
		no_thread = no_eventfd = false;
		cr_assert_eq(no_memory, 0);
		expect_one_error(text);
		cr_assert(!its_load.conclusive && !its_load.busy && load_end(&its_load, 0));
	}
	MUST(sem_post(&may_return) == 0);
	loaded_unref(load_wait(&its_load, config, NULL, &e));
	cr_assert_eq(unloads, 1);
	config_unref(config);
	expect_nothing_left();
}
