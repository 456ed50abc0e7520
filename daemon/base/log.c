#include "base/log.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct log_target {
	enum log_kind kind;
	int fd;
	bool is_journal;       /* systemd's journal reads it: write "<LEVEL>text", without a time */
	bool is_socket;	       /* use send(2) with MSG_DONTWAIT, else poll(2) and write(2) */
	bool has_partial_line; /* a full disk cut the last line: begin a new one */
};

/*
 * The log is global: every function on every thread may log, and the process has one log. A
 * parameter for it in nearly every function would add nothing.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_target to_stderr = {.kind = LOG_TO_STDERR, .fd = STDERR_FILENO};
static struct log_target *current; /* under lock; NULL: stderr, its type is not detected yet */
static uint64_t lost_since_line;   /* under lock: dropped since the last line was written */
static _Atomic int level_limit = LOG_INFO;
static _Atomic uint64_t lost;

/* JOURNAL_STREAM is "device:inode" of the stream that the journal reads, systemd.exec(5). */
static bool is_journal_stream(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;
	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(fd, &st) == 0 &&
	       st.st_dev == device && st.st_ino == inode;
}

static void detect_type(struct log_target *t)
{
	struct stat st;
	t->is_socket = fstat(t->fd, &st) == 0 && S_ISSOCK(st.st_mode);
	t->is_journal = t->kind == LOG_TO_STDERR && is_journal_stream(t->fd);
}

static int connect_syslog(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* Write the part of the line before the text. The syslog form is that of RFC 3164. syslog(3) cannot
 * be used, because it blocks while the syslog daemon does not read. */
static size_t format_prefix(char *out, size_t size, const struct log_target *t, int level)
{
	static const char *const names[] = {[LOG_ERR] = "error",
					    [LOG_WARNING] = "warning",
					    [LOG_NOTICE] = "notice",
					    [LOG_INFO] = "info",
					    [LOG_DEBUG] = "debug"};
	struct timespec now;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	if (t->kind == LOG_TO_SYSLOG) {
		char date[32];
		strftime(date, sizeof(date), "%b %e %H:%M:%S", &tm);
		return (size_t)snprintf(out, size, "<%d>%s skeld[%d]: ", LOG_DAEMON | level, date,
					(int)getpid());
	}
	if (t->is_journal)
		return (size_t)snprintf(out, size, "<%d>", level);
	char date[32];
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	return (size_t)snprintf(out, size, "%s.%03ld %-7s ", date, now.tv_nsec / 1000000,
				names[level]);
}

static ssize_t write_nonblocking(const struct log_target *t, const char *line, size_t n)
{
	if (t->is_socket)
		return send(t->fd, line, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	/* Do not set O_NONBLOCK: other processes may share this open file. poll(2) reports a pipe
	 * as writable if PIPE_BUF bytes fit (pipe(7)), and `lock` excludes our other threads. */
	struct pollfd p = {.fd = t->fd, .events = POLLOUT};
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)) {
		errno = EAGAIN;
		return -1;
	}
	return write(t->fd, line, n);
}

/* The syslog daemon may have been restarted: connect again. */
static bool reconnect_syslog(struct log_target *t)
{
	int fd = connect_syslog();
	if (fd < 0)
		return false;
	close(t->fd);
	t->fd = fd;
	return true;
}

/* Returns false if the line was not written, or not completely. */
static bool write_line(struct log_target *t, int level, const char *text, size_t length)
{
	char line[LOG_LINE_MAX];
	size_t n = 0;
	if (t->has_partial_line)
		line[n++] = '\n';
	n += format_prefix(line + n, sizeof(line) - n, t, level);
	n += text_escape(line + n, sizeof(line) - n - 1, text, length);
	if (t->kind != LOG_TO_SYSLOG)
		line[n++] = '\n';
	ssize_t written = write_nonblocking(t, line, n);
	if (written < 0 && t->kind == LOG_TO_SYSLOG && errno != EAGAIN && reconnect_syslog(t))
		written = write_nonblocking(t, line, n);
	if (written > 0)
		t->has_partial_line = (size_t)written < n;
	return written == (ssize_t)n;
}

