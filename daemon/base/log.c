/*
 * Threads append lines to a queue and never wait for more than the lock, which is not held while
 * anything is formatted or written. The writer takes a run of lines at the tail, formats and writes
 * them without the lock, and frees their room afterwards.
 *
 * To wake the writer costs more than to write a line. So a thread writes its line itself if no
 * other waits and the target takes it at once (a pipe or a socket with room). And if lines follow
 * each other closely, the writer lingers: it looks at the queue every LINGER_MS. A line wakes it
 * before that only if it is urgent, a notice or above, or if the queue fills.
 *
 * A switch of the target does not wait either: the new target joins a list, with the number of
 * lines that come before it.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/log_queue.h"
#include "base/log_target.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	WAIT_MS = 1000, /* for the writer at the end, for a target to open */
	LINGER_MS = 20,
	N_CRASH_SIGNALS = 6,
};

#define NEVER UINT64_MAX

static const int crash_signals[N_CRASH_SIGNALS] = {SIGSEGV, SIGBUS, SIGFPE,
						   SIGILL,  SIGSYS, SIGABRT};

/*
 * The log is global: every function on every thread may log, and the process has one log. A
 * parameter for it in nearly every function would add nothing.
 */
/* Protects all variables below, except atomics. */
static pthread_mutex_t lock = ADAPTIVE_MUTEX_INITIALIZER;

/* Lines that did not fit and are not reported yet. Until then, further lines are dropped, too. */
static uint64_t dropped;
static _Atomic uint64_t n_in;  /* lines that were put into the queue */
static _Atomic uint64_t n_out; /* and those that have left it */

static struct log_target to_stderr = {.kind = LOG_TO_STDERR, .fd = STDERR_FILENO};
static struct log_target *current; /* NULL: stderr, not examined yet */
static struct log_target *pending; /* the targets that follow, oldest first */
static uint64_t reopen_at = NEVER; /* reopen the current target once so many lines are written */

static enum { NO_WRITER, WRITER_RUNS, WRITER_STOPS } writer_state;
static pthread_t writer;
static bool writing; /* lines are being written, perhaps by a thread that is not the writer */
static enum { IS_AWAKE, LINGERS, WAITS } writer_sleep;
static bool is_urgent;		    /* do not let the writer linger */
static int work = -1;		    /* eventfd(2): wakes the writer */
static sem_t started;		    /* the writer runs */
static pthread_cond_t progress;	    /* CLOCK_MONOTONIC: lines were written */
static uint64_t stalled_at = NEVER; /* n_out when the writer did not finish within WAIT_MS */
static struct sigaction before[N_CRASH_SIGNALS];

static _Atomic bool is_child; /* forked: there is no writer here */
static _Atomic int level_limit = LOG_INFO;
static _Atomic uint64_t lost;

/* The queue. */

static bool put_line(const struct log_text *text)
{
	bool put = log_queue_put(text);
	if (put)
		atomic_fetch_add(&n_in, 1);
	return put;
}

/* A run of N lines at the tail, which come before the next target or log_reopen(). */
static const struct log_line *find_run(uint64_t *n)
{
	uint64_t next = pending ? pending->from : n_in;
	*n = (reopen_at < next ? reopen_at : next) - n_out;
	return log_queue_find(n);
}

static void remove_run(uint64_t n)
{
	log_queue_remove(n);
	atomic_fetch_add(&n_out, n);
}

/* Report the dropped lines behind the lines that were queued before them. */
static void report_dropped(void)
{
	struct log_text text;
	if (!dropped || log_queue_used() > LOG_QUEUE_BYTES / 2)
		return;
	log_text_of_loss(&text, dropped);
	if (put_line(&text))
		dropped = 0;
}

/* Writing. Only the thread that has set `writing` gets here; without the lock. */

static struct {
	char bytes[LOG_LINE_MAX];
	size_t n;
	uint64_t refused;   /* lines that the target refused since it last took one */
	size_t report_size; /* the batch begins with a report of them, of so many bytes */
	size_t begun;	    /* so many bytes of the first line are written: write_at_once() */
} batch;

static void write_batch(void)
{
	size_t written = batch.begun;
	written += log_target_write(current, batch.bytes + batch.begun, batch.n - batch.begun);
	batch.begun = 0;
	uint64_t n = 0;
	for (size_t i = written; i < batch.n; i++)
		n += batch.bytes[i] == '\n';
	if (batch.report_size && written >= batch.report_size)
		batch.refused = 0;
	else if (batch.report_size)
		n--; /* the report itself */
	batch.refused += n;
	atomic_fetch_add(&lost, n);
	batch.n = batch.report_size = 0;
}

