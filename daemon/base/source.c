#include "base/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a FIFO";
	case S_IFCHR:
	case S_IFBLK:
		return "a device";
	case S_IFSOCK:
		return "a socket";
	default:
		return "not a regular file";
	}
}

/* One error, at the line that includes PATH or, when nothing does, at PATH. */
#define REFUSE(...) errors_add(e, from, from ? line : 0, __VA_ARGS__)

static void refuse_unread(const char *path, int why, const char *from, unsigned line,
			  struct errors *e)
{
	REFUSE("%s: cannot be read: %s", path, strerror(why));
	e->passing = e->passing || errors_is_passing(why);
}

static int open_regular(const char *path, struct stat *st, const char *from, unsigned line,
			struct errors *e)
{
	/* Looked at before it is opened: opening a device can do something (a tape, a watchdog). */
	int fd = -1;
	int found = stat(path, st);
	if (found == 0 && S_ISREG(st->st_mode)) {
		fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
		found = fd < 0 ? -1 : fstat(fd, st);
	}
	if (found < 0)
		refuse_unread(path, errno, from, line, e);
	else if (!S_ISREG(st->st_mode))
		REFUSE("%s: is %s, expected a regular file", path, kind_of(st->st_mode));
	else
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static ssize_t read_all(int fd, char *text, size_t size)
{
	size_t n = 0;
	while (n < size) {
		ssize_t r = read(fd, text + n, size - n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		n += (size_t)r;
	}
	return (ssize_t)n;
}

static bool check_bytes(const char *path, const char *text, size_t n, struct errors *e)
{
	unsigned at = 1;
	for (size_t i = 0; i < n; i++) {
		unsigned char ch = (unsigned char)text[i];
		if (ch == '\n')
			at++;
		else if ((ch < 0x20 && ch != '\t' && ch != '\r') || ch == 0x7f) {
			errors_add(e, path, at, "control character 0x%02x, expected text", ch);
			return false;
		}
	}
	if (n && text[n - 1] != '\n') {
		errors_add(e, path, at, "the last line has no end: is the file cut short?");
		return false;
	}
	if (!n)
		errors_add(e, path, 0, "is empty: is the file cut short?");
	return n > 0;
}

int source_read(const char *path, size_t budget, const char *from, unsigned line, struct source *s,
		struct errors *e)
{
	struct stat st;
	int fd = open_regular(path, &st, from, line, e);
	if (fd < 0)
		return -1;
	/* The size that the file claims is not asked: it may grow meanwhile. */
	char *text = malloc(budget + 2);
	ssize_t n = text ? read_all(fd, text, budget + 1) : -1;
	int why = errno;
	close(fd);
	if (n >= 0 && (size_t)n <= budget) {
		text[n] = '\0';
		if (check_bytes(path, text, (size_t)n, e)) {
			char *fitted = realloc(text, (size_t)n + 1);
			*s = (struct source){fitted ? fitted : text, (size_t)n, st.st_dev,
					     st.st_ino};
			return 0;
		}
	} else if (n >= 0) {
		REFUSE("%s: is too large: a configuration has at most %d bytes in all", path,
		       SOURCE_MAX);
	} else {
		refuse_unread(path, why, from, line, e);
	}
	free(text);
	return -1;
}
