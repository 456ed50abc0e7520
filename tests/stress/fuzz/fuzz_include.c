/*
 * Eight files that may include each other. In the input a line with one '%' separates them. An
 * accepted tree of files equals one file with the included texts in place.
 */
/* fuzz: 5000 4096 */
#include "complete.h"
#include "fuzz.h"

#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 8 };
static const char *const names[FILES] = {"0", "1", "2", "3", "4", "5", "d/6", "d/7"};
static char directory[64], main_file[80];
static int fds[FILES];
static struct memory_file merged;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char path[80];
	(void)argc, (void)argv;
	create_private_directory(directory);
	snprintf(path, sizeof(path), "%s/d", directory);
	CHECK(mkdir(path, 0700) == 0, "%m");
	for (size_t i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		fds[i] = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		CHECK(fds[i] >= 0, "%m");
	}
	snprintf(main_file, sizeof(main_file), "%s/%s", directory, names[0]);
	memory_file_create(&merged);
	return 0;
}

/* Writes a file and its includes as one text. */
struct merge {
	const char *path; /* of the current file */
	const char *text;
	size_t written; /* bytes of text */
	FILE *out;
	unsigned files;
};

static void write_merged(struct merge *f, const char *path);

/* The directory of the fuzzer has no special characters. A pattern may match nothing. */
static void on_include(void *context, const char *path, size_t begin, size_t end)
{
	struct merge *f = context, inner = *f;
	char absolute[8192];
	glob_t found = {0};
	fwrite(f->text + f->written, 1, begin - f->written, f->out);
	f->written = end;
	int n = *path == '/' ? 0 : (int)(strrchr(f->path, '/') + 1 - f->path);
	snprintf(absolute, sizeof(absolute), "%.*s%s", n, f->path, path);
	fputc('\n', f->out);
	if (!strpbrk(path, "*?["))
		write_merged(&inner, absolute);
	else if (glob(absolute, GLOB_NOESCAPE, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc; i++)
			write_merged(&inner, found.gl_pathv[i]);
	globfree(&found);
	f->files = inner.files;
}

static void write_merged(struct merge *f, const char *path)
{
	char *text = malloc(1 << 20);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, 1 << 20);
	close(fd);
	CHECK(n > 0 && ++f->files < 200, "%s: accepted, but cannot be read", path);
	f->path = path;
	f->text = text;
	f->written = 0;
	CHECK(is_complete(text, (size_t)n, on_include, f), "%s: accepted although incomplete",
	      path);
	fwrite(text + f->written, 1, (size_t)n - f->written, f->out);
	fputc('\n', f->out); /* it may be missing at the end */
	free(text);
}

static void write_files(const char *data, size_t n)
{
	const char *at = data, *end = data + n;
	for (size_t i = 0; i < FILES; i++) {
		const char *stop = at ? memmem(at, (size_t)(end - at), "\n%\n", 3) : NULL;
		size_t length = at ? (size_t)((stop ? stop + 1 : end) - at) : 0;
		CHECK(ftruncate(fds[i], 0) == 0, "%m");
		CHECK(!length || pwrite(fds[i], at, length, 0) == (ssize_t)length, "%m");
		at = stop ? stop + 3 : NULL;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text = NULL;
	size_t size;
	int descriptor = lowest_free_descriptor();
	write_files((const char *)data, n);
	struct config *c = load_config(main_file);
	CHECK(lowest_free_descriptor() == descriptor, "a descriptor leaked");
	if (!c)
		return 0;
	struct merge f = {.out = open_memstream(&text, &size)};
	CHECK(f.out, "%m");
	write_merged(&f, main_file);
	CHECK(fclose(f.out) == 0, "%m");
	memory_file_write(&merged, text, size);
	struct config *one = load_config(merged.path);
	CHECK(one, "the merged text does not load:\n%s", text);
	expect_equal(c, one);
	free(text);
	config_unref(one);
	config_unref(c);
	return 0;
}
