/*
 * Example: answers SQL. It shows slow work on threads. Each line of a client is a statement, which
 * a thread runs in the database, read-only, while the worker serves other clients. The answer is a
 * line for each row, with tabs between the columns, then "ok ROWS" or "error TEXT". A client's
 * statements run one after the other. They are cancelled when it leaves, or after `timeout`.
 *
 * A job belongs to a thread until finish_job(); only `cancelled` is used by both sides. The
 * connection is held until then, so that it is valid also if the client has left.
 */
/* build: LIBRARY sqlite3 */
#include "service_thread.h"

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

enum { THREADS = 2, ANSWER_MAX = 1 << 20 }; /* for each worker; bytes */

struct query_config {
	char *database;
	int64_t timeout;
};
static const struct service_option options[] = {
	{"database", OPTION_PATH, offsetof(struct query_config, database), "", 0, 0, NULL, NULL,
	 false, .help = "Database file, \"\" = an empty database"},
	{"timeout", OPTION_NUMBER, offsetof(struct query_config, timeout), "10", 1, 3600, "seconds",
	 NULL, false, .help = "Longest time of a statement"},
	{0}};

enum { RUNNING, DURATION };
static const struct service_metric metrics[] = {
	{"query_running", METRIC_GAUGE, "Statements that wait or run", "query", "running"},
	{"query_seconds", METRIC_HISTOGRAM, "Time from statement to answer", "query", "time"},
	{0}};

struct job {
	struct job *next;     /* in the queue */
	struct connection *c; /* for the worker only */
	atomic_bool cancelled;
	double begun, deadline; /* monotonic seconds */
	char *answer;
	size_t size;	       /* of the answer */
	bool complete;	       /* false: no memory for the answer */
	char *database, sql[]; /* copies */
};

struct pool {		      /* of one worker */
	pthread_mutex_t lock; /* of the queue and `stopping` */
	pthread_cond_t changed;
	struct job *first, **last;
	bool stopping;
	struct worker *worker;
	unsigned n_running, n_threads;
	pthread_t threads[THREADS];
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

static void print_row(sqlite3_stmt *s, FILE *out)
{
	for (int i = 0, n = sqlite3_column_count(s); i < n; i++) {
		const char *text = (const char *)sqlite3_column_text(s, i);
		for (const char *p = text ? text : "NULL"; *p; p++)
			putc(iscntrl((unsigned char)*p) ? '?' : *p, out);
		putc(i + 1 < n ? '\t' : '\n', out);
	}
}

static void run_job(struct job *j)
{
	sqlite3 *db;
	sqlite3_stmt *s = NULL;
	long rows = 0;
	FILE *out = open_memstream(&j->answer, &j->size);
	if (!out)
		return;
	int result = sqlite3_open_v2(j->database, &db, SQLITE_OPEN_READONLY, NULL);
	if (result == SQLITE_OK) {
		sqlite3_progress_handler(db, 1000, must_end, j);
		sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0); /* no other files */
		sqlite3_limit(db, SQLITE_LIMIT_LENGTH, ANSWER_MAX);
		result = sqlite3_prepare_v2(db, j->sql, -1, &s, NULL);
	}
	for (; s && (result = sqlite3_step(s)) == SQLITE_ROW && ftello(out) < ANSWER_MAX; rows++)
		print_row(s, out);
	if (result == SQLITE_OK || result == SQLITE_DONE)
		fprintf(out, "ok %ld\n", rows);
	else
		fprintf(out, "error %s\n",
			result == SQLITE_ROW ? "answer too long" : sqlite3_errmsg(db));
	sqlite3_finalize(s);
	sqlite3_close(db);
	j->complete = fflush(out) == 0 && !ferror(out);
	fclose(out);
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

static void finish_job(struct worker *w, void *job)
{
	struct job *j = job;
	struct pool *p = worker_data(w);
	if (j->complete && j->answer)
		connection_write(j->c, j->answer, j->size); /* fails if the client has left */
	else
		connection_close(j->c);
	worker_gauge(w, RUNNING, --p->n_running);
	worker_observe(w, DURATION, now() - j->begun);
	connection_set_data(j->c, NULL);
	connection_release(j->c); /* query_data() is called with the next line */
	free(j->answer);
	free(j->database);
	free(j);
}

/* A thread. Returns the job whose result the worker has refused, because it stops. */
static void *run_jobs(void *pool)
{
	struct pool *p = pool;
	for (struct job *j; (j = next_job(p));) {
		run_job(j);
		for (; worker_post(p->worker, finish_job, j) < 0; poll(NULL, 0, 100))
			if (errno == ESHUTDOWN) /* else there is no memory: try again */
				return j;
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
	if (!j || !(j->database = strdup(config->database))) {
		free(j);
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

/* The client has left. If a statement runs, finish_job() follows soon. */
static void query_closed(struct connection *c)
{
	struct job *j = connection_data(c);
	if (j)
		atomic_store(&j->cancelled, true);
}

/* A client that waits for an answer keeps its sending side open: this one has left, too. */
static void query_ended(struct connection *c)
{
	query_closed(c);
	connection_close(c);
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
		pthread_join(p->threads[--p->n_threads], &refused);
		if (refused)
			finish_job(w, refused);
	}
	while (p->first) /* every thread has ended with a refused job */
		finish_job(w, next_job(p));
	free(p);
}

static int query_start(struct worker *w)
{
	struct pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -1;
	*p = (struct pool){PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, .last = &p->first,
			   .worker = w};
	worker_set_data(w, p);
	sqlite3_hard_heap_limit64(64 << 20); /* bytes, of all statements together */
	for (; p->n_threads < THREADS; p->n_threads++)
		if (pthread_create(&p->threads[p->n_threads], NULL, run_jobs, p) != 0) {
			query_stop(w);
			return -1;
		}
	return 0;
}

const struct service service = {
	.name = "query",
	.options = options,
	.config_size = sizeof(struct query_config),
	.metrics = metrics,
	.start = query_start,
	.stop = query_stop,
	.protocol = {.data = query_data, .ended = query_ended, .closed = query_closed},
	.probe = "select 6 * 7\n",
	.answer = "42\nok 1\n",
};
