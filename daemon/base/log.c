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
	bool journal; /* a journal reads it: "<N>text", it knows the time itself */
	bool socket;  /* send(2) can be told not to block, write(2) must be asked first */
	bool torn;    /* the last line was cut by a full disk: begin with a new one */
};

/* The log is one of the two things that may be global: every thread and every room writes it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_target to_stderr = {.kind = LOG_TO_STDERR, .fd = STDERR_FILENO};
static struct log_target *current; /* under lock; NULL: stderr, not looked at yet */
static uint64_t untold;		   /* under lock: lost since the last line that went through */
static _Atomic int least = LOG_INFO;
static _Atomic uint64_t lost;

/* systemd.exec(5), JOURNAL_STREAM: "device:inode" of the stream that the journal reads. */
static bool journal_reads(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;
	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(fd, &st) == 0 &&
	       st.st_dev == device && st.st_ino == inode;
}

static void look_at(struct log_target *t)
{
	struct stat st;
	t->socket = fstat(t->fd, &st) == 0 && S_ISSOCK(st.st_mode);
	t->journal = t->kind == LOG_TO_STDERR && journal_reads(t->fd);
}

static int connect_syslog(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		int saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* syslog(3) blocks while the other side sleeps, and so cannot be used: RFC 3164, by hand. */
static size_t format_head(char *out, size_t size, const struct log_target *t, int level)
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
	if (t->journal)
		return (size_t)snprintf(out, size, "<%d>", level);
	char date[32];
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	return (size_t)snprintf(out, size, "%s.%03ld %-7s ", date, now.tv_nsec / 1000000,
				names[level]);
}

static ssize_t write_at_once(const struct log_target *t, const char *line, size_t n)
{
	if (t->socket)
		return send(t->fd, line, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	/* O_NONBLOCK would be shared with whoever else has this stream. A pipe is writable for
	 * poll(2) when PIPE_BUF bytes fit (pipe(7)); the lock keeps our threads from racing. */
	struct pollfd p = {.fd = t->fd, .events = POLLOUT};
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)) {
		errno = EAGAIN;
		return -1;
	}
	return write(t->fd, line, n);
}

static bool put(struct log_target *t, int level, const char *text, size_t length)
{
	char line[LOG_LINE_MAX];
	size_t n = 0;
	if (t->torn)
		line[n++] = '\n';
	n += format_head(line + n, sizeof(line) - n, t, level);
	n += text_escape(line + n, sizeof(line) - n - 1, text, length);
	if (t->kind != LOG_TO_SYSLOG)
		line[n++] = '\n';
	ssize_t sent = write_at_once(t, line, n);
	if (sent < 0 && t->kind == LOG_TO_SYSLOG &&
	    errno != EAGAIN) { /* the daemon was restarted */
		int fd = connect_syslog();
		if (fd >= 0) {
			close(t->fd);
			t->fd = fd;
			sent = write_at_once(t, line, n);
		}
	}
	if (sent > 0)
		t->torn = (size_t)sent < n;
	return sent == (ssize_t)n;
}

static void write_line(int level, const char *format, va_list ap)
	__attribute__((format(printf, 2, 0)));
static void write_line(int level, const char *format, va_list ap)
{
	int saved = errno;
	char text[LOG_LINE_MAX];
	int n = vsnprintf(text, sizeof(text), format, ap);
	size_t length = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;

	pthread_mutex_lock(&lock);
	if (!current) {
		current = &to_stderr;
		look_at(current);
	}
	if (untold) {
		char told[64];
		int k = snprintf(told, sizeof(told), "%llu log lines before this one were lost",
				 (unsigned long long)untold);
		if (put(current, LOG_WARNING, told, (size_t)k))
			untold = 0;
	}
	if (untold || !put(current, level, text, length)) {
		untold++;
		atomic_fetch_add(&lost, 1);
	}
	pthread_mutex_unlock(&lock);
	errno = saved;
}

void log_line(int level, const char *format, ...)
{
	if (level > atomic_load_explicit(&least, memory_order_relaxed))
		return;
	if (level < LOG_ERR) /* syslog(3) knows more urgent ones */
		level = LOG_ERR;
	va_list ap;
	va_start(ap, format);
	write_line(level, format, ap);
	va_end(ap);
}

void log_always(const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	write_line(LOG_NOTICE, format, ap);
	va_end(ap);
}

void log_set_level(int level)
{
	atomic_store(&least, level);
}

int log_level(void)
{
	return atomic_load(&least);
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
		 * O_NONBLOCK: a FIFO without a reader is an error, one with a slow reader drops.
		 * The directory may be of the user that root becomes: root follows no link there.
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
	look_at(t);
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

void log_give_to(uid_t uid, gid_t gid)
{
	pthread_mutex_lock(&lock);
	struct stat st;
	bool is_file = current && current->kind == LOG_TO_FILE && fstat(current->fd, &st) == 0 &&
		       S_ISREG(st.st_mode); /* and no device */
	errno = EMLINK;
	bool failed = is_file && (st.st_nlink > 1 || fchown(current->fd, uid, gid) < 0);
	pthread_mutex_unlock(&lock);
	if (failed)
		log_warning("the log file cannot be given to uid %u, a reload may not be able to "
			    "open it: %s",
			    (unsigned)uid, strerror(errno));
}

bool log_fall_back(void)
{
	bool elsewhere = current && current->kind != LOG_TO_STDERR;
	log_use(NULL);
	return elsewhere;
}

void log_use(struct log_target *t)
{
	if (!t) {
		t = &to_stderr;
		look_at(t);
	}
	pthread_mutex_lock(&lock);
	struct log_target *old = current;
	current = t;
	pthread_mutex_unlock(&lock);
	if (old != t)
		log_discard(old);
}
