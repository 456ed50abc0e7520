#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 10000, HANGS_SECONDS = 100, SLOW = 10 };

char test_dir[] = "/tmp/test-XXXXXX";
void (*fixture_on_wait)(void);
void (*fixture_on_failure)(struct text *details);

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
	(void)st, (void)type, (void)place;
	return remove(path);
}

/*
 * A failed check or a crash skips the rest of a test, so a separate process removes the directory
 * when the last process of the test that inherited the pipe has ended.
 */
static void start_janitor(void)
{
	int ends[2];
	char byte;
	MUST(pipe2(ends, O_CLOEXEC) == 0);
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid > 0) {
		close(ends[0]);
		MUST(waitpid(pid, NULL, 0) == pid); /* the janitor is no child of the test */
		return;
	}
	if (fork() != 0)
		_exit(0);
	setsid();
	dup2(ends[0], STDIN_FILENO);
	close_range(STDIN_FILENO + 1, ~0U, 0);
	while (read(STDIN_FILENO, &byte, 1) < 0)
		;
	nftw(test_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	_exit(0);
}

void fixture_enter(void)
{
	umask(022); /* daemons of other users read what the tests write */
	MUST(mkdtemp(test_dir));
	start_janitor();
	MUST(chdir(test_dir) == 0);
	/* full-only: begin */
	descriptors_before = open_descriptors();
	/* full-only: end */
}

void fixture_leave(void)
{
	if (chdir("/") == 0)
		nftw(test_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *path_in(const char *name, char path[static PATH_IN_MAX])
{
	int n = snprintf(path, PATH_IN_MAX, "%s/%s", test_dir, name);
	if (n >= PATH_IN_MAX)
		fail_test("the name %s is too long", name);
	return path;
}

void file_write_bytes(const char *name, const void *bytes, size_t n)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	MUST(fd >= 0);
	MUST(write(fd, bytes, n) == (ssize_t)n);
	close(fd);
}

void file_write(const char *name, const char *text)
{
	file_write_bytes(name, text, strlen(text));
}

void text_append(struct text *t, const void *bytes, size_t n)
{
	if (t->room < t->size + n + 1) {
		t->room = (t->size + n + 1) * 2;
		t->bytes = realloc(t->bytes, t->room);
		MUST(t->bytes);
	}
	memcpy(t->bytes + t->size, bytes, n);
	t->size += n;
	t->bytes[t->size] = '\0';
}

bool text_read(struct text *t, const char *name)
{
	char piece[16384];
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	t->size = 0;
	text_append(t, "", 0);
	if (fd < 0)
		return false;
	for (ssize_t n; (n = read(fd, piece, sizeof(piece))) > 0;)
		text_append(t, piece, (size_t)n);
	close(fd);
	return true;
}

const char *file_text(const char *name)
{
	static struct text text;
	return text_read(&text, name) ? text.bytes : NULL;
}

bool file_exists(const char *name)
{
	struct stat st;
	return lstat(name, &st) == 0;
}

char *fd_text(int fd)
{
	struct text text = {0};
	char piece[4096];
	int flags = fcntl(fd, F_GETFL);
	MUST(fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
	text_append(&text, "", 0);
	for (ssize_t n; (n = read(fd, piece, sizeof(piece))) > 0;)
		text_append(&text, piece, (size_t)n);
	MUST(fcntl(fd, F_SETFL, flags) == 0);
	return text.bytes;
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static double slow_factor(void)
{
	const char *slow = getenv("SKELD_TEST_SLOW");
	return slow ? strtod(slow, NULL) : SLOW;
}

/* Criterion runs each test in a process that has BXFI_MAP in its environment. A test that hangs is
 * a failure with its name, before CTest ends the whole program. */
__attribute__((constructor)) static void limit_time_of_test(void)
{
	if (getenv("BXFI_MAP"))
		alarm((unsigned)(HANGS_SECONDS * slow_factor()));
}

int64_t deadline(void)
{
	double factor = slow_factor();
	alarm((unsigned)(HANGS_SECONDS * factor));
	return now_ms() + (int64_t)(WAIT_MS * factor);
}

bool is_past(int64_t until)
{
	return now_ms() >= until;
}

void await_fd(int fd, short events, int64_t until, const char *what)
{
	struct pollfd p = {.fd = fd, .events = events};
	while (poll(&p, 1, fixture_on_wait ? 2 : 100) == 0) {
		if (is_past(until))
			fail_test("timeout while waiting for: %s", what);
		if (fixture_on_wait)
			fixture_on_wait();
	}
}

/* full-only: begin */
bool has_ipv6(void)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool has = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
	if (fd >= 0)
		close(fd);
	return has;
}

/* full-only: end */
_Noreturn void fail_test(const char *format, ...)
{
	char reason[1024];
	static struct text details;
	va_list ap;
	va_start(ap, format);
	vsnprintf(reason, sizeof(reason), format, ap);
	va_end(ap);
	if (fixture_on_failure)
		fixture_on_failure(&details);
	cr_assert_fail("%s%s", reason, details.bytes ? details.bytes : "");
	abort(); /* not reached */
}
