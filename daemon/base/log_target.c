#include "base/log_target.h"

#include "base/clock.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { RETRY_MS = 10 };

/* Opening. */

/* JOURNAL_STREAM is "device:inode" of the stream that the journal reads, systemd.exec(5). */
void log_target_examine(struct log_target *t)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;
	if (t->kind == LOG_TO_SYSLOG || fstat(t->fd, &st) < 0)
		return;
	t->is_journal = t->kind == LOG_TO_STDERR && stream &&
			sscanf(stream, "%llu:%llu", &device, &inode) == 2 && st.st_dev == device &&
			st.st_ino == inode;
	t->is_socket = S_ISSOCK(st.st_mode);
	t->takes_at_once = t->is_socket || S_ISFIFO(st.st_mode);
}

static int connect_syslog_as(int type)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* Datagrams are usual; syslog-ng and s6 may listen on a stream socket. */
static bool connect_syslog(struct log_target *t)
{
	t->fd = connect_syslog_as(SOCK_DGRAM);
	t->is_stream = t->fd < 0 && errno == EPROTOTYPE;
	if (t->is_stream)
		t->fd = connect_syslog_as(SOCK_STREAM);
	t->takes_at_once = t->fd >= 0 && !t->is_stream;
	return t->fd >= 0;
}

/*
 * O_NONBLOCK: a FIFO without a reader is an error. It is cleared then, because the writer may
 * block. O_NOFOLLOW: the user that the daemon changes to may own the directory, and could lead root
 * to another file by a symbolic link.
 */
static int open_file(const char *file)
{
	int fd = open(file,
		      O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
			      (geteuid() == 0 ? O_NOFOLLOW : 0),
		      0640);
	if (fd >= 0)
		fcntl(fd, F_SETFL, O_APPEND);
	return fd;
}

struct log_target *log_target_open(enum log_kind kind, const char *file, char *why, size_t size)
{
	struct log_target *t = calloc(1, sizeof(*t));
	if (!t || (kind == LOG_TO_FILE && !(t->file = strdup(file)))) {
		snprintf(why, size, "cannot open the log: out of memory");
		free(t);
		return NULL;
	}
	t->kind = kind;
	t->fd = kind == LOG_TO_STDERR ? STDERR_FILENO : -1;
	if (kind == LOG_TO_SYSLOG && !connect_syslog(t)) {
		t->syslog_error = errno;
	} else if (kind == LOG_TO_FILE && (t->fd = open_file(file)) < 0) {
		snprintf(why, size, "cannot open the log %s: %s", file, strerror(errno));
		log_target_free(t);
		return NULL;
	}
	log_target_examine(t);
	return t;
}

void log_target_free(struct log_target *t)
{
	if (t->kind != LOG_TO_STDERR && t->fd >= 0)
		close(t->fd);
	free(t->file);
	free(t);
}

/* Shared by the thread that opens and the thread that waits. The last of them frees it. */
struct opening {
	pthread_mutex_t lock;	/* of DONE and ABANDONED */
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	bool done, abandoned;
	enum log_kind kind;
	struct log_target *target;
	char *file, why[512];
};

static struct opening *new_opening(enum log_kind kind, const char *file)
{
	pthread_condattr_t monotonic;
	struct opening *o = calloc(1, sizeof(*o));
	if (!o || !(o->file = strdup(file))) {
		free(o);
		return NULL;
	}
	o->kind = kind;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->changed, &monotonic);
	return o;
}

static void free_opening(struct opening *o)
{
	pthread_mutex_destroy(&o->lock);
	pthread_cond_destroy(&o->changed);
	free(o->file);
	free(o);
}

static void *run_opening(void *arg)
{
	struct opening *o = arg;
	o->target = log_target_open(o->kind, o->file, o->why, sizeof(o->why));
	pthread_mutex_lock(&o->lock);
	bool abandoned = o->abandoned;
	o->done = true;
	pthread_cond_signal(&o->changed);
	pthread_mutex_unlock(&o->lock);
	if (abandoned) {
		if (o->target)
			log_target_free(o->target);
		free_opening(o);
	}
	return NULL;
}

/* Returns false if the target was not opened in time. */
static bool await_opening(struct opening *o, int ms)
{
	struct timespec t = timespec_of_ns(now_ns() + ms * INT64_C(1000000));
	int error = 0;
	pthread_mutex_lock(&o->lock);
	while (!o->done && error != ETIMEDOUT)
		error = pthread_cond_timedwait(&o->changed, &o->lock, &t);
	bool done = o->done;
	o->abandoned = !done;
	pthread_mutex_unlock(&o->lock);
	return done;
}

static int start_opening(struct opening *o)
{
	pthread_t thread;
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int error = pthread_create(&thread, NULL, run_opening, o);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!error)
		pthread_detach(thread);
	return error;
}

