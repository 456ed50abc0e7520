/* Sections inside the service's section: OPTION_SECTIONS. */
#include "config/codec.h"
#include "config/option.h"
#include "fixture.h"
#include "loading.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(config_sections, .init = fixture_enter, .fini = fixture_leave);

struct backend {
	char *title, *address, *token, *path;
	char **tags;
	int64_t weight, buffer, timeout, on, colour;
};

static const struct service_option backend_options[] = {
	{.name = "address",
	 .type = OPTION_ADDRESS,
	 .offset = offsetof(struct backend, address),
	 .default_value = "127.0.0.1:1",
	 .help = "Where it is"},
	{.name = "weight",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct backend, weight),
	 .default_value = "1",
	 .max = 9,
	 .help = "How often it is used"},
	{.name = "buffer",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct backend, buffer),
	 .default_value = "4K",
	 .max = 1 << 20,
	 .unit = "bytes",
	 .help = "How much it takes"},
	{.name = "timeout",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct backend, timeout),
	 .default_value = "1m",
	 .max = 3600,
	 .unit = "seconds",
	 .help = "How long it takes"},
	{.name = "on",
	 .type = OPTION_FLAG,
	 .offset = offsetof(struct backend, on),
	 .default_value = "true",
	 .help = "Whether it is used"},
	{.name = "colour",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct backend, colour),
	 .default_value = "green",
	 .choices = "red green",
	 .needs_restart = true,
	 .help = "How it looks"},
	{.name = "token",
	 .type = OPTION_SECRET,
	 .offset = offsetof(struct backend, token),
	 .default_value = "",
	 .help = "What proves it"},
	{.name = "path",
	 .type = OPTION_PATH,
	 .offset = offsetof(struct backend, path),
	 .default_value = "",
	 .help = "Its file"},
	{.name = "tags",
	 .type = OPTION_LIST,
	 .offset = offsetof(struct backend, tags),
	 .default_value = "a b",
	 .help = "Its names"},
	{0}};

struct pool {
	char *title, *name;
};

static const struct service_option pool_options[] = {{.name = "name",
						      .type = OPTION_TEXT,
						      .offset = offsetof(struct pool, name),
						      .default_value = "n",
						      .help = "A name"},
						     {0}};

struct proxy {
	struct service_sections backends, pools;
	int64_t retry;
};

static const struct service_option options[] = {{.name = "backend",
						 .type = OPTION_SECTIONS,
						 .offset = offsetof(struct proxy, backends),
						 .help = "A server",
						 .options = backend_options,
						 .size = sizeof(struct backend)},
						{.name = "retry",
						 .type = OPTION_NUMBER,
						 .offset = offsetof(struct proxy, retry),
						 .default_value = "5",
						 .max = 60,
						 .help = "A time"},
						{.name = "pool",
						 .type = OPTION_SECTIONS,
						 .offset = offsetof(struct proxy, pools),
						 .needs_restart = true,
						 .help = "A pool",
						 .options = pool_options,
						 .size = sizeof(struct pool)},
						{0}};
static const struct service_schema schema = {"proxy", options, .size = sizeof(struct proxy)};

/* Parse TEXT; encode and decode the result, which must be the same. */
static struct config *parse(const char *text, struct errors *e)
{
	char *bytes = NULL, *before = NULL, *after = NULL;
	size_t n;
	struct errors again = {0};
	file_write("skeld.conf", text);
	struct config *c = config_parse("skeld.conf", &schema, e), *decoded;
	FILE *out = open_memstream(&bytes, &n);
	MUST(out);
	config_encode(c, e, out);
	MUST(fclose(out) == 0);
	cr_assert(config_decode(bytes, n, &schema, &decoded, &again));
	cr_assert(!c == !decoded && e->n == again.n);
	for (size_t i = 0; c && i < n; i++) { /* a cut answer is rejected */
		struct config *cut;
		struct errors none = {0};
		cr_assert_not(config_decode(bytes, i, &schema, &cut, &none));
		errors_clear(&none);
	}
	if (c)
		cr_assert_str_eq(before = printed(c), after = printed(decoded));
	free(before);
	free(after);
	free(bytes);
	config_unref(decoded);
	errors_clear(&again);
	return c;
}

static struct config *parse_good(const char *text)
{
	struct errors e = {0};
	struct config *c = parse(text, &e);
	cr_assert(c && e.n == 0, "%s: %s", text, errors_text(&e, 0));
	return c;
}