static void add_to_batch(const struct log_head *about, const char *text, size_t length)
{
	char line[LOG_LINE_MAX];
	if (batch.n && !log_target_takes_many(current))
		write_batch();
	size_t n = log_target_format(current, line, about, text, length);
	if (batch.n + n > sizeof(batch.bytes))
		write_batch();
	memcpy(batch.bytes + batch.n, line, n);
	batch.n += n;
}

static void warn_of_syslog(struct log_target *t)
{
	if (t && t->syslog_error)
		log_warning("cannot reach syslog: /dev/log: %s; logging to stderr until it answers",
			    strerror(t->syslog_error));
	if (t)
		t->syslog_error = 0;
}

static void write_run(const struct log_line *l, uint64_t n)
{
	struct log_text text;
	for (; n; n--, l = log_line_next(l)) {
		if (batch.refused && batch.n == 0) {
			log_text_of_loss(&text, batch.refused);
			add_to_batch(&(struct log_head){l->head.time, text.level, text.is_json,
							text.n_fields},
				     text.bytes, text.length);
			batch.report_size = batch.n;
		}
		add_to_batch(&l->head, l->text, l->length);
	}
	if (batch.n)
		write_batch();
	warn_of_syslog(current);
}

static void reopen(void)
{
	log_target_read_time_zone();
	int error = log_target_reopen(current);
	if (error)
		log_warning("cannot reopen the log %s: %s; logging to the previous file",
			    current->file, strerror(error));
}

/* Carry out one pending task, without the lock. Returns false if there is none. */
static bool write_some(void)
{
	uint64_t n;
	const struct log_line *run;
	if (reopen_at == n_out) {
		reopen_at = NEVER;
		pthread_mutex_unlock(&lock);
		reopen();
		pthread_mutex_lock(&lock);
	} else if (pending && pending->from == n_out) {
		struct log_target *old = current;
		current = pending;
		pending = pending->next;
		pthread_mutex_unlock(&lock);
		log_target_read_time_zone();
		log_discard(old);
		pthread_mutex_lock(&lock);
	} else if (run = find_run(&n), n) {
		pthread_mutex_unlock(&lock);
		write_run(run, n);
		pthread_mutex_lock(&lock);
		remove_run(n);
		report_dropped();
	} else {
		return false;
	}
	return true;
}

static void use_stderr(void)
{
	if (!current) {
		current = &to_stderr;
		log_target_examine(current);
	}
}

static void write_all(void)
{
	writing = true;
	use_stderr();
	while (write_some())
		;
	writing = false;
	pthread_cond_broadcast(&progress);
}

static bool has_work(void)
{
	return n_out != n_in || pending || reopen_at != NEVER;
}

/* Write the only line of the queue, if that cannot block. Else leave it, or the rest of it. */
static void write_at_once(void)
{
	char out[LOG_LINE_MAX];
	uint64_t n;
	if (n_in - n_out != 1 || !current || !current->takes_at_once || batch.refused ||
	    batch.begun)
		return;
	const struct log_line *l = find_run(&n);
	if (n != 1) /* another target comes first */
		return;
	writing = true;
	pthread_mutex_unlock(&lock);
	size_t size = log_target_format(current, out, &l->head, l->text, l->length);
	size_t written = log_target_write_at_once(current, out, size);
	pthread_mutex_lock(&lock);
	writing = false;
	if (written == size)
		remove_run(1);
	else
		batch.begun = written;
	pthread_cond_broadcast(&progress);
}

static void *run_writer(void *arg)
{
	struct pollfd woken = {.fd = work, .events = POLLIN};
	bool lingers = false;
	sem_post(&started);
	pthread_mutex_lock(&lock);
	for (;;) {
		eventfd_t n;
		if (!writing) /* the thread that writes will wake the writer */
			write_all();
		if (writer_state == WRITER_STOPS)
			break;
		writer_sleep = lingers ? LINGERS : WAITS;
		pthread_mutex_unlock(&lock);
		int64_t began = now_ns();
		if (!lingers || poll(&woken, 1, LINGER_MS) > 0)
			eventfd_read(work, &n);
		bool soon = now_ns() - began < INT64_C(2000000) * LINGER_MS;
		pthread_mutex_lock(&lock);
		writer_sleep = IS_AWAKE;
		is_urgent = false;
		lingers = soon && has_work();
	}
	pthread_mutex_unlock(&lock);
	return arg;
}

