#include "kv_parser.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char bad_line[] = "CLIENT_ERROR bad command line format\r\n";
static const char bad_delta[] = "CLIENT_ERROR invalid numeric delta argument\r\n";
static const char bad_expiry[] = "CLIENT_ERROR invalid exptime argument\r\n";
static const char unknown[] = "ERROR\r\n";

/* A letter for each argument, see parse_argument(). */
static const struct {
	const char *name, *arguments;
} commands[] = {[GET] = {"get", "K"},
		[GETS] = {"gets", "K"},
		[SET] = {"set", "kfes"},
		[ADD] = {"add", "kfes"},
		[REPLACE] = {"replace", "kfes"},
		[CAS] = {"cas", "kfesu"},
		[APPEND] = {"append", "kfes"},
		[PREPEND] = {"prepend", "kfes"},
		[INCR] = {"incr", "kd"},
		[DECR] = {"decr", "kd"},
		[TOUCH] = {"touch", "kt"},
		[DELETE] = {"delete", "kz"},
		[FLUSH_ALL] = {"flush_all", "o"},
		[VERBOSITY] = {"verbosity", "l"},
		[STATS] = {"stats", "N"},
		[VERSION] = {"version", "N"},
		[QUIT] = {"quit", "N"}};

static const char *skip_spaces(struct kv_command *m)
{
	while (m->at < m->end && *m->at == ' ')
		m->at++;
	return m->at;
}

static struct word next_word(struct kv_command *m)
{
	const char *start = skip_spaces(m);
	while (m->at < m->end && *m->at != ' ')
		m->at++;
	return (struct word){start, (size_t)(m->at - start)};
}

static bool is(struct word w, const char *text)
{
	return w.n == strlen(text) && memcmp(w.at, text, w.n) == 0;
}

bool kv_number(struct word w, uint64_t max, uint64_t *number)
{
	char *end;
	if (!w.n || *w.at < '0' || *w.at > '9')
		return false;
	errno = 0;
	*number = strtoull(w.at, &end, 10);
	return end == w.at + w.n && !errno && *number <= max;
}

static bool next_number(struct kv_command *m, uint64_t max, uint64_t *number)
{
	return kv_number(next_word(m), max, number);
}

static bool next_expiry(struct kv_command *m)
{
	struct word w = next_word(m);
	bool negative = w.n && *w.at == '-';
	uint64_t t;
	bool valid = kv_number((struct word){w.at + negative, w.n - negative}, INT64_MAX / 2, &t);
	if (valid)
		m->expiry = negative && t ? -1 : (int64_t)t;
	return valid;
}

bool kv_next_key(struct kv_command *m)
{
	const char *start = skip_spaces(m);
	while (m->at < m->end && (unsigned char)*m->at > ' ')
		m->at++;
	bool valid = m->at == m->end || *m->at == ' '; /* no control character */
	m->key = (struct word){start, (size_t)(m->at - start) + !valid};
	return valid && m->key.n && m->key.n <= KEY_MAX;
}

/* An argument that may be missing. */
static const char *optional(struct kv_command *m, const char *before, bool is_there)
{
	if (!is_there)
		m->at = before;
	return NULL;
}

static const char *parse_argument(struct kv_command *m, char letter)
{
	const char *before = m->at;
	switch (letter) {
	case 'k':
		return kv_next_key(m) ? NULL : bad_line;
	case 'K': /* the first of several keys */
		return kv_next_key(m) ? NULL : m->key.n ? bad_line : unknown;
	case 'f':
		return next_number(m, UINT32_MAX, &m->flags) ? NULL : bad_line;
	case 's':
		return next_number(m, INT32_MAX, &m->size) ? NULL : bad_line;
	case 'u': /* the unique number of an item */
		return next_number(m, UINT64_MAX, &m->number) ? NULL : bad_line;
	case 'd':
		return next_number(m, UINT64_MAX, &m->number) ? NULL : bad_delta;
	case 'e':
		return next_expiry(m) ? NULL : bad_line;
	case 't':
		return next_expiry(m) ? NULL : bad_expiry;
	case 'o': /* a delay that may be missing */
		return optional(m, before, next_expiry(m));
	case 'z': /* old clients send a time */
		return optional(m, before, is(next_word(m), "0"));
	case 'l': /* a level, which is ignored; as in memcached, it may be missing before noreply */
		if (m->at == m->end)
			return bad_line;
		return optional(m, before, next_number(m, UINT32_MAX, &m->number));
	default: /* nothing at all */
		return next_word(m).n ? unknown : NULL;
	}
}

/* The end of the line, with or without noreply. */
static const char *parse_end(struct kv_command *m)
{
	struct word w = next_word(m);
	if (!w.n)
		return NULL;
	m->noreply = is(w, "noreply") && !next_word(m).n;
	return m->noreply ? NULL : bad_line;
}

const char *kv_parse(struct kv_command *m, const char *at, const char *end)
{
	const char *error = NULL;
	*m = (struct kv_command){.at = at, .end = end};
	struct word name = next_word(m);
	while (m->verb < N_VERBS && !is(name, commands[m->verb].name))
		m->verb++;
	if (m->verb == N_VERBS)
		return unknown;
	const char *letter = commands[m->verb].arguments;
	while (!error && *letter)
		error = parse_argument(m, *letter++);
	return error || m->verb <= GETS ? error : parse_end(m);
}
