/* config/prescan: comments and includes are blanked, and line numbers stay. */
#include "config/prescan.h"
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(prescan, .init = fixture_enter, .fini = fixture_leave);

static char included[256]; /* "LINE:PATH " for each */

static void note_include(void *context, const char *path, unsigned line)
{
	cr_assert_eq(context, included);
	size_t n = strlen(included);
	snprintf(included + n, sizeof(included) - n, "%u:%s ", line, path);
}

static bool try_scan(char *text, struct errors *e)
{
	*included = '\0';
	bool good = prescan(text, "file", note_include, included, e);
	cr_assert_eq(good, e->n == 0, "%s", text);
	return good;
}

static void expect_scanned(const char *text, const char *expected)
{
	struct errors e = {0};
	char *copy = strdup(text);
	MUST(copy);
	cr_assert(try_scan(copy, &e), "%s\n%s", text, errors_text(&e, 0));
	cr_assert_str_eq(copy, expected, "%s\nbecomes\n%s", text, copy);
	free(copy);
}

static void expect_kept(const char *text)
{
	expect_scanned(text, text);
}

static void expect_refused(const char *text, const char *error)
{
	struct errors e = {0};
	char *copy = strdup(text);
	MUST(copy);
	cr_assert_not(try_scan(copy, &e), "%s", text);
	cr_assert_eq(strncmp(errors_text(&e, 0), error, strlen(error)), 0, "%s\n%s\nnot: %s", text,
		     errors_text(&e, 0), error);
	errors_clear(&e);
	free(copy);
}

Test(prescan, comments_become_blanks_and_lines_stay)
{
	expect_scanned("a # b\nc\n", "a    \nc\n");
	expect_scanned("a // b\nc\n", "a     \nc\n");
	expect_scanned("a /* b */ c\n", "a         c\n");
	expect_scanned("/* a\n\n b */c\n", "    \n\n     c\n");
	expect_scanned("/**/ /***/ a /*/*/\n", "           a      \n");
	expect_scanned("# /*\na # */\n", "    \na     \n");
	expect_scanned("// \" '\n/* \" ' # // */\n", "      \n              \n");
	expect_scanned("#\\\na\n", "  \na\n");
	EXPECT_NOTHING_LEFT();
}

Test(prescan, text_directly_behind_a_comment_is_kept)
{
	expect_scanned("/**//*\n*/#\n", "      \n   \n");
	expect_scanned("/**/\"a # b\"\n", "    \"a # b\"\n");
	expect_scanned("/**/'a // b'\n", "    'a // b'\n");
	expect_scanned("/**/# \"\n", "       \n");
	expect_scanned("}#\n", "} \n");
	expect_refused("\n/**//* a\n", "file:2: this comment");
	expect_refused("\n/**/\"a\n", "file:2: this string");
	EXPECT_NOTHING_LEFT();
}

Test(prescan, no_comment_begins_in_a_word)
{
	expect_kept("file = /var//log\n");
	expect_kept("address = unix:/run//x\n");
	expect_kept("a/b\n");
	expect_kept("a / b\n");
	expect_refused("\na = b#c\n", "file:2: unexpected #: quote a value that contains it");
	expect_refused("a = +5\n", "file:1: unexpected +: quote a value that contains it");
	expect_refused("a = 10+\n", "file:1: unexpected +: quote a value that contains it");
	expect_refused("\n+\n", "file:2: unexpected +: quote a value that contains it");
	expect_refused("a = b*c\n", "file:1: unexpected *: quote a value that contains it");
	/* Except this one, which libconfuse treats as a comment, too. */
	expect_scanned("a = b/*c*/\n", "a = b     \n");
	EXPECT_NOTHING_LEFT();
}

