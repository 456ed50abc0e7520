/* base/text: text from outside cannot control a terminal, forge a line or hide text. */
#include "base/text.h"
#include "fixture.h"

#include <stdio.h>
#include <string.h>

/* N bytes of TEXT come out as EXPECTED. */
static void expect_escaped(const char *text, size_t n, const char *expected)
{
	char out[256];
	size_t length = text_escape(out, sizeof(out), text, n);
	cr_assert_str_eq(out, expected, "\"%s\", expected \"%s\"", out, expected);
	cr_assert_eq(length, strlen(expected));
}

/* Each of the N bytes becomes \xNN. */
static void expect_refused(const char *bytes, size_t n)
{
	char expected[64];
	for (size_t i = 0; i < n; i++)
		snprintf(expected + i * 4, 5, "\\x%02x", (unsigned char)bytes[i]);
	expect_escaped(bytes, n, expected);
}

/* The UTF-8 encoding of a character that needs 2 or 3 bytes. */
static size_t encode(unsigned c, char out[4])
{
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	out[0] = (char)(0xe0 | c >> 12);
	out[1] = (char)(0x80 | (c >> 6 & 0x3f));
	out[2] = (char)(0x80 | (c & 0x3f));
	return 3;
}

Test(text, printable_ascii_is_unchanged)
{
	char all[96];
	for (int i = 0; i < 95; i++)
		all[i] = (char)(' ' + i);
	all[95] = '\0';
	expect_escaped(all, 95, all);
	expect_escaped("", 0, "");
}

Test(text, c0_controls_and_del_are_escaped)
{
	for (int ch = 0; ch < 0x20; ch++)
		expect_refused((char[]){(char)ch}, 1);
	expect_refused("\x7f", 1);
	expect_escaped("a\n\x1b[31mb\0c", 10, "a\\x0a\\x1b[31mb\\x00c");
}

Test(text, c1_controls_are_escaped)
{
	char c[4];
	for (unsigned ch = 0x80; ch < 0xa0; ch++)
		expect_refused(c, encode(ch, c));
	expect_escaped("\xc2\xa0", 2, "\xc2\xa0");
}

Test(text, well_formed_utf8_is_unchanged)
{
	static const char *const good[] = {"\xc2\xa0",
					   "\xdf\xbf", /* U+00A0, U+07FF: 2 bytes */
					   "\xe0\xa0\x80",
					   "\xed\x9f\xbf", /* U+0800, U+D7FF */
					   "\xee\x80\x80",
					   "\xef\xbf\xbf", /* U+E000, U+FFFF: 3 bytes */
					   "\xf0\x90\x80\x80",
					   "\xf4\x8f\xbf\xbf", /* U+10000, U+10FFFF: 4 bytes */
					   "Gr\xc3\xbcn \xe2\x82\xac \xf0\x9f\x98\x80"};
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		expect_escaped(good[i], strlen(good[i]), good[i]);
}

