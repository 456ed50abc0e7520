#include "harness.h"

#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TOLD_MAX = 6000, WAIT_MS = 10000, HANGS_SECONDS = 100 };

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t deadline(void)
{
	const char *slow = getenv("SKELD_TEST_SLOW");
	double factor = slow ? strtod(slow, NULL) : 1;
	if (factor <= 0)
		factor = 1;
	alarm((unsigned)(HANGS_SECONDS * factor)); /* for what waits without one */
	return now_ms() + (int64_t)(WAIT_MS * factor);
}

bool is_past(int64_t until)
{
	return now_ms() >= until;
}

static const char *tail(const char *text)
{
	size_t n = text ? strlen(text) : 0;
	return n > TOLD_MAX ? text + n - TOLD_MAX : text ? text : "";
}

_Noreturn void fail_test(struct fixture *f, const char *format, ...)
{
	char what[1024];
	va_list ap;
	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	cr_assert_fail("%s\ndatagrams to the service manager:\n%s\nlog of the daemon:\n%s", what,
		       tail(f->notices.bytes), tail(log_text(f)));
	abort(); /* not reached */
}

const char *path_in(struct fixture *f, const char *name, char path[static 64])
{
	snprintf(path, 64, "%s/%s", f->dir, name);
	return path;
}

static void listen_as_service_manager(struct fixture *f)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/notify", f->dir);
	f->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	MUST(f->notify >= 0);
	MUST(bind(f->notify, (struct sockaddr *)&a, sizeof(a)) == 0);
	MUST(chmod(a.sun_path, 0666) == 0);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

/* A failed check or a crash skips the rest of a test, so a separate process cleans up. */
static void start_janitor(struct fixture *f)
{
	int ends[2];
	char byte;
	MUST(pipe2(ends, O_CLOEXEC) == 0);
	f->alive = ends[1];
	f->janitor = fork();
	MUST(f->janitor >= 0);
	if (f->janitor > 0) {
		close(ends[0]);
		return;
	}
	setsid();
	dup2(ends[0], STDIN_FILENO);
	close_range(STDIN_FILENO + 1, ~0U, 0);
	while (read(STDIN_FILENO, &byte, 1) < 0)
		;
	nftw(f->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	_exit(0);
}

struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));
	cr_assert_not_null(f);
	*f = (struct fixture){
		.dir = "/tmp/daemon-XXXXXX", .uid = getuid(), .stderr_fd = -1, .pidfd = -1};
	MUST(mkdtemp(f->dir));
	start_janitor(f);
	path_in(f, "skeld.conf", f->config);
	path_in(f, "run", f->runtime);
	MUST(mkdir(f->runtime, 0755) == 0);
	fixture_use(f, SKELD_BINARY);
	listen_as_service_manager(f);
	return f;
}

void fixture_free(struct fixture *f)
{
	if (f->pid) {
		pid_t gone;
		kill(f->pid, SIGKILL);
		do /* a frozen thread is reported first: the process ends only after that */
			gone = waitpid(-1, NULL, __WALL);
		while (gone > 0 && gone != f->pid);
	}
	if (f->pidfd >= 0)
		close(f->pidfd);
	close(f->notify);
	close(f->alive);
	waitpid(f->janitor, NULL, 0);
	free(f->notices.bytes);
	free(f->log.bytes);
	free(f->scratch.bytes);
	free(f->out.bytes);
	free(f->err.bytes);
	free(f);
}

void fixture_use(struct fixture *f, const char *binary)
{
	snprintf(f->binary, sizeof(f->binary), "%s", binary);
}

void fixture_run_as(struct fixture *f, uid_t uid)
{
	int in = open(SKELD_BINARY, O_RDONLY | O_CLOEXEC);
	snprintf(f->binary, sizeof(f->binary), "%s/skeld", f->dir);
	int out = open(f->binary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	MUST(in >= 0 && out >= 0);
	ssize_t n;
	while ((n = sendfile(out, in, NULL, 1 << 30)) > 0)
		;
	MUST(n == 0);
	close(in);
	close(out);
	MUST(chmod(f->dir, 0755) == 0);
	MUST(chown(f->dir, uid, uid) == 0 && chown(f->runtime, uid, uid) == 0);
	f->uid = uid;
}

void file_write(struct fixture *f, const char *path, const void *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	MUST(fd >= 0);
	MUST(write(fd, bytes, n) == (ssize_t)n);
	close(fd);
}

void config_write(struct fixture *f, const char *format, ...)
{
	char *text = NULL;
	va_list ap;
	va_start(ap, format);
	int n = vasprintf(&text, format, ap);
	va_end(ap);
	MUST(n >= 0);
	file_write(f, f->config, text, (size_t)n);
	free(text);
}

void read_notices(struct fixture *f)
{
	char datagram[4096];
	ssize_t n;
	while ((n = recv(f->notify, datagram, sizeof(datagram), MSG_DONTWAIT)) >= 0) {
		struct text *t = &f->notices;
		if (t->room < t->size + (size_t)n + 4) {
			t->room = (t->size + (size_t)n + 4) * 2;
			t->bytes = realloc(t->bytes, t->room);
			MUST(t->bytes);
		}
		memcpy(t->bytes + t->size, datagram, (size_t)n);
		t->size += (size_t)n;
		if (n == 0 || datagram[n - 1] != '\n')
			t->bytes[t->size++] = '\n';
		t->bytes[t->size++] = '\n';
		t->bytes[t->size] = '\0';
	}
}

static void turn(struct fixture *f, int fd, short events, int64_t until, const char *what)
{
	if (is_past(until))
		fail_test(f, "timeout while waiting for: %s", what);
	struct pollfd p[] = {{.fd = f->notify, .events = POLLIN}, {.fd = fd, .events = events}};
	poll(p, fd >= 0 ? 2 : 1, 2);
	read_notices(f);
}

void await_turn(struct fixture *f, int64_t until, const char *what)
{
	if (f->ended)
		fail_test(f, "the daemon ended before: %s", what);
	struct pollfd p = {.fd = f->pidfd, .events = POLLIN};
	f->ended = f->pidfd >= 0 && poll(&p, 1, 0) == 1; /* then check once more */
	turn(f, -1, 0, until, what);
}

void await_fd(struct fixture *f, int fd, short events, int64_t until, const char *what)
{
	struct pollfd p = {.fd = fd, .events = events};
	while (poll(&p, 1, 0) == 0)
		turn(f, fd, events, until, what);
}

static bool has_line(const char *datagram, const char *line)
{
	size_t n = strlen(line);
	for (const char *at = datagram; (at = strstr(at, line)); at++)
		if ((at == datagram || at[-1] == '\n') && (at[n] == '\n' || !at[n]))
			return true;
	return false;
}

/* Copy the next unread datagram to f->value. */
static bool next_notice(struct fixture *f)
{
	if (f->noticed >= f->notices.size)
		return false;
	const char *at = f->notices.bytes + f->noticed;
	const char *end = strstr(at, "\n\n");
	snprintf(f->value, sizeof(f->value), "%.*s", (int)(end - at), at);
	f->noticed = (size_t)(end + 2 - f->notices.bytes);
	return true;
}

const char *notify_wait(struct fixture *f, const char *line)
{
	char what[128];
	snprintf(what, sizeof(what), "a datagram with %s", line);
	for (int64_t until = deadline();; await_turn(f, until, what))
		while (next_notice(f))
			if (has_line(f->value, line))
				return f->value;
}