Test(prescan, comment_marks_in_strings_are_kept)
{
	static const char *const kept[] = {"\"# // /* */\"\n",	 "'# // /*'\n",
					   "\"a\\\n# b\\\n\"\n", "\"\\\"# \" 'it\\'s # '\n",
					   "'\"' \"'\"\n",	 "\"\\\\\"\n",
					   "'\\\\'\n",		 "\"\"\"\"''\n",
					   "\"include('x')\"\n"};
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++) {
		expect_kept(kept[i]);
		cr_assert_str_empty(included);
	}
	expect_scanned("'a'#'b'\n", "'a'    \n");
	expect_scanned("\"\\\\\"# b\n", "\"\\\\\"   \n");
	EXPECT_NOTHING_LEFT();
}

Test(prescan, unclosed_text_is_rejected_at_its_beginning)
{
	static const char line[] = "file:2: this string is not closed on its line";
	static const char string[] = "file:2: this string is not closed";
	static const char comment[] = "file:2: this comment is not closed";
	expect_refused("\na = \"b\n\n", line);
	expect_refused("\na = 'b\n\n", line);
	expect_refused("\na = \"b\\\"\n", line);
	expect_refused("\na = 'b\\'\n", line);
	expect_refused("\na = 'b\"\n", line);
	expect_refused("\na = \"\\\n", string);
	expect_refused("\na = 'b\\\n\n", line);
	expect_refused("a = \"\\\n\" \"\n", line);
	expect_refused("\n/* a\n", comment);
	expect_refused("\n/*/\n", comment);
	expect_refused("\n/* a * /\n\n", comment);
	expect_refused("/*\n*/ /* \n", comment);
	EXPECT_NOTHING_LEFT();
}

/* Else the next quote, wherever it stands, would be the end of it, and what is between them gone.
 */
Test(prescan, a_missing_quote_is_reported_at_its_line)
{
	expect_refused("a = \"b\nc = \"d\"\n", "file:1: this string is not closed");
	expect_refused("a = \"\nb = 1\nc = \"\n", "file:1: this string is not closed");
	expect_refused("a = '\nb = 1\nc = '\n", "file:1: this string is not closed");
	EXPECT_NOTHING_LEFT();
}

Test(prescan, a_variable_must_end_in_its_string)
{
	static const char error[] = "file:2: \"${\" is not closed in this string";
	expect_refused("\n\"${HOME\" }\n", error);
	expect_refused("\n\"${HOME\n}\"\n", error);
	expect_refused("\n\"a ${\"\n", error);
	expect_kept("\"${HOME}\"\n");
	expect_kept("'${HOME'\n");
	expect_kept("\"\\${HOME\"\n");
	expect_kept("\"$HOME {\"\n");
	EXPECT_NOTHING_LEFT();
}

/* libconfuse would read everything up to the next brace as its name, with an empty value. */
Test(prescan, a_variable_must_end_on_its_line)
{
	expect_kept("a = ${HOME}\n");
	expect_kept("a = ${HOME:-x y}\n");
	expect_refused("\na = ${HOME\nb { c = 1 }\n", "file:2: ");
	expect_refused("a = ${HOME\n", "file:1: ");
	expect_refused("a = ${\n", "file:1: ");
	EXPECT_NOTHING_LEFT();
}

