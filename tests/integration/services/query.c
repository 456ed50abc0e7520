/*
 * Example: answers SQL. It shows slow work on threads. Each line of a client is a statement, which
 * a thread runs in the database while the worker serves other clients. The answer is one line for
 * each row, with tabs between the columns, then "ok ROWS" or "error TEXT". A connection has one
 * statement at a time, so its answers are in order. A statement is cancelled when its client leaves
 * or when it takes longer than `timeout`. Each thread has its own, read-only database connection.
 *
 * A job belongs to the worker, in the queue to the pool, and to the worker again in finish_job();
 * only `cancelled` is used by both. The client's connection is held for all that time, so that it
 * is valid in finish_job() also if the client has left.
 */
/* build: LIBRARY sqlite3 */
#include "service.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { THREADS = 2 };		     /* of each worker */
enum { ANSWER_MAX_BYTES = 1 << 20 }; /* before "ok" or "error" */

struct query_config {
	char *database;
	int64_t timeout;
};
static const struct service_option options[] = {
	{"database", OPTION_PATH, offsetof(struct query_config, database), "", 0, 0, NULL, NULL,
	 true, "Database file, \"\" = an empty database"},
	{"timeout", OPTION_NUMBER, offsetof(struct query_config, timeout), "10", 1, 3600, "seconds",
	 NULL, false, "Longest time of a statement"},
	{0}};

enum { STATEMENTS, RUNNING, DURATION };
static const struct service_metric metrics[] = {
	{"query_statements_total", METRIC_COUNTER, "Statements ended", "query", "ended"},
	{"query_running", METRIC_GAUGE, "Statements that wait or run", "query", "running"},
	{"query_seconds", METRIC_HISTOGRAM, "Time from statement to answer", "query", "time"},
	{0}};

struct job {
	struct job *next;     /* in the queue */
	struct connection *c; /* for the worker only */
	atomic_bool cancelled;
	double begun, deadline; /* monotonic seconds */
	size_t size;		/* of the answer */
	char *answer, sql[];	/* answer: NULL if there is no memory */
};

struct pool {		      /* of one worker */
	pthread_mutex_t lock; /* of the queue and `stopping` */
	pthread_cond_t changed;
	struct job *first, **last;
	bool stopping;
	struct worker *worker;
	unsigned n_running, n_threads;
	struct thread {
		pthread_t id;
		struct pool *pool;
		sqlite3 *db;
	} threads[THREADS];
};

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* SQLite calls this now and then. Not 0: the statement ends with an error. */
static int must_end(void *job)
{
	const struct job *j = job;
	return atomic_load(&j->cancelled) || now() > j->deadline;
}

/* Returns the number of rows, -1: an error in the database, -2: the answer is too long. */
static long print_rows(sqlite3_stmt *s, FILE *out)
{
	long rows = 0;
	int result;
	for (; (result = sqlite3_step(s)) == SQLITE_ROW; rows++)
		for (int i = 0, n = sqlite3_column_count(s); i < n; i++) {
			const char *text = (const char *)sqlite3_column_text(s, i);
			for (const char *p = text ? text : "NULL"; *p; p++)
				putc(iscntrl((unsigned char)*p) ? '?' : *p, out);
			putc(i + 1 < n ? '\t' : '\n', out);
			if (ftello(out) > ANSWER_MAX_BYTES)
				return -2;
		}
	return result == SQLITE_DONE ? rows : -1;
}

static void run_job(sqlite3 *db, struct job *j)
{
	sqlite3_stmt *s = NULL;
	long rows = -1;
	FILE *out = open_memstream(&j->answer, &j->size);
	if (!out)
		return;
	sqlite3_progress_handler(db, 1000, must_end, j);
	if (sqlite3_prepare_v2(db, j->sql, -1, &s, NULL) == SQLITE_OK)
		rows = s ? print_rows(s, out) : 0;
	if (rows >= 0)
		fprintf(out, "ok %ld\n", rows);
	else
		fprintf(out, "error %s\n", rows == -1 ? sqlite3_errmsg(db) : "answer too long");
	sqlite3_finalize(s);
	if (ferror(out) | fclose(out)) {
		free(j->answer);
		j->answer = NULL;
	}
}

