/*
 * base/parse: whatever becomes of a file, it is refused or loads, and what loads is what it prints.
 * (A fuzzer goes further; this is what every build goes through.)
 */
#include "fixture.h"
#include "loading.h"
#include "service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct echo {
	char *banner;
};
static const struct option echo_options[] = {{"banner", OPTION_TEXT, offsetof(struct echo, banner),
					      "", 0, 0, NULL, NULL, false, "Sent first"},
					     {0}};
static const struct config_service echo = {"echo", echo_options, sizeof(struct echo)};
static struct config_service its; /* whose section is in the file that is shipped */
static const struct config_service *schema;

/* All kinds of strings, comments and sections, in few bytes. */
static const char dense[] = "# a\n// b\n/* c\n*/workers=3 user=\"a\\\"b\\x41\\\\\" group='c\\'d'\n"
			    "log{level=debug target=file file=\"/l\"}listen \"m\\x20\"{address=\""
			    "[::1]:1\"backlog=2}\nlisten n{address='unix:/s'}listen o {}\n"
			    "limits {connections=1 /*x*/idle_timeout=0 //y\nbuffer=4096 }#z\n"
			    "admin{address=\"\"}echo{banner=\"${HOME}\\${x}\n\\\n\"}\n";

static int file = -1; /* in memory, so that a test is not a test of the disk */
static char path[32];

static void open_file(void)
{
	fixture_enter();
	schema = &echo;
	its = (struct config_service){service.name, service.options, service.config_size};
	file = memfd_create("skeld.conf", MFD_CLOEXEC);
	MUST(file >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	MUST(setenv("HOME", "/home", 1) == 0);
	descriptors_before = open_descriptors();
}

TestSuite(config_fuzzish, .init = open_file, .fini = fixture_leave);

static struct config *try_to_load(const char *text, size_t n)
{
	struct errors e = {0};
	MUST(ftruncate(file, 0) == 0 && pwrite(file, text, n, 0) == (ssize_t)n);
	struct config *c = config_load(path, schema, &e);
	cr_assert(c ? e.n == 0 : e.n > 0, "%.*s", (int)n, text);
	errors_clear(&e);
	return c;
}

/* Refused, or loads, and then prints what loads to the same. Returns which. */
static bool loads(const char *text, size_t n)
{
	struct config *c = try_to_load(text, n);
	if (!c)
		return false;
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

static char *shipped(void)
{
	char name[4096];
	const char *source = getenv("SKELD_SOURCE");
	if (!source)
		cr_skip_test("SKELD_SOURCE is not set");
	snprintf(name, sizeof(name), "%s/conf/skeld.conf", source);
	char *text = file_text(name);
	MUST(text);
	schema = &its;
	return text;
}

Test(config_fuzzish, what_is_shipped_is_good_up_to_each_line_outside_of_a_section)
{
	char *text = shipped();
	int depth = 0;
	bool comment = false;
	for (size_t n = 0; text[n]; n++) {
		bool whole = n > 0 && text[n - 1] == '\n' && depth == 0;
		cr_assert_eq(loads(text, n), whole, "%.*s", (int)n, text);
		comment = (comment || text[n] == '#') && text[n] != '\n';
		depth += !comment && text[n] == '{';
		depth -= !comment && text[n] == '}';
	}
	cr_assert(loads(text, strlen(text)));
	free(text);
	EXPECT_NOTHING_LEFT();
}

Test(config_fuzzish, every_beginning_is_refused_or_loads)
{
	size_t good = 0, n = sizeof(dense) - 1;
	for (size_t i = 0; i <= n; i++)
		good += loads(dense, i);
	cr_assert(loads(dense, n));
	cr_assert(good > 5 && good < n / 10, "%zu of %zu are good", good, n);
	EXPECT_NOTHING_LEFT();
}

/* TEXT with each byte, one in STEP, replaced by each of these. */
static void replace_bytes(const char *text, size_t step)
{
	static const char nasty[] = "\0\001\n\"'\\{}=$#/*(,\xff";
	size_t n = strlen(text), good = 0;
	char *copy = strdup(text);
	MUST(copy);
	for (size_t i = 0; i < n; i += step) {
		for (size_t k = 0; k < sizeof(nasty) - 1; k++) {
			copy[i] = nasty[k];
			good += loads(copy, n);
		}
		copy[i] = text[i];
	}
	cr_assert_gt(good, 0);
	free(copy);
	EXPECT_NOTHING_LEFT();
}

/* Its words and comments are long: one byte in four will do. */
Test(config_fuzzish, no_byte_of_what_is_shipped_breaks_anything)
{
	char *text = shipped();
	replace_bytes(text, 4);
	free(text);
}

Test(config_fuzzish, no_byte_of_a_dense_file_breaks_anything)
{
	replace_bytes(dense, 1);
}

Test(config_fuzzish, no_byte_of_an_include_breaks_anything)
{
	char text[2 * PATH_IN_MAX], included[PATH_IN_MAX];
	file_write("x", "drain_timeout = 5\n");
	snprintf(text, sizeof(text), "workers = 1\ninclude ( \"%s\" )\nuser = x\n",
		 path_in("x", included));
	cr_assert(loads(text, strlen(text)));
	replace_bytes(text, 1);
}

Test(config_fuzzish, no_byte_less_breaks_anything)
{
	char without[sizeof(dense)];
	for (size_t i = 0; i < sizeof(dense) - 1; i++) {
		memcpy(without, dense, i);
		memcpy(without + i, dense + i + 1, sizeof(dense) - i - 1);
		loads(without, sizeof(dense) - 2);
	}
	EXPECT_NOTHING_LEFT();
}

Test(config_fuzzish, no_piece_twice_breaks_anything)
{
	char twice[sizeof(dense) + 16];
	for (size_t i = 0; i + 8 < sizeof(dense); i++) {
		memcpy(twice, dense, i + 8);
		memcpy(twice + i + 8, dense + i, sizeof(dense) - i - 1);
		loads(twice, sizeof(dense) + 7);
	}
	EXPECT_NOTHING_LEFT();
}