Test(text, ill_formed_utf8_is_escaped_byte_by_byte)
{
	static const char *const bad[] = {"\x80",
					  "\xbf", /* not a first byte */
					  "\xc3",
					  "\xe2\x82",
					  "\xf0\x9f\x98", /* cut */
					  "\xc0\x80",
					  "\xc1\xbf",
					  "\xe0\x80\x80",
					  "\xe0\x9f\xbf", /* overlong encodings: */
					  "\xf0\x80\x80\x80",
					  "\xf0\x8f\xbf\xbf", /* could hide a '/' */
					  "\xed\xa0\x80",
					  "\xed\xaf\xbf",
					  "\xed\xb0\x80",
					  "\xed\xbf\xbf", /* surrogates */
					  "\xf4\x90\x80\x80",
					  "\xf5\x80\x80\x80",
					  "\xf7\xbf\xbf\xbf", /* past U+10FFFF */
					  "\xf8\x88\x80\x80\x80",
					  "\xfe",
					  "\xff"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect_refused(bad[i], strlen(bad[i]));
}

Test(text, text_behind_an_ill_formed_byte_is_kept)
{
	expect_escaped("a\xff"
		       "b",
		       3, "a\\xffb");
	expect_escaped("\xe2(\xa1", 3, "\\xe2(\\xa1");
	expect_escaped("\xe2\x82\xc3\xa9", 4, "\\xe2\\x82\xc3\xa9");
	expect_escaped("\xf0\x9f\x98\n", 4, "\\xf0\\x9f\\x98\\x0a");
	/* The rest of a character behind LENGTH is not read. */
	expect_escaped("\xc3\xa9", 1, "\\xc3");
}

Test(text, line_separators_and_bidirectional_controls_are_escaped)
{
	static const struct {
		unsigned first, last;
	} layout[] = {{0x2028, 0x202e}, {0x2066, 0x2069}};
	char c[4] = "";
	for (size_t i = 0; i < 2; i++) {
		for (unsigned ch = layout[i].first; ch <= layout[i].last; ch++)
			expect_refused(c, encode(ch, c));
		c[encode(layout[i].first - 1, c)] = '\0';
		expect_escaped(c, 3, c);
		c[encode(layout[i].last + 1, c)] = '\0';
		expect_escaped(c, 3, c);
	}
}

Test(text, text_that_does_not_fit_is_cut_at_a_whole_character)
{
	static const char text[] = "a\xc3\xa9\n\xe2\x82\xac\xff\xf0\x9f\x98\x80";
	static const char whole[] = "a\xc3\xa9\\x0a\xe2\x82\xac\\xff\xf0\x9f\x98\x80";
	static const size_t ends[] = {0, 1, 3, 7, 10, 14, 18};
	for (size_t size = 1; size <= sizeof(whole) + 1; size++) {
		size_t expected = 0;
		for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
			if (ends[i] < size)
				expected = ends[i];
		char out[sizeof(whole) + 8];
		memset(out, '#', sizeof(out));
		cr_assert_eq(text_escape(out, size, text, sizeof(text) - 1), expected, "%zu", size);
		cr_assert_eq(memcmp(out, whole, expected), 0, "%zu", size);
		cr_assert_eq(out[expected], '\0', "%zu", size);
		for (size_t i = size; i < sizeof(out); i++)
			cr_assert_eq(out[i], '#', "wrote byte %zu of %zu", i, size);
	}
}

Test(text, a_buffer_of_one_byte_holds_only_the_nul)
{
	char out[2] = "#";
	cr_assert_eq(text_escape(out, 1, "a", 1), 0);
	cr_assert_eq(out[0], '\0');
	cr_assert_eq(text_escape(out, 1, "\n", 1), 0);
	cr_assert_eq(text_escape(out, 1, "", 0), 0);
}

Test(text, the_distance_counts_inserted_deleted_replaced_and_swapped_characters)
{
	static const struct {
		const char *a, *b;
		size_t distance;
	} pairs[] = {{"", "", 0},	    {"", "log", 3},	      {"level", "level", 0},
		     {"level", "levle", 1}, {"buffer", "bufer", 1},   {"file", "files", 1},
		     {"user", "usel", 1},   {"kitten", "sitting", 3}, {"a", "b", 1}};
	char text[80];
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		cr_assert_eq(text_distance(pairs[i].a, pairs[i].b), pairs[i].distance, "%zu", i);
		cr_assert_eq(text_distance(pairs[i].b, pairs[i].a), pairs[i].distance, "%zu", i);
	}
	memset(text, 'x', sizeof(text));
	text[64] = '\0';
	cr_assert_eq(text_distance(text, text), 64);
	cr_assert_eq(text_distance("log", text), 64);
	text[63] = '\0';
	cr_assert_eq(text_distance(text, text), 0);
	cr_assert_eq(text_distance("", text), 63);
}

static void expect_json(const char *text, size_t n, const char *expected)
{
	char out[256];
	size_t length = text_escape_json(out, sizeof(out), text, n);
	cr_assert_str_eq(out, expected, "\"%s\", expected \"%s\"", out, expected);
	cr_assert_eq(length, strlen(expected));
}

Test(text, a_string_in_json_has_its_quotes_and_backslashes_escaped)
{
	expect_json("a \"b\" \\c/", 9, "a \\\"b\\\" \\\\c/");
	expect_json("", 0, "");
}

Test(text, a_string_in_json_has_controls_as_numbers_of_characters)
{
	expect_json("a\n\x1b\0\x7f", 5, "a\\u000a\\u001b\\u0000\\u007f");
	expect_json("\xc2\x9b\xe2\x80\xae\xe2\x80\xa8", 8, "\\u009b\\u202e\\u2028");
	expect_json("\xc2\xa0\xe2\x82\xac\xf0\x9f\x98\x80", 9,
		    "\xc2\xa0\xe2\x82\xac\xf0\x9f\x98\x80");
}

Test(text, a_string_in_json_has_a_replacement_character_for_each_ill_formed_byte)
{
	expect_json("a\xff\xc3", 3, "a\xef\xbf\xbd\xef\xbf\xbd");
	expect_json("\xed\xa0\x80z", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
}

Test(text, a_string_in_json_is_cut_at_a_whole_escape)
{
	char out[8];
	for (size_t size = 1; size <= sizeof(out); size++) {
		size_t n = text_escape_json(out, size, "\"\n\"", 3);
		cr_assert_eq(n, size > 8 ? 8 : size > 2 ? 2 : 0, "%zu: %s", size, out);
		cr_assert_eq(strlen(out), n);
	}
}
