/*
 * config/parse: every configuration file of the tree, truncated at every byte. A result is accepted
 * only if it is complete (see complete.h), and then its printed form loads to the same
 * configuration. stress/fuzz/fuzz_config.c tries other changes.
 */
/* build: SOURCES ../stress/fuzz/complete.c */
#include "../stress/fuzz/complete.h"
#include "fixture.h"
#include "loading.h"

#include <confuse.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TEXT_MAX = 8192 };

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
static const struct service_option echo_options[] = {
	{"banner", OPTION_TEXT, offsetof(struct echo, banner), "", 0, 0, NULL, NULL, false,
	 .help = "T"},
	{"where", OPTION_PATH, offsetof(struct echo, where), "", 0, 0, NULL, NULL, false,
	 .help = "P"},
	{"peer", OPTION_ADDRESS, offsetof(struct echo, peer), "", 0, 0, NULL, NULL, false,
	 .help = "A"},
	{"size", OPTION_NUMBER, offsetof(struct echo, size), "1", INT64_MIN, INT64_MAX, NULL, NULL,
	 false, .help = "N"},
	{"shade", OPTION_CHOICE, offsetof(struct echo, shade), "red", 0, 0, NULL, "red green blue",
	 false, .help = "C"},
	{"shy", OPTION_FLAG, offsetof(struct echo, shy), "true", 0, 0, NULL, NULL, false,
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
static const struct service_schema echo = {"echo", echo_options, .size = sizeof(struct echo)};

static int file = -1;
static char path[32];

static void open_file(void)
{
	fixture_enter();
	file = memfd_create("skeld.conf", MFD_CLOEXEC);
	MUST(file >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	MUST(setenv("NAME", "workers", 1) == 0);
	descriptors_before = open_descriptors();
}

TestSuite(config_bytes, .init = open_file, .fini = fixture_leave);

static struct config *try_to_load(const char *text, size_t n)
{
	struct errors e = {0};
	MUST(ftruncate(file, 0) == 0 && pwrite(file, text, n, 0) == (ssize_t)n);
	deadline(); /* a hang ends the test */
	struct config *c = config_parse(path, &echo, &e);
	cr_assert(c ? e.n == 0 : e.n > 0, "%.*s", (int)n, text);
	for (size_t i = 0; i < errors_stored(&e); i++)
		/* Or another file in /proc/self/fd, which a pattern has included. */
		cr_assert_eq(strncmp(errors_text(&e, i), path, strlen("/proc/self/fd/")), 0, "%s",
			     errors_text(&e, i));
	errors_clear(&e);
	return c;
}

/* Returns false if TEXT is rejected. Otherwise it must be complete, and its printed form must load
 * to the same. */
static bool loads(const char *text, size_t n)
{
	struct config *c = try_to_load(text, n);
	if (!c)
		return false;
	cr_assert(is_complete(text, n, NULL, NULL), "accepted, and not complete:\n%.*s", (int)n,
		  text);
	char *first = printed(c);
	struct config *again = try_to_load(first, strlen(first));
	cr_assert(again, "%.*s\nis printed as\n%s", (int)n, text, first);
	char *second = printed(again);
	cr_assert_str_eq(first, second, "%.*s", (int)n, text);
	free(first);
	free(second);
	config_unref(c);
	config_unref(again);
	return true;
}

static const char *source(void)
{
	const char *directory = getenv("SKELD_SOURCE");
	if (!directory)
		cr_skip_test("SKELD_SOURCE is not set");
	return directory;
}

/* Call TRY with the text of each file. */
static void each_file(void (*try)(const char *name, const char *text, size_t n))
{
	char name[4096];
	size_t files = 0;
	static const char *const directories[] = {"conf", "tests/stress/fuzz/seeds/config"};
	for (size_t i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "%s/%s", source(), directories[i]);
		DIR *d = opendir(name);
		MUST(d);
		for (const struct dirent *e; (e = readdir(d));) {
			const char *dot = strrchr(e->d_name, '.');
			if (!dot || strcmp(dot, ".conf") != 0)
				continue;
			snprintf(name, sizeof(name), "%s/%s/%.250s", source(), directories[i],
				 e->d_name);
			const char *text = file_text(name);
			MUST(text && strlen(text) < TEXT_MAX);
			try(e->d_name, text, strlen(text));
			files++;
		}
		closedir(d);
	}
	cr_assert_gt(files, 5);
	EXPECT_NOTHING_LEFT();
}

/* A truncated file is good if it is complete, and the last value is not cut. */
static void try_cuts(const char *name, const char *text, size_t n)
{
	bool whole = loads(text, n);
	for (size_t i = 0; i < n; i++) {
		bool good = loads(text, i);
		bool complete = is_complete(text, i, NULL, NULL);
		bool may_be_bad = complete && text[i - 1] != '\n';
		cr_assert(!whole || good == complete || (may_be_bad && !good),
			  "%s, the first %zu bytes: %s", name, i, good ? "accepted" : "refused");
	}
}

Test(config_bytes, a_truncated_file_is_accepted_only_if_it_is_complete)
{
	each_file(try_cuts);
}

/* The negative controls. */

Test(config_bytes, incomplete_text_is_recognized_by_the_test_itself)
{
	static const char *const bad[] = {"",
					  "workers",
					  "workers\n",
					  "workers = \n",
					  "= 1\n",
					  "workers = 1 2\n",
					  "log {\n",
					  "log { } }\n",
					  "log { level }\n",
					  "log \"t\" { }\n",
					  "listen { }\n",
					  "/* \n",
					  "user = \"\n",
					  "user = '\n",
					  "user = \"\\\"\n",
					  "user = \"a\nb\"\n",
					  "user = '\n'\n",
					  "+\n",
					  "workers = +1\n",
					  "workers += 1\n",
					  "worker = 1\n",
					  "log { workers = 1 }\n",
					  "\"\\x01\" = 1\n",
					  "include(\"a\"\n",
					  "include()\n",
					  "log { log { } }\n",
					  "workers = {1}\n",
					  "echo { list = {a b} }\n",
					  "echo { list = {a, }\n",
					  "echo { list = {,} }\n",
					  "echo { list = {a,,b} }\n",
					  "echo { list = {{a}} }\n",
					  "echo { list = {a = b} }\n",
					  "tls { }\n",
					  "sub a { }\n",
					  "echo { sub { } }\n",
					  "echo { sub a { }\n",
					  "echo { sub a { sub b { } } }\n",
					  "log { sub a { } }\n",
					  "user = ${a\n",
					  "unknown { }\n",
					  "\001\n",
					  "a\177\n"};
	static const char *const good[] = {"\n",
					   "workers = 1",
					   "log { } # }",
					   "# {\n",
					   "/* { */\n",
					   "workers = x\n",
					   "log{}\n",
					   "listen \"{\" { }\n",
					   "tls a { certificate = /a } admin { tls = {\n} }\n",
					   "echo { list = {} }\n",
					   "echo { sub a { word = b } sub b {} size = 1 }\n",
					   "echo { list = {a, \"}\",\n'c' /* } */ ,} }\n",
					   "user = \"a\" group = '\"'\n",
					   "include(\"a\")\n",
					   "user = ${\"#{}\n",
					   "'us\\\ner' = \"a\\\nb\"\n",
					   "\"workers\" = '1' // {\n"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert(!is_complete(bad[i], strlen(bad[i]), NULL, NULL), "%s", bad[i]);
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		cr_assert(is_complete(good[i], strlen(good[i]), NULL, NULL), "%s", good[i]);
	cr_assert(!is_complete("\0\n", 2, NULL, NULL));
}

/* libconfuse would print many messages. */
static void ignore_message(cfg_t *cfg, const char *format, va_list ap)
{
	(void)cfg, (void)format, (void)ap;
}

Test(config_bytes, bare_libconfuse_accepts_truncated_files)
{
	cfg_opt_t log[] = {CFG_STR("level", "", 0), CFG_STR("file", "", 0), CFG_END()};
	cfg_opt_t top[] = {CFG_INT("workers", 0, 0), CFG_SEC("log", log, 0), CFG_END()};
	static const char text[] =
		"workers = 12\nlog {\n\tlevel = \"a\" # b\n/* c */ file = d\n}\n";
	size_t wrong = 0;
	for (size_t n = 0; n < sizeof(text); n++) {
		char cut[sizeof(text)] = "";
		memcpy(cut, text, n);
		cfg_t *cfg = cfg_init(top, 0);
		cfg_set_error_function(cfg, ignore_message);
		wrong +=
			cfg_parse_buf(cfg, cut) == CFG_SUCCESS && !is_complete(text, n, NULL, NULL);
		cfg_free(cfg);
	}
	cr_assert_gt(wrong, 10, "%zu", wrong);
}

Test(config_bytes, bare_libconfuse_changes_live_variables_although_it_rejects_the_file)
{
	long port = 8080;
	cfg_opt_t options[] = {CFG_SIMPLE_INT("port", &port), CFG_END()};
	cfg_t *cfg = cfg_init(options, 0);
	cfg_set_error_function(cfg, ignore_message);
	cr_assert_neq(cfg_parse_buf(cfg, "port = 80\nnonsense = 1\n"), CFG_SUCCESS);
	cr_assert_eq(port, 80);
	cfg_free(cfg);
}
