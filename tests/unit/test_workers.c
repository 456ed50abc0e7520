/* data/workers: a failed start returns at once. */
/* build: WRAP pthread_create */
#include "data/workers.h"

#include "data/worker.h"
#include "fixture.h"
#include "loading.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

TestSuite(workers, .init = fixture_enter, .fini = fixture_leave);

/* Replaces pthread_create(): the second thread cannot be created. */
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);

static int threads;

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg)
{
	return ++threads == 2 ? EAGAIN : __real_pthread_create(t, a, run, arg);
}

/* Does the main thread wait in the kernel? */
static bool control_waits(void)
{
	char path[64], state = 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
	FILE *in = fopen(path, "re");
	int n = in ? fscanf(in, "%*d (%*[^)]) %c", &state) : 0;
	if (in)
		fclose(in);
	return n == 1 && state == 'S';
}

/* Fails after the control plane has begun to wait for the workers. */
static int start_late(struct worker *w)
{
	while (!(atomic_load(&w->orders) & ORDER_QUIT) || !control_waits())
		sched_yield();
	return -1;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

Test(workers, a_failed_start_of_a_worker_does_not_wait_for_that_worker)
{
	enum { SECONDS = 20 };
	static const struct service its = {.name = "test", .start = start_late};
	static const struct listeners none;
	struct errors e = {0};
	unsigned first = 0;
	int progress_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct snapshot *s =
		snapshot_new(load_good("admin { address = \"\" }\n"), NULL, &none, &none, 2, &e);
	struct workers *p = workers_new(&its, 2, progress_fd, &e);
	MUST(progress_fd >= 0 && s && p);
	cr_assert_eq(workers_start(p, s, &e), -1);
	cr_assert_eq(e.n, 1);
	cr_assert(strstr(errors_text(&e, 0), "cannot start worker 1 of 2"), "%s",
		  errors_text(&e, 0));
	double began = now();
	cr_assert_eq(workers_join(p, SECONDS, &first), 0);
	cr_assert_lt(now() - began, SECONDS / 2.0, "it was waited for all the same");
	workers_free(p);
	snapshot_unref(s);
	errors_clear(&e);
	close(progress_fd);
	EXPECT_NOTHING_LEFT();
}