/* Must the caller wake the writer? If so, the caller does. */
static bool must_wake(void)
{
	bool wakes =
		has_work() && !writing &&
		(writer_sleep == WAITS || (writer_sleep == LINGERS &&
					   (is_urgent || log_queue_used() > LOG_QUEUE_BYTES / 4)));
	if (wakes)
		writer_sleep = IS_AWAKE;
	return wakes;
}

/* Called with the lock, releases it. If a task is pending, write or wake the writer; without delay
 * if URGENT. */
static void write_or_wake_and_unlock(bool urgent)
{
	is_urgent = is_urgent || urgent;
	if (writer_state == NO_WRITER && !writing)
		write_all();
	else if (writer_state == WRITER_RUNS && !writing)
		write_at_once();
	bool wakes = must_wake();
	pthread_mutex_unlock(&lock);
	if (wakes)
		eventfd_write(work, 1);
}

/* Logging. */

static void log_text(int level, const struct log_about *about, const char *format, va_list ap)
	__attribute__((format(printf, 3, 0)));
static void log_text(int level, const struct log_about *about, const char *format, va_list ap)
{
	int saved_errno = errno;
	struct log_text text;
	if (atomic_load_explicit(&is_child, memory_order_relaxed))
		return;
	log_text_compose(&text, level, about, format, ap);
	pthread_mutex_lock(&lock);
	if (dropped || !put_line(&text)) {
		dropped++;
		atomic_fetch_add(&lost, 1);
	}
	write_or_wake_and_unlock(level <= LOG_NOTICE);
	errno = saved_errno;
}

void log_vabout(int level, const struct log_about *about, const char *format, va_list ap)
{
	if (level > atomic_load_explicit(&level_limit, memory_order_relaxed))
		return;
	if (level < LOG_ERR) /* syslog(3) has more urgent levels, this log has none */
		level = LOG_ERR;
	log_text(level, about, format, ap);
}

void log_about(int level, const struct log_about *about, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	log_vabout(level, about, format, ap);
	va_end(ap);
}

void log_line(int level, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	log_vabout(level, NULL, format, ap);
	va_end(ap);
}

void log_always(const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	log_text(LOG_NOTICE, NULL, format, ap);
	va_end(ap);
}

void log_always_about(const struct log_about *about, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	log_text(LOG_NOTICE, about, format, ap);
	va_end(ap);
}

void log_set_format(enum log_format format)
{
	log_text_set_format(format);
}

void log_set_level(int level)
{
	atomic_store(&level_limit, level);
}

int log_level(void)
{
	return atomic_load(&level_limit);
}

uint64_t log_lost(void)
{
	return atomic_load(&lost);
}

/* The life of the writer. */

static void on_fork_in_child(void)
{
	atomic_store(&is_child, true);
}

/*
 * The writer is another thread and still runs: wait for it. Then restore the previous action: a
 * fault occurs again when this returns, any other signal is sent again.
 */
static void on_crash(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (!atomic_load(&is_child) && !pthread_equal(pthread_self(), writer)) {
		uint64_t n = atomic_load(&n_in);
		eventfd_write(work, 1);
		for (int i = 0; i < WAIT_MS && atomic_load(&n_out) < n; i++)
			poll(NULL, 0, 1);
	}
	for (size_t i = 0; i < N_CRASH_SIGNALS; i++)
		if (crash_signals[i] == signal)
			sigaction(signal, &before[i], NULL);
	if (info->si_code <= 0)
		raise(signal);
}

void log_unblock_crash_signals(sigset_t *set)
{
	for (size_t i = 0; i < N_CRASH_SIGNALS; i++)
		sigdelset(set, crash_signals[i]);
}

/* Start a thread with all signals blocked but those of a crash. Returns 0 or an errno(3). */
static int start_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
	sigset_t all, old;
	sigfillset(&all);
	log_unblock_crash_signals(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int error = pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return error;
}

int log_start(void)
{
	static bool registered;
	struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	if (writer_state != NO_WRITER)
		return 0;
	if (!registered && (pthread_atfork(NULL, NULL, on_fork_in_child) || atexit(log_flush)))
		return ENOMEM;
	if (!registered) {
		pthread_condattr_t monotonic;
		pthread_condattr_init(&monotonic);
		pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
		pthread_cond_init(&progress, &monotonic);
	}
	registered = true;
	tzset(); /* here, so that the writer needs no memory */
	sem_init(&started, 0, 0);
	work = eventfd(0, EFD_CLOEXEC);
	if (work < 0)
		return errno;
	use_stderr();
	writer_state = WRITER_RUNS;
	int error = start_thread(&writer, run_writer, NULL);
	if (error) {
		writer_state = NO_WRITER;
		close(work);
		return error;
	}
	/* A fork(2) while the thread begins could copy locks of the C library or of a sanitizer. */
	while (sem_wait(&started) < 0)
		;
	pthread_setname_np(writer, "log-writer");
	for (size_t i = 0; i < N_CRASH_SIGNALS; i++)
		sigaction(crash_signals[i], &action, &before[i]);
	return 0;
}