Test(prescan, a_nul_in_a_string_is_rejected)
{
	static const char *const bad[] = {"\"\\0\"\n",	  "\"a\\00b\"\n",  "\"\\000\"\n",
					  "\"\\0001\"\n", "\"\\x0\"\n",	   "\"\\x00\"\n",
					  "\"\\x001\"\n", "\"\\\\\\0\"\n", "\"\\\n\\0\"\n"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect_refused(bad[i], "file:1: NUL character in this string");
	static const char *const good[] = {"\"\\01 \\001 \\x1 \\x01 \\x0a \\x10 \\10 \\x\"\n",
					   "\"\\\\0 0 x0\"\n", "'\\0 \\x00'\n"};
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		expect_kept(good[i]);
	EXPECT_NOTHING_LEFT();
}

Test(prescan, includes_are_reported_and_blanked)
{
	expect_scanned("a\n include(\"x y\") b\n", "a\n                b\n");
	cr_assert_str_eq(included, "2:x y ");
	expect_scanned("include ( 'it\"s' )include\t(\"/b\")\n}include(\"c\")\n",
		       "                                \n}            \n");
	cr_assert_str_eq(included, "1:it\"s 1:/b 2:c ");
	expect_scanned("/*\n*/\"\\\n\"include('x')\n", "  \n  \"\\\n\"            \n");
	cr_assert_str_eq(included, "3:x ");
	expect_scanned("# include(\"no\")\n", "               \n");
	cr_assert_str_empty(included);
	expect_kept("includes = 1\nxinclude = 1\ninclude_x = 1\n");
	cr_assert_str_empty(included);
	EXPECT_NOTHING_LEFT();
}

Test(prescan, an_include_must_be_complete_and_on_one_line)
{
	static const char *const bad[] = {"include\n",
					  "include(\n",
					  "include()\n",
					  "include(x)\n",
					  "include(\"\")\n",
					  "include(\"x\"\n",
					  "include(\"x\n",
					  "include(\"x\" }\n",
					  "include(\"x\", \"y\")\n",
					  "include(\"x\" \"y\")\n",
					  "include(\"x\"\n)\n",
					  "include(\n\"x\")\n",
					  "include\n(\"x\")\n",
					  "include = 1\n",
					  "include \"x\"\n",
					  "include { }\n",
					  "include(\"a\\\"b\")\n",
					  "include('a\\'b')\n",
					  "include(\"x')\n"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		expect_refused(bad[i], "file:1: include: expected include(\"path\")");
		cr_assert_str_empty(included);
	}
	EXPECT_NOTHING_LEFT();
}

Test(prescan, an_include_in_a_section_is_rejected)
{
	expect_refused("a {\ninclude(\"x\")\n}\n", "file:2: include in a section");
	expect_scanned("a { b { } }\ninclude(\"x\")\n", "a { b { } }\n            \n");
	expect_scanned("}\ninclude(\"x\")\n", "}\n            \n");
	expect_scanned("# {\ninclude(\"x\")\n", "   \n            \n");
	expect_scanned("'{'\ninclude(\"x\")\n", "'{'\n            \n");
	EXPECT_NOTHING_LEFT();
}

Test(prescan, an_empty_list_becomes_a_mark)
{
	expect_scanned("a = {}\n", "a = \002 \n");
	expect_scanned("a={ \n\t}b = {\"c\"}\n", "a=\002 \n\t b = {\"c\"}\n");
	expect_scanned("a = /* { */ { # }\n } b\n", "a =         \002    \n   b\n");
	expect_kept("a {}\nb \"{}\" = \"{}\"\nc = {d}\ne f {\n}\n");
	EXPECT_NOTHING_LEFT();
}

Test(prescan, a_list_must_be_closed_and_have_commas)
{
	expect_kept("a = {\"b\", 'c',\nd,}\n");
	expect_kept("a = {b, ${HOME:-c}} d { e = {f} }\n");
	expect_refused("\na = {\"b\",\n\"c\"\nd = 1\n", "file:4: missing , between two");
	expect_refused("\na = {\"b\",\nd = 1\n", "file:2: this list is not closed before =");
	expect_refused("\na = {b\n", "file:2: this list is not closed");
	expect_refused("a = {\n{b}\n}\n", "file:1: this list is not closed before {");
	expect_refused("log =\n{ level = 1 }\n", "file:2: this list is not closed before =");
	expect_refused("a = {b c}\n", "file:1: missing , between two elements");
	expect_refused("a = {\"b\"\"c\"}\n", "file:1: missing , between two elements");
	expect_refused("a = {b,\n,c}\n", "file:2: missing element");
	expect_refused("a = {,}\n", "file:1: missing element");
	expect_refused("a = {\"b, \"c\"}\n", "file:1: missing , between two elements");
	expect_refused("a = {\"b\", \"c}\n", "file:1: this string is not closed");
	/* A list is no section. */
	expect_refused("a = {b}\nc {\ninclude(\"d\") }\n", "file:3: include in a section");
	expect_scanned("a = {b}\ninclude(\"d\")\n", "a = {b}\n            \n");
	EXPECT_NOTHING_LEFT();
}