static void expect_wrong(const char *text, const char *begins)
{
	struct errors e = {0};
	cr_assert_null(parse(text, &e), "accepted: %s", text);
	cr_assert(e.n == 1 && strncmp(errors_text(&e, 0), begins, strlen(begins)) == 0,
		  "%s: %zu errors: %s", text, e.n, errors_text(&e, 0));
	errors_clear(&e);
}

static const struct proxy *proxy_of(const struct config *c)
{
	return c->service;
}

Test(config_sections, the_service_reads_an_array_in_the_order_of_the_file)
{
	struct config *c = parse_good(
		"proxy {\n\tbackend \"b\" { address = \"[::1]:2\" weight = 2 buffer = 8K\n"
		"timeout = 2m on = false colour = red token = t path = /p tags = {x, y, z} }\n"
		"retry = 7\nbackend a { }\npool p { }\n}\n"
		"proxy { backend c { weight = 3 } }\n");
	const struct proxy *p = proxy_of(c);
	const struct backend *b = p->backends.item;
	const struct pool *pool = p->pools.item;
	cr_assert_eq(p->backends.n, 3);
	cr_assert_str_eq(b[0].title, "b");
	cr_assert_str_eq(b[0].address, "[::1]:2");
	cr_assert(b[0].weight == 2 && b[0].buffer == 8192 && b[0].timeout == 120 && !b[0].on &&
		  b[0].colour == 0);
	cr_assert_str_eq(b[0].token, "t");
	cr_assert_str_eq(b[0].path, "/p");
	cr_assert_str_eq(b[0].tags[2], "z");
	cr_assert_str_eq(b[1].title, "a");
	cr_assert_str_eq(b[1].address, "127.0.0.1:1");
	cr_assert(b[1].weight == 1 && b[1].buffer == 4096 && b[1].timeout == 60 && b[1].on &&
		  b[1].colour == 1);
	cr_assert_str_eq(b[1].token, "");
	cr_assert_str_eq(b[1].tags[1], "b");
	cr_assert_str_eq(b[2].title, "c");
	cr_assert_eq(b[2].weight, 3);
	cr_assert_eq(p->retry, 7);
	cr_assert_eq(p->pools.n, 1);
	cr_assert_str_eq(pool[0].title, "p");
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_sections, there_are_no_sections_by_default)
{
	struct config *c = parse_good("proxy { }\n");
	cr_assert(proxy_of(c)->backends.n == 0 && !proxy_of(c)->backends.item);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_sections, values_are_checked_as_in_each_table)
{
	expect_wrong("proxy { backend a {\nweight = 10 } }\n",
		     "skeld.conf:2: proxy.backend.weight = \"10\": expected a whole number from 0 "
		     "to 9 (backend \"a\")");
	expect_wrong("proxy { backend a {\naddress = here } }\n",
		     "skeld.conf:2: proxy.backend.address = \"here\": expected ");
	expect_wrong("proxy { backend a {\npath = here } }\n",
		     "skeld.conf:2: proxy.backend.path = \"here\": expected an absolute path");
	expect_wrong("proxy { backend a {\ntimeout = 2h } }\n",
		     "skeld.conf:2: proxy.backend.timeout = \"2h\": expected ");
	expect_wrong("proxy { backend a {\ntags = {a, \"\"} } }\n",
		     "skeld.conf:2: proxy.backend.tags = \"\": expected elements");
	expect_wrong("proxy { backend a {\naddress = \"${NONE}:1\" } }\n",
		     "skeld.conf:2: environment variable NONE is not set");
	EXPECT_NOTHING_LEFT();
}

Test(config_sections, unknown_names_are_reported_with_the_nearest)
{
	expect_wrong("proxy { backend a {\nadress = x } }\n",
		     "skeld.conf:2: unknown option proxy.backend.adress: did you mean address? "
		     "expected one of: address weight");
	expect_wrong("proxy {\nbakend a { } }\n",
		     "skeld.conf:2: unknown section proxy.bakend: did you mean backend? expected "
		     "one of: backend pool; its content was not checked");
	expect_wrong("proxy {\nsomething a { } }\n",
		     "skeld.conf:2: section proxy: unexpected something: expected name = value, "
		     "with quotes around a value that has blanks, or one of the sections backend "
		     "pool");
	expect_wrong("proxy {\nbackend = a\n}\n", "skeld.conf:2: ");
	expect_wrong("proxy {\nbackend { } }\n",
		     "skeld.conf:2: section backend without a title: expected backend \"title\"");
	EXPECT_NOTHING_LEFT();
}

