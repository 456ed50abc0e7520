/* Lists in the configuration, OPTION_LIST; and OPTION_MODE. */
#include "fixture.h"
#include "loading.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(config_list, .init = fixture_enter, .fini = fixture_leave);

/* Load thing { tags = VALUE } and expect EXPECTED when it is printed. */
static void expect_tags(const char *value, const char *expected)
{
	char text[512];
	snprintf(text, sizeof(text), "thing { tags = %s }\n", value);
	struct config *c = load_good(text);
	char *is = shown(c, "thing", "tags");
	cr_assert_str_eq(is, expected, "%s is %s", text, is);
	free(is);
	char *all = printed(c); /* loads to the same */
	config_unref(c);
	c = load_good(all);
	is = shown(c, "thing", "tags");
	cr_assert_str_eq(is, expected, "%s is %s", all, is);
	free(is);
	free(all);
	config_unref(c);
}

Test(config_list, one_value_and_braces_are_accepted)
{
	expect_tags("a", "\"a\"");
	expect_tags("{a}", "\"a\"");
	expect_tags("{\"a\", 'b c', d}", "{\"a\", \"b c\", \"d\"}");
	expect_tags("{\"a\", # one\n\"b\",\n}", "{\"a\", \"b\"}");
	expect_tags("{\"}\", \"{\", \"a\\\"b\", \",\"}", "{\"}\", \"{\", \"a\\\"b\", \",\"}");
	expect_tags("{a, a}", "{\"a\", \"a\"}");
	EXPECT_NOTHING_LEFT();
}

Test(config_list, an_empty_list_is_written_in_three_ways)
{
	expect_tags("\"\"", "\"\"");
	expect_tags("{}", "\"\"");
	expect_tags("{ # nothing\n\n}", "\"\"");
	/* Also in place of a default. */
	struct config *c = load_good("thing { marks = {} }\n");
	const struct thing *thing = c->service;
	cr_assert_null(thing->marks[0]);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

/* config/prescan.h marks an empty list with this character. */
Test(config_list, a_value_like_the_mark_of_an_empty_list_is_a_value)
{
	expect_tags("\"\\x02\"", "\"\\x02\"");
	expect_tags("{\"\\x02\", a}", "{\"\\x02\", \"a\"}");
	struct config *c = load_good("thing { name = \"\\x02\" }\n");
	cr_assert_str_eq(((const struct thing *)c->service)->name, "\002");
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_list, the_service_reads_an_array)
{
	struct config *c = load_good("thing { tags = {a, b} }\n");
	const struct thing *thing = c->service;
	cr_assert_str_eq(thing->tags[0], "a");
	cr_assert_str_eq(thing->tags[1], "b");
	cr_assert_null(thing->tags[2]);
	cr_assert_str_eq(thing->marks[1], "two"); /* the default */
	cr_assert_null(thing->marks[2]);
	config_unref(c);
	c = load_good("#\n");
	thing = c->service;
	cr_assert_null(thing->tags[0]);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_list, an_empty_element_is_rejected)
{
	static const char begin[] =
		"skeld.conf:1: thing.tags = \"\": expected elements of the list "
		"that are not empty";
	expect_error("thing { tags = {\"\"} }\n", begin);
	expect_error("thing { tags = {\"\", a} }\n", begin);
	expect_error("thing { tags = {a, \"\"} }\n", begin);
	expect_error("thing { tags = {a, '', b} }\n", begin);
	EXPECT_NOTHING_LEFT();
}

Test(config_list, a_list_has_at_most_256_elements)
{
	static char text[8192] = "thing { tags = {";
	for (int i = 0; i < 256; i++)
		sprintf(text + strlen(text), "%s%d", i ? ",\n" : "", i);
	size_t n = strlen(text);
	strcat(text, "} }\n");
	struct config *c = load_good(text);
	cr_assert_str_eq(((const struct thing *)c->service)->tags[255], "255");
	config_unref(c);
	strcpy(text + n, ",\n256, 257, 258} }\n");
	expect_error(text, "skeld.conf:257: thing.tags = \"256\": expected at most 256 elements");
	EXPECT_NOTHING_LEFT();
}

Test(config_list, a_list_that_is_set_twice_is_rejected)
{
	static const char *const texts[] = {"thing { tags = a\ntags = b }\n",
					    "thing { tags = {a, b}\ntags = {c, d} }\n",
					    "thing { tags = {}\ntags = {a} }\n",
					    "thing { tags = {a}\ntags = {} }\n",
					    "thing { tags = {} }\nthing { tags = {} }\n",
					    "thing { tags = \"\" }\nthing { tags = \"\" }\n"};
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		expect_error(texts[i], "skeld.conf:2: tags is already set at skeld.conf:1");
	EXPECT_NOTHING_LEFT();
}

Test(config_list, a_list_for_an_option_with_one_value_is_rejected)
{
	expect_error("thing { name = {} }\n", "skeld.conf:1: name = {}: expected one value");
	expect_error("\nworkers = {}\n", "skeld.conf:2: workers = {}: expected one value");
	expect_error("thing { name = {a} }\n", "skeld.conf:1: unexpected token '{'");
	expect_error("thing { nmae = {a, b} }\n",
		     "skeld.conf:1: unknown option thing.nmae: did you mean name?");
	expect_error("thing { nmae = {} }\n",
		     "skeld.conf:1: unknown option thing.nmae: did you mean name?");
	EXPECT_NOTHING_LEFT();
}

static char lines[1024];

static void add_line(void *context, const char *line)
{
	(void)context;
	snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines), "%s\n", line);
}

Test(config_list, a_change_is_reported)
{
	struct config *old = load_good("thing { tags = {a, b} }\n");
	struct config *new = load_good("thing { tags = {b, a} marks = {} }\n");
	cr_assert(config_compare(old, new, add_line, NULL));
	cr_assert_str_eq(lines, "thing.tags: {\"a\", \"b\"} -> {\"b\", \"a\"}\n"
				"thing.marks: {\"one\", \"two\"} -> \"\" needs a restart, keeping "
				"{\"one\", \"two\"}\n");
	cr_assert_str_eq(((const struct thing *)new->service)->marks[1], "two");
	config_unref(old);
	config_unref(new);
	EXPECT_NOTHING_LEFT();
}

Test(config_list, a_variable_may_be_an_element)
{
	MUST(setenv("ONE", "1 2", 1) == 0);
	expect_tags("{\"${ONE}\", ${ONE}, \"a ${NONE:-b}\"}", "{\"1 2\", \"1 2\", \"a b\"}");
	expect_error("thing { tags = {a,\n${NONE}} }\n",
		     "skeld.conf:2: environment variable NONE is not set");
	EXPECT_NOTHING_LEFT();
}

Test(config_list, a_mode_is_octal)
{
	static const char *const bad[] = {"0888", "66", "06660", "1777", "rw", "0x1f", " 0660"};
	config_unref(load_good("thing { mode = 660 }\n"));
	config_unref(load_good("thing { mode = \"0777\" }\n"));
	config_unref(load_good("thing { mode = \"\" }\n"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char text[128], begins[128];
		snprintf(text, sizeof(text), "thing { mode = \"%s\" }\n", bad[i]);
		snprintf(begins, sizeof(begins),
			 "skeld.conf:1: thing.mode = \"%s\": expected a file mode in octal",
			 bad[i]);
		expect_error(text, begins);
	}
	EXPECT_NOTHING_LEFT();
}