struct log_target *log_target_open_within(int ms, enum log_kind kind, const char *file, char *why,
					  size_t size)
{
	struct log_target *t = NULL;
	struct opening *o = new_opening(kind, file);
	int error = o ? start_opening(o) : ENOMEM;
	if (!error && !await_opening(o, ms)) {
		snprintf(why, size, "log %s not opened within %d s: the file system may be hung",
			 file, ms / 1000);
		return NULL;
	}
	if (error) {
		snprintf(why, size, "cannot open the log %s: %s", file, strerror(error));
	} else {
		t = o->target;
		snprintf(why, size, "%s", o->why);
	}
	if (o)
		free_opening(o);
	return t;
}

int log_target_reopen(struct log_target *t)
{
	if (t->kind != LOG_TO_FILE)
		return 0;
	/* The number of the descriptor stays: log_chown() may use it on another thread. */
	int fd = open_file(t->file);
	struct stat st;
	int error = fd >= 0 && dup3(fd, t->fd, O_CLOEXEC) >= 0 ? 0 : errno;
	if (!error && fstat(fd, &st) == 0 && st.st_size == 0)
		t->has_partial_line = false; /* otherwise it may be the same file */
	if (fd >= 0)
		close(fd);
	return error;
}

/* Formatting. */

/* The text of a second, because most lines share it with the line before. */
static struct {
	bool valid;
	time_t second;
	char text[64]; /* "2026-01-31 23:59:59.000+01:00 " */
	size_t length;
} now;

void log_target_read_time_zone(void)
{
	tzset();
	now.valid = false;
}

static void set_now(time_t second)
{
	struct tm tm;
	char zone[8] = ""; /* "+0100" */
	if (now.valid && now.second == second)
		return;
	now.valid = true;
	now.second = second;
	localtime_r(&second, &tm);
	strftime(zone, sizeof(zone), "%z", &tm);
	now.length = strftime(now.text, sizeof(now.text), "%Y-%m-%d %H:%M:%S.000", &tm);
	now.length += (size_t)snprintf(now.text + now.length, sizeof(now.text) - now.length,
				       "%.3s:%s ", zone, zone + 3);
}

static const char *const levels[] = {[LOG_ERR] = "error",
				     [LOG_WARNING] = "warning",
				     [LOG_NOTICE] = "notice",
				     [LOG_INFO] = "info",
				     [LOG_DEBUG] = "debug"};

/* "2026-01-31 23:59:59.999+01:00 ". Returns the length. */
static size_t format_time(char *out, const struct timespec *time)
{
	unsigned ms = (unsigned)(time->tv_nsec / 1000000);
	set_now(time->tv_sec);
	memcpy(out, now.text, now.length);
	char *digits = out + now.length - strlen("000+01:00 ");
	digits[0] = (char)('0' + ms / 100);
	digits[1] = (char)('0' + ms / 10 % 10);
	digits[2] = (char)('0' + ms % 10);
	return now.length;
}

/* The time and the level, with spaces behind a short one. */
static size_t format_time_and_level(char *out, const struct log_head *head)
{
	size_t n = format_time(out, &head->time), length = strlen(levels[head->level]);
	memset(out + n, ' ', 8);
	memcpy(out + n, levels[head->level], length);
	return n + 8;
}

/* Write the part before the text, in the format of syslog(3), RFC 3164. Do not call syslog(3): it
 * cannot fall back to stderr and counts no losses. */
static size_t format_prefix(char *out, size_t size, struct log_target *t,
			    const struct log_head *head)
{
	if (t->kind == LOG_TO_SYSLOG && (t->fd >= 0 || connect_syslog(t))) {
		char date[32];
		struct tm tm;
		strftime(date, sizeof(date), "%b %e %H:%M:%S",
			 localtime_r(&head->time.tv_sec, &tm));
		return (size_t)snprintf(out, size, "<%d>%s skeld[%d]: ", LOG_DAEMON | head->level,
					date, (int)getpid());
	}
	if (t->is_journal)
		return (size_t)snprintf(out, size, "<%d>", head->level);
	return head->is_json ? 0 : format_time_and_level(out, head);
}

/* {"time":"2026-01-31T23:59:59.999+01:00","level":"notice","event":... }, RFC 3339 and 8259. */
static size_t format_object(char *out, const struct log_head *head, const char *members,
			    size_t length)
{
	char time[sizeof(now.text)];
	size_t n = format_time(time, &head->time);
	time[strlen("2026-01-31")] = 'T';
	time[n - 1] = '\0'; /* the space */
	n = (size_t)sprintf(out, "{\"time\":\"%s\",\"level\":\"%s\"", time, levels[head->level]);
	memcpy(out + n, members, length);
	out[n + length] = '}';
	return n + length + 1;
}

