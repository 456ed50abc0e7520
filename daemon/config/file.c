#include "config/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *describe_type(mode_t mode)
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
		return "a special file";
	}
}

static void add_read_error(const char *path, int error, const char *from, unsigned line,
			   struct errors *e)
{
	errors_add(e, from, line, "cannot read %s: %s", path, strerror(error));
	e->transient = e->transient || errors_is_transient(error);
}

int config_file_open(const char *path, struct stat *st, const char **kind)
{
	/* Check before open(2): opening a device can have effects (tapes, watchdogs). */
	int fd = -1, result = stat(path, st);
	*kind = NULL;
	if (result == 0 && S_ISREG(st->st_mode)) {
		fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
		result = fd < 0 ? -1 : fstat(fd, st); /* the path may lead elsewhere by now */
	}
	if (result == 0 && S_ISREG(st->st_mode))
		return fd;
	if (result == 0)
		*kind = describe_type(st->st_mode);
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

/* Some editors begin a UTF-8 file with it. */
static const char byte_order_mark[] = "\xef\xbb\xbf";

/* Returns the number of lines, or 0 with an error. A NUL is one of the control characters. */
static unsigned check_text(const char *path, const char *text, size_t n, struct errors *e)
{
	unsigned line = 1; /* of the next character */
	for (size_t i = 0; i < n; i++) {
		unsigned char ch = (unsigned char)text[i];
		if (ch == '\n')
			line++;
		else if (ch == '\r' && (i + 1 == n || text[i + 1] != '\n')) {
			/* In a file with such lines, one comment would hide the rest. */
			errors_add(e, path, line,
				   "carriage return (0x0d) without a newline: expected lines that "
				   "end with a newline");
			return 0;
		} else if ((ch < 0x20 && ch != '\t' && ch != '\r') || ch == 0x7f) {
			errors_add(e, path, line, "control character 0x%02x: expected text", ch);
			return 0;
		}
	}
	if (n)
		return text[n - 1] == '\n' ? line - 1 : line;
	errors_add(e, path, 0, "empty file: it may be truncated");
	return 0;
}

/* "limits.connections = 10" may be all that is left of "limits.connections = 1000\n". */
static bool may_be_cut(const char *text, size_t n)
{
	return !strchr("\n})\"'", text[n - 1]);
}

int config_file_read(const char *path, size_t budget, const char *from, unsigned line,
		     struct config_file *f, struct errors *e)
{
	struct stat st;
	const char *kind;
	int fd = config_file_open(path, &st, &kind);
	if (fd < 0 && kind)
		errors_add(e, from, line, "%s is %s: expected a regular file", path, kind);
	else if (fd < 0)
		add_read_error(path, errno, from, line, e);
	if (fd < 0)
		return -1;
	/* Ignore st_size: the file may grow while it is read. */
	char *text = malloc(budget + 2);
	ssize_t n = text ? read_all(fd, text, budget + 1) : -1;
	int error = errno;
	unsigned lines;
	close(fd);
	if (n < 0) {
		add_read_error(path, error, from, line, e);
	} else if ((size_t)n > budget) {
		errors_add(e, from, line,
			   "%s is too large: expected at most %d bytes in all files together", path,
			   CONFIG_SIZE_MAX);
	} else if ((lines = check_text(path, text, (size_t)n, e))) {
		bool cut = may_be_cut(text, (size_t)n), newline = text[n - 1] == '\n';
		strcpy(text + n, newline ? "" : "\n");
		if (strncmp(text, byte_order_mark, 3) == 0)
			memset(text, ' ', 3);
		char *fitted = realloc(text, (size_t)n + 2);
		*f = (struct config_file){
			fitted ? fitted : text, (size_t)n, lines, cut, st.st_dev, st.st_ino};
		return 0;
	}
	free(text);
	return -1;
}