static struct timespec in_wait_ms(void)
{
	return timespec_of_ns(now_ns() + WAIT_MS * INT64_C(1000000));
}

/* Returns whether the writer finishes within WAIT_MS. Waits only if the writer has written a line
 * since the last wait in vain. With the lock. */
static bool await_writer(void)
{
	struct timespec until = in_wait_ms();
	int error = n_out == stalled_at ? ETIMEDOUT : 0;
	while (error != ETIMEDOUT && (has_work() || writing)) {
		is_urgent = true;
		if (must_wake())
			eventfd_write(work, 1);
		error = pthread_cond_timedwait(&progress, &lock, &until);
	}
	bool finished = !has_work() && !writing;
	stalled_at = finished ? NEVER : n_out;
	return finished;
}

void log_flush(void)
{
	if (atomic_load(&is_child))
		return;
	pthread_mutex_lock(&lock);
	await_writer();
	pthread_mutex_unlock(&lock);
}

void log_stop(void)
{
	pthread_mutex_lock(&lock);
	bool finished = await_writer(), runs = finished && writer_state == WRITER_RUNS;
	if (runs)
		writer_state = WRITER_STOPS;
	pthread_mutex_unlock(&lock);
	if (!finished)
		return;
	if (runs) {
		eventfd_write(work, 1);
		pthread_join(writer, NULL);
		for (size_t i = 0; i < N_CRASH_SIGNALS; i++)
			sigaction(crash_signals[i], &before[i], NULL);
		close(work);
	}
	pthread_mutex_lock(&lock);
	writer_state = NO_WRITER;
	while (writing) /* write_at_once() of a worker that is stuck */
		pthread_cond_wait(&progress, &lock);
	log_discard(current);
	current = NULL;
	write_or_wake_and_unlock(true);
}

/* Targets. */

/* The target of a line that is logged now. With the lock. */
static struct log_target *last_target(void)
{
	struct log_target *t = current;
	for (struct log_target *p = pending; p; p = p->next)
		t = p;
	return t;
}

struct log_target *log_open(enum log_kind kind, const char *file, char *why, size_t size)
{
	struct log_target *t = kind == LOG_TO_STDERR || writer_state == NO_WRITER
				       ? log_target_open(kind, file, why, size)
				       : log_target_open_within(WAIT_MS, kind, file, why, size);
	warn_of_syslog(t);
	return t;
}

void log_discard(struct log_target *t)
{
	if (t && t != &to_stderr)
		log_target_free(t);
}

void log_switch(struct log_target *t)
{
	pthread_mutex_lock(&lock);
	struct log_target *last = last_target();
	t->from = n_in;
	*(pending ? &last->next : &pending) = t;
	write_or_wake_and_unlock(true);
}

void log_send_fields(void)
{
	log_text_set_fields(to_stderr.is_journal);
}

void log_reopen(void)
{
	pthread_mutex_lock(&lock);
	if (reopen_at == NEVER)
		reopen_at = n_in;
	write_or_wake_and_unlock(true);
}

bool log_switch_to_stderr(void)
{
	char why[64];
	pthread_mutex_lock(&lock);
	const struct log_target *t = last_target();
	bool is_elsewhere = t && t->kind != LOG_TO_STDERR;
	pthread_mutex_unlock(&lock);
	struct log_target *new =
		is_elsewhere ? log_open(LOG_TO_STDERR, NULL, why, sizeof(why)) : NULL;
	if (new)
		log_switch(new);
	return new;
}

void log_chown(uid_t uid, gid_t gid)
{
	pthread_mutex_lock(&lock);
	const struct log_target *t = last_target();
	int fd = t && t->kind == LOG_TO_FILE ? t->fd : -1;
	pthread_mutex_unlock(&lock);
	struct stat st;
	int error = 0;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) /* a device keeps its owner */
		return;
	if (st.st_nlink > 1) /* the other name may be that of a system file */
		error = EMLINK;
	else if (fchown(fd, uid, gid) < 0)
		error = errno;
	if (error)
		log_warning("cannot change the owner of the log file to uid %u: %s; reloads may "
			    "be unable to open it",
			    (unsigned)uid, strerror(error));
}