size_t log_target_format(struct log_target *t, char *out, const struct log_head *head,
			 const char *text, size_t length)
{
	size_t n = format_prefix(out, LOG_LINE_MAX, t, head);
	t->fields = text + length;
	t->n_fields = t->is_journal ? head->n_fields : 0;
	if (head->is_json)
		n += format_object(out + n, head, text, length);
	else
		n += text_escape(out + n, LOG_LINE_MAX - n - 1, text, length);
	out[n++] = '\n';
	return n;
}

/* Writing. */

static size_t write_all(int fd, const char *bytes, size_t n)
{
	size_t done = 0;
	while (done < n) {
		ssize_t k = write(fd, bytes + done, n - done);
		if (k > 0)
			done += (size_t)k;
		else if (k < 0 && errno == EAGAIN)
			/* Another process that shares the open file has set O_NONBLOCK. poll(2) is
			 * no help: it reports a full terminal as writable. */
			nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
		else if (k == 0 || errno != EINTR)
			break;
	}
	return done;
}

/* A datagram has no end mark; in a stream, it is a NUL as in syslog(3). */
static bool send_message(const struct log_target *t, const char *line, size_t n)
{
	char message[LOG_LINE_MAX];
	size_t done = 0;
	memcpy(message, line, n);
	message[n - 1] = '\0';
	n -= !t->is_stream;
	while (t->fd >= 0 && done < n) {
		ssize_t k = send(t->fd, message + done, n - done, MSG_NOSIGNAL);
		if (k >= 0)
			done += (size_t)k;
		else if (errno != EINTR)
			break;
	}
	return done == n;
}

/* The syslog daemon may have been restarted: connect again. */
static size_t write_to_syslog(struct log_target *t, const char *line, size_t n)
{
	if (send_message(t, line, n))
		return n;
	close(t->fd);
	if (connect_syslog(t))
		return send_message(t, line, n) ? n : 0;
	t->syslog_error = errno;
	return 0;
}

/*
 * Send "<LEVEL>text" and the fields by systemd.io/JOURNAL_NATIVE_PROTOCOL. Returns false if the
 * journal does not take them. The socket serves until the process ends: it is not connected, so a
 * restart of the journal does not matter.
 */
static bool send_to_journal(const struct log_target *t, const char *line, size_t n, int flags)
{
	static int fd = -1;
	char head[] = "PRIORITY=6\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=skeld\nMESSAGE=";
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};
	struct iovec parts[] = {{head, sizeof(head) - 1},
				{(void *)(uintptr_t)(line + 3), n - 3},
				{(void *)(uintptr_t)t->fields, t->n_fields}};
	const struct msghdr m = {.msg_name = &a,
				 .msg_namelen = sizeof(a),
				 .msg_iov = parts,
				 .msg_iovlen = sizeof(parts) / sizeof(*parts)};
	head[strlen("PRIORITY=")] = line[1];
	if (fd < 0)
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return sendmsg(fd, &m, flags | MSG_NOSIGNAL) >= 0;
}

size_t log_target_write(struct log_target *t, const char *lines, size_t n)
{
	if (t->kind == LOG_TO_SYSLOG && t->fd >= 0)
		return write_to_syslog(t, lines, n);
	if (t->n_fields && send_to_journal(t, lines, n, 0)) /* may wait for room: keeps the order */
		return n;
	int fd = t->fd >= 0 ? t->fd : STDERR_FILENO;
	if (t->has_partial_line && write_all(fd, "\n", 1) == 0)
		return 0;
	size_t written = write_all(fd, lines, n);
	t->has_partial_line = written > 0 ? lines[written - 1] != '\n' : false;
	return written;
}

size_t log_target_write_at_once(struct log_target *t, const char *line, size_t n)
{
	ssize_t k = -1;
	if (t->has_partial_line)
		return 0;
	if (t->n_fields)
		return send_to_journal(t, line, n, MSG_DONTWAIT) ? n : 0;
	if (t->kind == LOG_TO_SYSLOG) {
		k = send(t->fd, line, n - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		return k == (ssize_t)n - 1 ? n : 0;
	}
	if (t->is_socket) {
		k = send(t->fd, line, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	} else {
		/* O_NONBLOCK would change the pipe for other processes, too. */
#ifdef RWF_NOWAIT
		const struct iovec whole = {.iov_base = (void *)(uintptr_t)line, .iov_len = n};
		k = pwritev2(t->fd, &whole, 1, -1, RWF_NOWAIT);
#endif
		if (k < 0 && errno != EAGAIN) /* Linux before 6.5 cannot do that to a pipe */
			t->takes_at_once = false;
	}
	return k > 0 ? (size_t)k : 0;
}
