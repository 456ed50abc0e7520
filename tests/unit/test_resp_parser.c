/* The parser of the example service resp.c. */
/* build: LINK example_parts */
#include "resp_parser.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct resp_request request;

/* In memory of exactly this size, so that the address sanitizer finds a byte that is read behind.
 */
static ssize_t parse(const char *bytes, size_t n)
{
	char *copy = malloc(n);
	cr_assert(copy);
	memcpy(copy, bytes, n);
	ssize_t length = resp_parse(&request, copy, n);
	for (size_t i = 0; length > 0 && i < request.n; i++) /* the caller compares the original */
		request.word[i].at = bytes + (request.word[i].at - copy);
	free(copy);
	return length;
}

static bool is(struct word w, const char *text)
{
	return w.n == strlen(text) && memcmp(w.at, text, w.n) == 0;
}

Test(resp_parser, an_array_is_incomplete_until_its_last_byte)
{
	static const char text[] = "*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n";
	for (size_t n = 1; n < sizeof(text) - 1; n++)
		cr_assert_eq(parse(text, n), INCOMPLETE, "%zu bytes", n);
	cr_assert_eq(parse(text, sizeof(text) - 1), sizeof(text) - 1);
	cr_assert(request.n == 2 && is(request.word[0], "GET") && is(request.word[1], "a\r\nb"));
}

Test(resp_parser, a_request_ends_before_the_next_one)
{
	static const char text[] = "*1\r\n$4\r\nPING\r\n*1\r\n";
	cr_assert_eq(parse(text, sizeof(text) - 1), 14);
	cr_assert_eq(parse("PING\r\nPING\r\n", 12), 6);
}

Test(resp_parser, a_line_has_words_separated_by_spaces)
{
	static const char text[] = "  GET   a \n";
	cr_assert_eq(parse(text, sizeof(text) - 1), sizeof(text) - 1);
	cr_assert(request.n == 2 && is(request.word[0], "GET") && is(request.word[1], "a"));
	cr_assert_eq(parse("\r\n", 2), 2);
	cr_assert_eq(request.n, 0);
	cr_assert_eq(parse("GET a", 5), INCOMPLETE);
}

Test(resp_parser, a_malformed_array_is_rejected)
{
	static const char *const malformed[] = {
		"*x\r\n",	 "*-1\r\n",	     "*1x\r\n",
		"*\r\n",	 "*1025\r",	     "*1\r\nGET\r\n",
		"*1\r\n$-1\r\n", "*1\r\n$536870913", "*1\r\n$3\r\nabcde",
		"*1\nx",	 "*1\r\n$\r\n",	     "*99999999999999999999"};
	for (size_t i = 0; i < sizeof(malformed) / sizeof(*malformed); i++)
		cr_assert_eq(parse(malformed[i], strlen(malformed[i])), MALFORMED, "%s",
			     malformed[i]);
}

Test(resp_parser, a_request_has_at_most_1024_words)
{
	char text[2 * (WORDS_MAX + 1) + 1];
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = i % 2 ? ' ' : 'x';
	text[sizeof(text) - 1] = '\n';
	cr_assert_eq(parse(text, sizeof(text)), MALFORMED);
	cr_assert_gt(parse(text + 2, sizeof(text) - 2), 0);
	cr_assert_eq(request.n, WORDS_MAX);
}

Test(resp_parser, an_integer_has_64_bits)
{
	int64_t n = 0;
	cr_assert(resp_integer((struct word){"-9223372036854775808\r", 20}, &n) && n == INT64_MIN);
	cr_assert(!resp_integer((struct word){"9223372036854775808\r", 19}, &n));
	cr_assert(!resp_integer((struct word){"+1\r", 2}, &n));
	cr_assert(!resp_integer((struct word){"1x\r", 2}, &n));
	cr_assert(!resp_integer((struct word){"\r", 0}, &n));
}
