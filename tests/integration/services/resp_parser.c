#include "resp_parser.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Skip TYPE, a number up to MAX and a line end at *AT. Returns 1, or INCOMPLETE or MALFORMED. */
static int parse_length(const char **at, const char *end, char type, size_t max, size_t *length)
{
	const char *p = *at;
	if (p < end && *p++ != type)
		return MALFORMED;
	for (*length = 0; p < end && *p >= '0' && *p <= '9' && *length <= max; p++)
		*length = *length * 10 + (size_t)(*p - '0');
	if (*length > max)
		return MALFORMED;
	if (end - p < 2)
		return INCOMPLETE;
	bool valid = p > *at + 1 && p[0] == '\r' && p[1] == '\n';
	*at = p + 2;
	return valid ? 1 : MALFORMED;
}

static ssize_t parse_array(struct resp_request *r, const char *bytes, size_t n)
{
	const char *at = bytes, *end = bytes + n;
	int result = parse_length(&at, end, '*', WORDS_MAX, &r->n);
	for (struct word *w = r->word; result == 1 && w < r->word + r->n; w++) {
		result = parse_length(&at, end, '$', BULK_MAX, &w->n);
		if (result != 1)
			return result;
		if ((size_t)(end - at) < w->n + 2)
			return INCOMPLETE;
		w->at = at;
		at += w->n + 2;
		result = at[-2] == '\r' && at[-1] == '\n' ? 1 : MALFORMED;
	}
	return result == 1 ? at - bytes : result;
}

static ssize_t parse_inline(struct resp_request *r, const char *bytes, size_t n)
{
	const char *end = memchr(bytes, '\n', n), *at = bytes;
	if (!end)
		return INCOMPLETE;
	for (r->n = 0; at < end;) {
		size_t length = strcspn(at, " \r\n");
		if (length && r->n == WORDS_MAX)
			return MALFORMED;
		if (length)
			r->word[r->n++] = (struct word){at, length};
		at += length + 1;
	}
	return end + 1 - bytes;
}

ssize_t resp_parse(struct resp_request *r, const char *bytes, size_t n)
{
	return *bytes == '*' ? parse_array(r, bytes, n) : parse_inline(r, bytes, n);
}

bool resp_integer(struct word w, int64_t *value)
{
	char *end;
	if (!w.n || *w.at == '+' || *w.at <= ' ')
		return false;
	errno = 0;
	*value = strtoll(w.at, &end, 10);
	return end == w.at + w.n && !errno;
}
