/* The value of a secret option appears in no output. */
#include "fixture.h"
#include "loading.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(config_secret, .init = fixture_enter, .fini = fixture_leave);

static char lines[1024];

static void add_line(void *context, const char *line)
{
	(void)context;
	snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines), "%s\n", line);
}

static void expect_changes(const char *old_text, const char *new_text, const char *expected)
{
	struct config *old = load_good(old_text), *new = load_good(new_text);
	*lines = '\0';
	cr_assert(config_compare(old, new, add_line, NULL));
	cr_assert_str_eq(lines, expected);
	config_unref(old);
	config_unref(new);
}

Test(config_secret, a_change_is_logged_without_the_values)
{
	expect_changes("thing { token = one }\n", "thing { token = two }\n",
		       "thing.token: (changed)\n");
	expect_changes("thing { }\n", "thing { token = two }\n", "thing.token: (changed)\n");
	expect_changes("thing { key = one }\n", "thing { key = two }\n",
		       "thing.key: (changed) needs a restart, keeping (secret)\n");
	expect_changes("thing { token = one }\n", "thing { token = one }\n", "");
	EXPECT_NOTHING_LEFT();
}

Test(config_secret, the_value_is_loaded)
{
	struct config *c = load_good("thing { token = \"hunter2\" }\n");
	const struct thing *thing = c->service;
	cr_assert_str_eq(thing->token, "hunter2");
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_secret, the_value_is_not_printed)
{
	struct config *c = load_good("thing { token = \"hunter2\" }\n");
	char *text = printed(c);
	cr_assert_not(strstr(text, "hunter2"), "%s", text);
	cr_assert(strstr(text, "\t# token = (secret)\n"), "%s", text);
	cr_assert(strstr(text, "\tkey = \"\"\n"), "%s", text);
	config_unref(load_good(text)); /* the output is a file that loads */
	free(text);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

/* Expect an error that begins with BEGINS, and no error that contains "horse". */
static void expect_hidden(const char *text, const char *begins)
{
	struct errors e = {0};
	cr_assert_null(load(text, &e), "accepted:\n%s", text);
	cr_assert_eq(strncmp(errors_text(&e, 0), begins, strlen(begins)), 0, "%s: %s", text,
		     errors_text(&e, 0));
	for (size_t i = 0; i < e.n; i++)
		cr_assert_not(strstr(errors_text(&e, i), "horse"), "%s: %s", text,
			      errors_text(&e, i));
	errors_clear(&e);
}

Test(config_secret, no_part_of_an_unquoted_value_is_in_an_error)
{
	expect_hidden("thing {\ntoken = correct horse\n}\n", "skeld.conf:");
	expect_hidden("thing {\ntoken = correct horse = 1\n}\n",
		      "skeld.conf:2: unknown option thing.(secret)");
	expect_hidden("thing {\ntoken = correct horse { }\n}\n", "skeld.conf:2: ");
	expect_hidden("thing {\ntoken = correct\"horse\"\n}\n", "skeld.conf:");
	expect_hidden("thing {\ntoken = a=horse\n}\n", "skeld.conf:");
	expect_hidden("thing {\ntoken = a(horse)\n}\n", "skeld.conf:");
	expect_hidden("thing {\ntoken = a{horse}\n}\n", "skeld.conf:");
	expect_hidden("thing {\ntoken = \"correct horse\n}\n", "skeld.conf:2: this string");
	expect_hidden(
		"thing {\ntoken = correct "
		"horse_horse_horse_horse_horse_horse_horse_horse_horse_horse_horse_horse = 1\n}\n",
		"skeld.conf:2: unknown option thing.(secret)");
	EXPECT_NOTHING_LEFT();
}

Test(config_secret, names_on_other_lines_are_shown)
{
	expect_error("thing {\ntoken = correct\nhorse = 1\n}\n",
		     "skeld.conf:3: unknown option thing.horse");
	EXPECT_NOTHING_LEFT();
}
