/*
 * A service for the tests: threads and callbacks that post to workers.
 *
 *     flood THREADS POSTS   each thread posts so many functions to every worker; answered when all
 *                           of them have run. One flood at a time.
 *     until-stop            a thread posts to the worker until it is refused; answered when the
 *                           first post has run
 *     chain                 a function posts itself until it is refused
 *     TEXT                  is echoed
 */
#include "service_thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 8, WORKERS_MAX = 8, NUMBER_BITS = 24 };

enum { RUN, THREADS, LATENCY };
static const struct service_metric metrics[] = {
	[RUN] = {"posts_run_total", METRIC_COUNTER, "Posts that have run", "posts", "run"},
	[THREADS] = {"posts_threads", METRIC_GAUGE, "Threads of the last flood", "posts",
		     "threads"},
	[LATENCY] = {"posts_latency_seconds", METRIC_HISTOGRAM, "No time at all", "posts",
		     "latency"},
	{0}};

static struct flood {
	struct connection *c; /* held */
	struct worker *home;
	unsigned n_threads, n_posts;
	pthread_t threads[THREADS_MAX];
	unsigned last[WORKERS_MAX][THREADS_MAX]; /* each row is used by one worker only */
	atomic_uint left, mistakes;
} flood;

/* Of one worker. */
struct posts {
	pthread_t until_stop;
	bool has_thread;
	struct connection *asked; /* held: answered when the first post of the thread has run */
	atomic_ulong accepted, run;
	unsigned long chain_accepted, chain_run;
	int error, chain_error;
};

static void answer_flood(struct worker *w, void *arg)
{
	char text[64];
	(void)w, (void)arg;
	for (unsigned i = 0; i < flood.n_threads; i++)
		pthread_join(flood.threads[i], NULL);
	connection_write(flood.c, text,
			 (size_t)snprintf(text, sizeof(text), "flooded, mistakes=%u\n",
					  atomic_load(&flood.mistakes)));
	connection_release(flood.c);
}

static void run_flood(struct worker *w, void *arg)
{
	unsigned number = (unsigned)(uintptr_t)arg, thread = number >> NUMBER_BITS;
	unsigned *last = &flood.last[worker_index(w)][thread];
	number &= (1U << NUMBER_BITS) - 1;
	if (number != ++*last)
		atomic_fetch_add(&flood.mistakes, 1);
	worker_count(w, RUN, 1);
	worker_observe(w, LATENCY, 0);
	if (atomic_fetch_sub(&flood.left, 1) == 1)
		worker_post(flood.home, answer_flood, NULL);
}

static void *post_flood(void *arg)
{
	uintptr_t thread = (uintptr_t)arg << NUMBER_BITS;
	for (unsigned i = 1; i <= flood.n_posts; i++)
		for (unsigned k = 0; k < worker_total(flood.home); k++)
			if (worker_post(worker_of(flood.home, k), run_flood, (void *)(thread | i)) <
			    0)
				atomic_fetch_add(&flood.mistakes, 1);
	return NULL;
}

static void begin_flood(struct connection *c, unsigned n_threads, unsigned n_posts)
{
	struct worker *w = connection_worker(c);
	memset(&flood, 0, sizeof(flood));
	flood.c = c;
	flood.home = w;
	flood.n_threads = n_threads;
	flood.n_posts = n_posts;
	atomic_store(&flood.left, n_threads * n_posts * worker_total(w));
	worker_gauge(w, THREADS, n_threads);
	connection_hold(c);
	for (uintptr_t i = 0; i < n_threads; i++)
		if (pthread_create(&flood.threads[i], NULL, post_flood, (void *)i) != 0)
			abort();
}

static void count_run(struct worker *w, void *arg)
{
	struct posts *p = arg;
	(void)w;
	atomic_fetch_add(&p->run, 1);
	if (!p->asked)
		return;
	connection_write(p->asked, "until-stop\n", strlen("until-stop\n"));
	connection_release(p->asked);
	p->asked = NULL;
}

/* At most a thousand posts wait, so that the test needs little memory. */
static void *post_until_stop(void *worker)
{
	struct worker *w = worker;
	struct posts *p = worker_data(w);
	while (worker_post(w, count_run, p) == 0)
		if (atomic_fetch_add(&p->accepted, 1) - atomic_load(&p->run) > 1000)
			poll(NULL, 0, 1);
	p->error = errno;
	return NULL;
}

static void run_chain(struct worker *w, void *arg)
{
	struct posts *p = arg;
	p->chain_run++;
	if (worker_post(w, run_chain, p) == 0)
		p->chain_accepted++;
	else
		p->chain_error = errno;
}

static void run_line(struct connection *c, const char *line)
{
	struct worker *w = connection_worker(c);
	struct posts *p = worker_data(w);
	unsigned threads, posts;
	if (sscanf(line, "flood %u %u", &threads, &posts) == 2) {
		begin_flood(c, threads, posts);
		return;
	}
	if (strcmp(line, "until-stop\n") == 0) {
		connection_hold(c);
		p->asked = c;
		p->has_thread = pthread_create(&p->until_stop, NULL, post_until_stop, w) == 0;
		return;
	}
	if (strcmp(line, "chain\n") == 0 && worker_post(w, run_chain, p) == 0)
		p->chain_accepted++;
	connection_write(c, line, strlen(line));
}

static size_t posts_data(struct connection *c, const char *bytes, size_t n)
{
	char line[64];
	const char *end = memchr(bytes, '\n', n);
	if (!end)
		return 0;
	snprintf(line, sizeof(line), "%.*s", (int)(end + 1 - bytes), bytes);
	run_line(c, line);
	return (size_t)(end + 1 - bytes);
}

/* A thread of the process, which posts a last time after all workers have ended. */
static pthread_t late;
static atomic_bool is_over;
static _Atomic(struct worker *) any_worker;

static void *post_late(void *arg)
{
	(void)arg;
	while (!atomic_load(&is_over))
		poll(NULL, 0, 10);
	if (worker_post(atomic_load(&any_worker), count_run, NULL) == 0 || errno != ESHUTDOWN)
		abort();
	return NULL;
}

static int posts_begin(const void *config)
{
	(void)config;
	return pthread_create(&late, NULL, post_late, NULL) == 0 ? 0 : -1;
}

static void posts_end(void)
{
	atomic_store(&is_over, true);
	pthread_join(late, NULL);
}

static int posts_start(struct worker *w)
{
	atomic_store(&any_worker, w);
	worker_set_data(w, calloc(1, sizeof(struct posts)));
	return worker_data(w) && worker_total(w) <= WORKERS_MAX ? 0 : -1;
}

static const char *name_of(int error)
{
	return error ? strerrorname_np(error) : "none";
}

static void posts_stop(struct worker *w)
{
	struct posts *p = worker_data(w);
	unsigned long run = atomic_load(&p->run);
	if (p->has_thread)
		pthread_join(p->until_stop, NULL);
	worker_log(w, LOG_NOTICE, "until-stop: accepted=%lu run=%lu error=%s",
		   atomic_load(&p->accepted), run, name_of(p->error));
	worker_log(w, LOG_NOTICE, "chain: accepted=%lu run=%lu error=%s", p->chain_accepted,
		   p->chain_run, name_of(p->chain_error));
	free(p);
}

const struct service service = {.name = "posts",
				.metrics = metrics,
				.begin = posts_begin,
				.end = posts_end,
				.start = posts_start,
				.stop = posts_stop,
				.protocol.data = posts_data};
