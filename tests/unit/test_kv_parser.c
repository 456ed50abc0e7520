/* The parser of the example service kv.c. */
/* build: LINK example_parts */
#include "kv_parser.h"

#include <criterion/criterion.h>
#include <string.h>

#define BAD_LINE "CLIENT_ERROR bad command line format\r\n"

/* Parse LINE. A line end follows it. */
static const char *parse(struct kv_command *m, const char *line)
{
	static char text[600];
	strcpy(text, line);
	strcat(text, "\r\n");
	return kv_parse(m, text, text + strlen(line));
}

static bool is(struct word w, const char *text)
{
	return w.n == strlen(text) && memcmp(w.at, text, w.n) == 0;
}

Test(kv_parser, the_arguments_of_a_command_are_parsed)
{
	struct kv_command m;
	cr_assert_null(parse(&m, "  cas key  7 -3 12 18446744073709551615 noreply "));
	cr_assert(m.verb == CAS && is(m.key, "key") && m.flags == 7 && m.expiry == -1);
	cr_assert(m.size == 12 && m.number == UINT64_MAX && m.noreply);
	cr_assert_null(parse(&m, "incr n 5"));
	cr_assert(m.verb == INCR && is(m.key, "n") && m.number == 5 && !m.noreply);
	cr_assert_null(parse(&m, "touch a 4611686018427387903"));
	cr_assert(m.verb == TOUCH && m.expiry == INT64_MAX / 2);
}

Test(kv_parser, get_has_several_keys)
{
	struct kv_command m;
	cr_assert_null(parse(&m, "gets a noreply"));
	cr_assert(m.verb == GETS && is(m.key, "a") && !m.noreply);
	cr_assert(kv_next_key(&m) && is(m.key, "noreply"));
	cr_assert(!kv_next_key(&m) && !m.key.n);
}

Test(kv_parser, optional_arguments_may_be_missing)
{
	static const char *const lines[] = {
		"flush_all",	    "flush_all 10", "flush_all noreply", "flush_all 10 noreply",
		"delete k",	    "delete k 0",   "delete k noreply",	 "delete k 0 noreply",
		"verbosity noreply"};
	struct kv_command m;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		cr_assert_null(parse(&m, lines[i]), "%s", lines[i]);
		cr_assert_eq(m.noreply, strstr(lines[i], "noreply") != NULL, "%s", lines[i]);
	}
}

Test(kv_parser, each_malformed_line_has_its_answer)
{
	static const struct {
		const char *line, *answer;
	} lines[] = {
		{"", "ERROR\r\n"},
		{"GET a", "ERROR\r\n"},
		{"getx a", "ERROR\r\n"},
		{"get", "ERROR\r\n"},
		{"get k\x01y", BAD_LINE},
		{"stats noreply", "ERROR\r\n"},
		{"set", BAD_LINE},
		{"set k x 0 1", BAD_LINE},
		{"set k 4294967296 0 1", BAD_LINE},
		{"set k 0 x 1", BAD_LINE},
		{"set k 0 9223372036854775807 1", BAD_LINE},
		{"set k 0 0 -1", BAD_LINE},
		{"set k 0 0 2147483648", BAD_LINE},
		{"set k 0 0 1 2", BAD_LINE},
		{"cas k 0 0 1 noreply", BAD_LINE},
		{"delete k 1", BAD_LINE},
		{"delete k noreply noreply", BAD_LINE},
		{"verbosity", BAD_LINE},
		{"verbosity x", BAD_LINE},
		{"flush_all x", BAD_LINE},
		{"incr k", "CLIENT_ERROR invalid numeric delta argument\r\n"},
		{"incr k +1", "CLIENT_ERROR invalid numeric delta argument\r\n"},
		{"touch k", "CLIENT_ERROR invalid exptime argument\r\n"},
	};
	struct kv_command m;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		const char *answer = parse(&m, lines[i].line);
		cr_assert(answer && strcmp(answer, lines[i].answer) == 0, "%s: %s", lines[i].line,
			  answer);
		cr_assert(!m.noreply, "%s: the answer must be sent", lines[i].line);
	}
}

Test(kv_parser, a_number_is_decimal_and_at_most_the_maximum)
{
	uint64_t n = 0;
	cr_assert(kv_number((struct word){"255 ", 3}, 255, &n) && n == 255);
	cr_assert(!kv_number((struct word){"256 ", 3}, 255, &n));
	cr_assert(!kv_number((struct word){"18446744073709551616 ", 20}, UINT64_MAX, &n));
	cr_assert(!kv_number((struct word){"-1 ", 2}, 255, &n));
	cr_assert(!kv_number((struct word){"1x ", 2}, 255, &n));
	cr_assert(!kv_number((struct word){" 1", 0}, 255, &n));
}