static void log_text(int level, const char *format, va_list ap)
	__attribute__((format(printf, 2, 0)));
static void log_text(int level, const char *format, va_list ap)
{
	int saved_errno = errno;
	char text[LOG_LINE_MAX];
	int n = vsnprintf(text, sizeof(text), format, ap);
	size_t length = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;

	pthread_mutex_lock(&lock);
	if (!current) {
		current = &to_stderr;
		detect_type(current);
	}
	if (lost_since_line) {
		char report[64];
		int k = snprintf(report, sizeof(report), "log lines lost: %llu before this one",
				 (unsigned long long)lost_since_line);
		if (write_line(current, LOG_WARNING, report, (size_t)k))
			lost_since_line = 0;
	}
	if (lost_since_line || !write_line(current, level, text, length)) {
		lost_since_line++;
		atomic_fetch_add(&lost, 1);
	}
	pthread_mutex_unlock(&lock);
	errno = saved_errno;
}

void log_line(int level, const char *format, ...)
{
	if (level > atomic_load_explicit(&level_limit, memory_order_relaxed))
		return;
	if (level < LOG_ERR) /* syslog(3) has more urgent levels, this log has none */
		level = LOG_ERR;
	va_list ap;
	va_start(ap, format);
	log_text(level, format, ap);
	va_end(ap);
}

void log_always(const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	log_text(LOG_NOTICE, format, ap);
	va_end(ap);
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

struct log_target *log_open(enum log_kind kind, const char *file, char *why, size_t size)
{
	struct log_target *t = calloc(1, sizeof(*t));
	if (!t) {
		snprintf(why, size, "cannot open the log: out of memory");
		return NULL;
	}
	t->kind = kind;
	if (kind == LOG_TO_STDERR) {
		t->fd = STDERR_FILENO;
	} else if (kind == LOG_TO_SYSLOG) {
		t->fd = connect_syslog();
		file = "/dev/log";
	} else {
		/*
		 * O_NONBLOCK: a FIFO without a reader is an error, a slow reader loses lines.
		 * O_NOFOLLOW: the user that the daemon changes to may own the directory, and could
		 * lead root to another file by a symbolic link.
		 */
		t->fd = open(file,
			     O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
				     (geteuid() == 0 ? O_NOFOLLOW : 0),
			     0640);
	}
	if (t->fd < 0) {
		snprintf(why, size, "cannot open the log %s: %s", file, strerror(errno));
		free(t);
		return NULL;
	}
	detect_type(t);
	return t;
}

void log_discard(struct log_target *t)
{
	if (!t || t == &to_stderr)
		return;
	if (t->kind != LOG_TO_STDERR)
		close(t->fd);
	free(t);
}

void log_chown(uid_t uid, gid_t gid)
{
	pthread_mutex_lock(&lock);
	struct stat st;
	bool is_file = current && current->kind == LOG_TO_FILE && fstat(current->fd, &st) == 0 &&
		       S_ISREG(st.st_mode); /* a device keeps its owner */
	int error = 0;
	if (is_file && st.st_nlink > 1) /* the other name may be that of a system file */
		error = EMLINK;
	else if (is_file && fchown(current->fd, uid, gid) < 0)
		error = errno;
	pthread_mutex_unlock(&lock);
	if (error)
		log_warning("cannot change the owner of the log file to uid %u: %s; reloads may "
			    "be unable to open it",
			    (unsigned)uid, strerror(error));
}

bool log_switch_to_stderr(void)
{
	pthread_mutex_lock(&lock);
	bool was_elsewhere = current && current->kind != LOG_TO_STDERR;
	pthread_mutex_unlock(&lock);
	log_switch(NULL);
	return was_elsewhere;
}

void log_switch(struct log_target *t)
{
	if (!t) {
		t = &to_stderr;
		detect_type(t);
	}
	pthread_mutex_lock(&lock);
	struct log_target *old = current;
	current = t;
	pthread_mutex_unlock(&lock);
	if (old != t)
		log_discard(old);
}