/* Wait for a job. Returns NULL if the thread has to end. */
static struct job *next_job(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	while (!p->first && !p->stopping)
		pthread_cond_wait(&p->changed, &p->lock);
	struct job *j = p->first;
	if (j && !(p->first = j->next))
		p->last = &p->first;
	pthread_mutex_unlock(&p->lock);
	return j;
}

/* On the worker's thread. */
static void finish_job(struct worker *w, void *job)
{
	struct job *j = job;
	struct pool *p = worker_data(w);
	if (!j->answer)
		connection_close(j->c);
	else
		connection_write(j->c, j->answer, j->size); /* fails if the client has left */
	worker_count(w, STATEMENTS, 1);
	worker_gauge(w, RUNNING, --p->n_running);
	worker_observe(w, DURATION, now() - j->begun);
	connection_set_data(j->c, NULL);
	connection_release(j->c); /* query_data() is called with the next line */
	free(j->answer);
	free(j);
}

/* A thread. Returns the job whose result the worker has refused, because it stops. */
static void *run_jobs(void *thread)
{
	struct thread *t = thread;
	struct job *j;
	while ((j = next_job(t->pool))) {
		run_job(t->db, j);
		while (worker_post(t->pool->worker, finish_job, j) < 0)
			if (errno == ESHUTDOWN)
				return j;
			else
				poll(NULL, 0, 100); /* no memory: try again later */
	}
	return NULL;
}

static size_t query_data(struct connection *c, const char *bytes, size_t n)
{
	struct pool *p = worker_data(connection_worker(c));
	const struct query_config *config = worker_config(p->worker);
	const char *end = memchr(bytes, '\n', n);
	if (!end || connection_data(c)) /* no whole line, or a statement runs */
		return 0;
	size_t length = (size_t)(end - bytes);
	struct job *j = calloc(1, sizeof(*j) + length + 1);
	if (!j) {
		connection_close(c);
		return n;
	}
	memcpy(j->sql, bytes, length);
	j->c = c;
	j->begun = now();
	j->deadline = j->begun + (double)config->timeout;
	connection_set_data(c, j);
	connection_hold(c);
	worker_gauge(p->worker, RUNNING, ++p->n_running);
	pthread_mutex_lock(&p->lock);
	*p->last = j;
	p->last = &j->next;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return length + 1;
}

/* The client has left: finish_job() follows soon. */
static void query_closed(struct connection *c)
{
	struct job *j = connection_data(c);
	if (j)
		atomic_store(&j->cancelled, true);
}

/* All connections are closed, so all jobs are cancelled. */
static void query_stop(struct worker *w)
{
	struct pool *p = worker_data(w);
	void *refused;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	while (p->n_threads) {
		struct thread *t = &p->threads[--p->n_threads];
		pthread_join(t->id, &refused);
		sqlite3_close(t->db);
		if (refused)
			finish_job(w, refused);
	}
	while (p->first) /* every thread has ended with a refused job */
		finish_job(w, next_job(p));
	free(p);
}

static bool start_thread(struct pool *p, struct thread *t)
{
	const struct query_config *config = worker_config(p->worker);
	t->pool = p;
	if (sqlite3_open_v2(config->database, &t->db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK) {
		sqlite3_limit(t->db, SQLITE_LIMIT_ATTACHED, 0); /* no other files */
		sqlite3_limit(t->db, SQLITE_LIMIT_LENGTH, ANSWER_MAX_BYTES);
		if (pthread_create(&t->id, NULL, run_jobs, t) == 0)
			return true;
	}
	worker_log(p->worker, LOG_ERR, "cannot start a thread: %s", sqlite3_errmsg(t->db));
	sqlite3_close(t->db);
	return false;
}

static int query_start(struct worker *w)
{
	struct pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -1;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	p->last = &p->first;
	p->worker = w;
	worker_set_data(w, p);
	while (p->n_threads < THREADS && start_thread(p, &p->threads[p->n_threads]))
		p->n_threads++;
	if (p->n_threads == THREADS)
		return 0;
	query_stop(w);
	return -1;
}

const struct service service = {
	.name = "query",
	.options = options,
	.config_size = sizeof(struct query_config),
	.metrics = metrics,
	.start = query_start,
	.stop = query_stop,
	.data = query_data,
	.closed = query_closed,
	.probe = "select 6 * 7\n",
	.answer = "42\nok 1\n",
};
