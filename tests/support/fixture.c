#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __has_feature
#define ADDRESS_SANITIZER __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#else
#define ADDRESS_SANITIZER 0
#endif
#if ADDRESS_SANITIZER
#include <sanitizer/lsan_interface.h>
#endif

enum { WAIT_MS = 10000 };

static char directory[] = "/tmp/unit-XXXXXX";
size_t descriptors_before;

void fixture_enter(void)
{
	MUST(mkdtemp(directory));
	MUST(chdir(directory) == 0);
	descriptors_before = open_descriptors();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
	(void)st, (void)type, (void)place;
	return remove(path);
}

void fixture_leave(void)
{
	if (chdir("/") == 0)
		nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *path_in(const char *name, char path[static PATH_IN_MAX])
{
	int n = snprintf(path, PATH_IN_MAX, "%s/%s", directory, name);
	cr_assert(n < PATH_IN_MAX, "%s", name);
	return path;
}

void file_write_bytes(const char *name, const void *bytes, size_t n)
{
	FILE *out = fopen(name, "we");
	MUST(out);
	MUST(fwrite(bytes, 1, n, out) == n);
	MUST(fclose(out) == 0);
}

void file_write(const char *name, const char *text)
{
	file_write_bytes(name, text, strlen(text));
}

/* read(2) until there is no more, or none yet. */
static char *read_all(int fd)
{
	char *text = NULL, piece[4096];
	size_t size;
	FILE *out = open_memstream(&text, &size);
	MUST(out);
	for (ssize_t n; (n = read(fd, piece, sizeof(piece))) > 0;)
		MUST(fwrite(piece, 1, (size_t)n, out) == (size_t)n);
	MUST(fclose(out) == 0);
	return text;
}

char *file_text(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	char *text = read_all(fd);
	close(fd);
	return text;
}

bool file_exists(const char *name)
{
	struct stat st;
	return lstat(name, &st) == 0;
}

char *fd_text(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	MUST(fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
	char *text = read_all(fd);
	MUST(fcntl(fd, F_SETFL, flags) == 0);
	return text;
}

void await_fd(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	cr_assert_eq(poll(&p, 1, WAIT_MS), 1, "descriptor %d is not ready", fd);
}

size_t open_descriptors(void)
{
	size_t n = 0;
	DIR *d = opendir("/proc/self/fd");
	MUST(d);
	for (const struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n - 1; /* the descriptor of this directory */
}

bool memory_leaks(void)
{
#if ADDRESS_SANITIZER
	return __lsan_do_recoverable_leak_check();
#else
	return false;
#endif
}