Test(config_sections, a_section_in_the_wrong_place_is_reported)
{
	expect_wrong("\nbackend a { }\n",
		     "skeld.conf:2: section backend: expected inside of section proxy");
	expect_wrong("limits {\nbackend a { } }\n",
		     "skeld.conf:2: section backend: expected inside of section proxy");
	expect_wrong("proxy {\nlisten a { } }\n",
		     "skeld.conf:2: section proxy is not closed before section listen");
	expect_wrong("proxy { backend a {\nbackend b { } } }\n",
		     "skeld.conf:2: section backend is not closed before section backend");
	expect_wrong("proxy { backend a {\nweight = 1\n",
		     "skeld.conf:3: section backend \"a\" is not closed");
	expect_wrong("proxy { backend a {\nweight = 1 }\n",
		     "skeld.conf:3: section proxy is not closed");
	EXPECT_NOTHING_LEFT();
}

Test(config_sections, duplicates_are_rejected)
{
	expect_wrong("proxy { backend a { }\nbackend b {}\nbackend a {} }\n",
		     "skeld.conf:3: backend \"a\" is already defined at skeld.conf:1");
	expect_wrong("proxy { backend a {\n} }\nproxy {\n\n backend a { weight = 1 } }\n",
		     "skeld.conf:5: backend \"a\" is already defined at skeld.conf:2");
	expect_wrong("proxy { backend a { weight = 1\nweight = 1 } }\n",
		     "skeld.conf:2: weight is already set at skeld.conf:1");
	expect_wrong("proxy { retry = 1 backend a { weight = 1 }\nretry = 1 }\n",
		     "skeld.conf:2: retry is already set at skeld.conf:1");
	file_write("other", "proxy { backend a { } }\n");
	expect_wrong("proxy { backend a { } }\ninclude(\"other\")\n",
		     "other:1: backend \"a\" is already defined at skeld.conf:1");
	config_unref(parse_good("proxy { backend a { weight = 1 } backend b { weight = 1 } "
				"pool a { } }\n"));
	EXPECT_NOTHING_LEFT();
}

Test(config_sections, more_than_256_sections_are_rejected)
{
	static char text[16384];
	strcpy(text, "proxy {\n");
	for (int i = 0; i < 200; i++)
		sprintf(text + strlen(text), "backend %d { weight = %d }\n", i, i % 10);
	for (int i = 0; i < 56; i++)
		sprintf(text + strlen(text), "pool %d { }\n", i);
	size_t n = strlen(text);
	strcat(text, "}\n");
	struct errors e = {0};
	file_write("skeld.conf", text);
	struct config *c = config_parse("skeld.conf", &schema, &e);
	cr_assert(c, "%s", errors_text(&e, 0));
	const struct backend *b = proxy_of(c)->backends.item;
	cr_assert_str_eq(b[199].title, "199");
	cr_assert_eq(b[199].weight, 9);
	config_unref(c);
	strcpy(text + n, "pool more { } }\n");
	expect_wrong(text, "skeld.conf:258: too many pool sections: expected at most 256");
	EXPECT_NOTHING_LEFT();
}

static char lines[2048];

static void add_line(void *context, const char *line)
{
	(void)context;
	snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines), "%s\n", line);
}

/* Expect the differences LINES. Returns the changed configuration. */
static struct config *expect_changes(const char *old_text, const char *new_text,
				     const char *expected)
{
	struct config *old = parse_good(old_text), *new = parse_good(new_text);
	*lines = '\0';
	cr_assert(config_compare(old, new, add_line, NULL));
	cr_assert_str_eq(lines, expected, "%s", lines);
	config_unref(old);
	return new;
}

Test(config_sections, changes_are_reported_with_the_title_of_the_section)
{
	config_unref(expect_changes(
		"proxy { backend a { weight = 1 token = x } backend b { } }\n",
		"proxy { backend c { } backend a { weight = 2 token = y tags = {} } }\n",
		"proxy.backend \"a\".weight: 1 -> 2\n"
		"proxy.backend \"a\".token: (changed)\n"
		"proxy.backend \"a\".tags: {\"a\", \"b\"} -> \"\"\n"
		"proxy.backend \"b\": removed\n"
		"proxy.backend \"c\": added\n"));
	config_unref(expect_changes("proxy { backend a { } backend b { } }\n",
				    "proxy { backend b { } backend a { } }\n",
				    "proxy.backend: the order has changed\n"));
	config_unref(expect_changes("proxy { backend a { } backend b { } }\n",
				    "proxy { backend a { weight = 1 } }\nproxy { backend b { } }\n",
				    ""));
	EXPECT_NOTHING_LEFT();
}

