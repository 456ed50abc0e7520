/*
 * Files that include each other: eight of them, separated in the input by lines of one '%'. An
 * accepted tree means what its files say when they are written into one.
 */
#include "complete.h"
#include "fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 8 };
static const char *const names[FILES] = {"0", "1", "2", "3", "4", "5", "d/6", "d/7"};
static char directory[64], main_file[80];
static int fds[FILES];
static struct memory_file whole;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char path[80];
	(void)argc, (void)argv;
	private_directory(directory);
	snprintf(path, sizeof(path), "%s/d", directory);
	HOLDS(mkdir(path, 0700) == 0, "%m");
	for (size_t i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		fds[i] = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		HOLDS(fds[i] >= 0, "%m");
	}
	snprintf(main_file, sizeof(main_file), "%s/%s", directory, names[0]);
	memory_file_open(&whole);
	return 0;
}

struct flat {
	const char *path; /* of the file that is being read */
	const char *text;
	size_t used; /* of text, already written */
	FILE *out;
	unsigned files;
};

static void write_flat(struct flat *f, const char *path);

static void on_include(void *context, const char *path, size_t begin, size_t end)
{
	struct flat *f = context, inner = *f;
	char absolute[8192];
	fwrite(f->text + f->used, 1, begin - f->used, f->out);
	f->used = end;
	int n = *path == '/' ? 0 : (int)(strrchr(f->path, '/') + 1 - f->path);
	snprintf(absolute, sizeof(absolute), "%.*s%s", n, f->path, path);
	fputc('\n', f->out);
	write_flat(&inner, absolute);
	f->files = inner.files;
}

static void write_flat(struct flat *f, const char *path)
{
	char *text = malloc(1 << 20);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, 1 << 20);
	close(fd);
	HOLDS(n > 0 && ++f->files < 200, "%s is included, accepted, and cannot be read", path);
	f->path = path;
	f->text = text;
	f->used = 0;
	HOLDS(is_complete(text, (size_t)n, on_include, f), "%s is not complete", path);
	fwrite(text + f->used, 1, (size_t)n - f->used, f->out);
	free(text);
}

static void write_files(const char *data, size_t n)
{
	const char *at = data, *end = data + n;
	for (size_t i = 0; i < FILES; i++) {
		const char *stop = at ? memmem(at, (size_t)(end - at), "\n%\n", 3) : NULL;
		size_t length = at ? (size_t)((stop ? stop + 1 : end) - at) : 0;
		HOLDS(ftruncate(fds[i], 0) == 0, "%m");
		HOLDS(!length || pwrite(fds[i], at, length, 0) == (ssize_t)length, "%m");
		at = stop ? stop + 3 : NULL;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text = NULL;
	size_t size;
	int descriptor = free_descriptor();
	write_files((const char *)data, n);
	struct config *c = load(main_file);
	HOLDS(free_descriptor() == descriptor, "a descriptor was left open");
	if (!c)
		return 0;
	struct flat f = {.out = open_memstream(&text, &size)};
	HOLDS(f.out, "%m");
	write_flat(&f, main_file);
	HOLDS(fclose(f.out) == 0, "%m");
	memory_file_set(&whole, text, size);
	struct config *one = load(whole.path);
	HOLDS(one, "as one file it does not load:\n%s", text);
	expect_same(c, one);
	free(text);
	config_unref(one);
	config_unref(c);
	return 0;
}
