#include "fuzz.h"

#include "config/codec.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wchar.h>

struct echo {
	char *banner, *where, *peer;
	int64_t size, shade, shy;
	char **list;
	struct service_sections subs;
};
struct sub {
	char *title, *word;
	char **list;
	int64_t size;
};

static const struct service_option sub_options[] = {
	{"word", OPTION_TEXT, offsetof(struct sub, word), "w", 0, 0, NULL, NULL, false,
	 .help = "W"},
	{"list", OPTION_LIST, offsetof(struct sub, list), "a b", 0, 0, NULL, NULL, true,
	 .help = "L"},
	{"size", OPTION_NUMBER, offsetof(struct sub, size), "1", 0, 9, "bytes", NULL, false,
	 .help = "N"},
	{0}};
static const struct service_option options[] = {
	{"banner", OPTION_TEXT, offsetof(struct echo, banner), "", 0, 0, NULL, NULL, false,
	 .help = "T"},
	{"where", OPTION_PATH, offsetof(struct echo, where), "", 0, 0, NULL, NULL, false,
	 .help = "P"},
	{"peer", OPTION_ADDRESS, offsetof(struct echo, peer), "", 0, 0, NULL, NULL, true,
	 .help = "A"},
	{"size", OPTION_NUMBER, offsetof(struct echo, size), "1", INT64_MIN, INT64_MAX, "inches",
	 NULL, true, .help = "N"},
	{"shade", OPTION_CHOICE, offsetof(struct echo, shade), "green", 0, 0, NULL,
	 "red green blue", false, .help = "C"},
	{"shy", OPTION_FLAG, offsetof(struct echo, shy), "false", 0, 0, NULL, NULL, false,
	 .help = "F"},
	{"list", OPTION_LIST, offsetof(struct echo, list), "", 0, 0, NULL, NULL, false,
	 .help = "L"},
	{.name = "sub",
	 .type = OPTION_SECTIONS,
	 .offset = offsetof(struct echo, subs),
	 .help = "Sections",
	 .options = sub_options,
	 .size = sizeof(struct sub)},
	{0}};
const struct service_schema fuzz_service = {"echo", options, .size = sizeof(struct echo),
					    .datagrams = true};

_Noreturn void fail_check(const char *file, int line, const char *condition, const char *format,
			  ...)
{
	va_list ap;
	va_start(ap, format);
	fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	abort();
}

void memory_file_create(struct memory_file *f)
{
	f->fd = memfd_create("skeld.conf", MFD_CLOEXEC);
	CHECK(f->fd >= 0, "%m");
	snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
}

void memory_file_write(const struct memory_file *f, const void *bytes, size_t n)
{
	CHECK(ftruncate(f->fd, 0) == 0 && pwrite(f->fd, bytes, n, 0) == (ssize_t)n, "%m");
}

static char directory[64];
static pid_t owner;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
	(void)st, (void)type, (void)place;
	return remove(path);
}

static void remove_directory(void)
{
	if (getpid() == owner)
		nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void create_private_directory(char path[static 64])
{
	bool has_shm = access("/dev/shm", W_OK | X_OK) == 0;
	snprintf(directory, sizeof(directory), "%s/skeld-fuzz-XXXXXX",
		 has_shm ? "/dev/shm" : "/tmp");
	CHECK(mkdtemp(directory), "%s: %m", directory);
	owner = getpid();
	atexit(remove_directory);
	memcpy(path, directory, sizeof(directory));
}

/* In this process: a loader process is slow, and a crash in it is not reported. */
static void check_codec(const struct config *c, const struct errors *e)
{
	struct errors decoded = {0};
	char *bytes = NULL;
	size_t n;
	FILE *out = open_memstream(&bytes, &n);
	CHECK(out, "%m");
	config_encode(c, e, out);
	CHECK(fclose(out) == 0, "%m");
	struct config *copy;
	CHECK(config_decode(bytes, n, &fuzz_service, &copy, &decoded), "cannot be decoded");
	free(bytes);
	CHECK(!copy == !c && decoded.n == e->n, "%zu errors, expected %zu", decoded.n, e->n);
	for (size_t i = 0; i < errors_stored(e); i++)
		CHECK(strcmp(errors_text(e, i), errors_text(&decoded, i)) == 0, "%s",
		      errors_text(e, i));
	if (c)
		expect_equal(c, copy);
	config_unref(copy);
	errors_clear(&decoded);
}

struct config *load_config(const char *path)
{
	struct errors e = {0};
	struct config *c = config_parse(path, &fuzz_service, &e);
	CHECK(c ? e.n == 0 : e.n > 0, "%zu errors", e.n);
	check_codec(c, &e);
	for (size_t i = 0; i < errors_stored(&e); i++) {
		const char *text = errors_text(&e, i);
		CHECK(is_printable_line(text), "%s", text);
		CHECK(strchr(text, ':') && strlen(text) < 16384, "%s", text);
	}
	errors_clear(&e);
	return c;
}

char *config_text(const struct config *c)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	CHECK(out, "%m");
	config_print(c, out);
	CHECK(fclose(out) == 0, "%m");
	return text;
}

static void on_difference(void *context, const char *line)
{
	(void)context;
	fail_check(__FILE__, __LINE__, "equal configurations", "%s", line);
}

void expect_equal(const struct config *a, struct config *b)
{
	config_compare(a, b, on_difference, NULL);
}

int lowest_free_descriptor(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0, "%m");
	close(fd);
	return fd;
}

/* The length of the valid character at S, 0 if there is none. The table is RFC 3629, section 4. */
static size_t utf8_length(const unsigned char *s)
{
	static const struct {
		unsigned char first, last, low, high, length;
	} rows[] = {{0x20, 0x7e, 0, 0, 1},	 {0xc2, 0xdf, 0x80, 0xbf, 2},
		    {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
		    {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		    {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
		    {0xf4, 0xf4, 0x80, 0x8f, 4}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (*s < rows[i].first || *s > rows[i].last)
			continue;
		if (rows[i].length > 1 && (s[1] < rows[i].low || s[1] > rows[i].high))
			return 0;
		for (size_t k = 2; k < rows[i].length; k++)
			if (s[k] < 0x80 || s[k] > 0xbf)
				return 0;
		return rows[i].length;
	}
	return 0;
}

bool is_printable_line(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	for (size_t n; *s; s += n) {
		n = utf8_length(s);
		if (!n || (s[0] == 0xc2 && s[1] < 0xa0)) /* C1 controls */
			return false;
	}
	return true;
}