Test(config_sections, an_option_that_needs_a_restart_keeps_its_value)
{
	struct config *c = expect_changes(
		"proxy { backend a { colour = red } }\n", "proxy { backend a { } backend b {} }\n",
		"proxy.backend \"a\".colour: \"red\" -> \"green\" needs a restart, keeping "
		"\"red\"\n"
		"proxy.backend \"b\": added\n");
	const struct backend *b = proxy_of(c)->backends.item;
	cr_assert(b[0].colour == 0 && b[1].colour == 1);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_sections, sections_that_need_a_restart_stay)
{
	struct config *c = expect_changes(
		"proxy { pool a { name = x } pool b { } }\n",
		"proxy { pool a { name = y } pool c { } }\n",
		"proxy.pool \"a\".name: \"x\" -> \"y\" needs a restart, keeping \"x\"\n"
		"proxy.pool \"b\": removed needs a restart\n"
		"proxy.pool \"c\": added needs a restart\n");
	const struct proxy *p = proxy_of(c);
	const struct pool *pool = p->pools.item;
	cr_assert_eq(p->pools.n, 2);
	cr_assert_str_eq(pool[0].name, "x");
	cr_assert_str_eq(pool[1].title, "b");
	config_unref(c);
	c = expect_changes("proxy { pool a { } pool b { } }\n", "proxy { pool b {} pool a {} }\n",
			   "proxy.pool: the order has changed needs a restart\n");
	pool = proxy_of(c)->pools.item;
	cr_assert_str_eq(pool[0].title, "a");
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_sections, printed_sections_load_to_the_same)
{
	struct config *c = parse_good("proxy { backend \"a \\\"b\" { weight = 2 token = t }\n"
				      "backend c { tags = x } }\n");
	char *text = printed(c);
	static const char *const parts[] = {
		"\nproxy {\n\t# A time.\n",
		"\n\t# A server.\n\tbackend \"a \\\"b\" {\n\t\t# Where it is.\n",
		"\t\t# token = (secret)\n",
		"; default {\"a\", \"b\"}; live.\n\t\ttags = \"x\"\n\t}\n",
		"\n#\t# A pool.\n#\tpool \"title\" {\n#\t\t# A name.\n",
		"#\t\tname = \"n\"\n#\t}\n}\n"};
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		cr_assert(strstr(text, parts[i]), "%s\nis not in\n%s", parts[i], text);
	config_unref(c);
	c = parse_good(text);
	const struct backend *b = proxy_of(c)->backends.item;
	cr_assert_eq(proxy_of(c)->backends.n, 2);
	cr_assert_str_eq(b[0].title, "a \"b");
	cr_assert_eq(b[0].weight, 2);
	free(text);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_sections, a_secret_appears_in_no_error)
{
	struct errors e = {0};
	cr_assert_null(parse("proxy { backend a {\ntoken = correct horse\n} }\n", &e));
	for (size_t i = 0; i < errors_stored(&e); i++)
		cr_assert_not(strstr(errors_text(&e, i), "horse"), "%s", errors_text(&e, i));
	errors_clear(&e);
	EXPECT_NOTHING_LEFT();
}

/* Mistakes of the author of a service. */
Test(config_sections, a_wrong_table_is_reported)
{
	struct service_option rows[3] = {options[0], options[2], {0}};
	struct service_schema wrong = {"proxy", rows, .size = sizeof(struct proxy)};
	static const char begin[] = "the options of the service are wrong: section ";
	for (int i = 0; i < 5; i++) {
		struct errors e = {0};
		rows[0] = options[0];
		if (i == 0)
			rows[0].name = "listen";
		else if (i == 1)
			rows[0].name = "pool";
		else if (i == 2)
			rows[0].size = 0;
		else if (i == 3)
			rows[0].options = options;
		else
			rows[0].options = NULL;
		cr_assert_null(config_parse(NULL, &wrong, &e));
		cr_assert_eq(strncmp(errors_text(&e, 0), begin, strlen(begin)), 0, "%s",
			     errors_text(&e, 0));
		errors_clear(&e);
	}
	EXPECT_NOTHING_LEFT();
}
