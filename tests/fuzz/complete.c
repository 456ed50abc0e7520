#include "complete.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { WORD_MAX = 4096 };

/* A token is one of these characters, or 'w', a word or string, or 0, the end, or '?'. */
struct reader {
	const char *text, *at, *end;
	char token, word[WORD_MAX];
	const char *begin; /* of the token */
	bool quoted;
};

static const char *const names[] = {
	"",	     "workers", "user",	  "group",	 "drain_timeout",
	"lame_duck", NULL,	"log",	  "level",	 "target",
	"file",	     NULL,	"listen", "address",	 "backlog",
	"proxy",     NULL,	"limits", "connections", "idle_timeout",
	"buffer",    NULL,	"admin",  "address",	 NULL};

/* Does SECTION have an option NAME; with NAME NULL: is there such a section? */
static bool is_known(const char *section, const char *name)
{
	if (strcmp(section, "echo") == 0)
		return true;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(names[i], section) != 0) {
			while (names[i])
				i++;
			continue;
		}
		while (name && names[++i])
			if (strcmp(names[i], name) == 0)
				return true;
		return !name;
	}
	return false;
}

static bool begins(const struct reader *r, const char *with)
{
	return r->end - r->at > 1 && memcmp(r->at, with, 2) == 0;
}

static bool pass_blanks(struct reader *r)
{
	for (; r->at < r->end; r->at++) {
		if (strchr(" \t\r\n", *r->at))
			continue;
		bool star = begins(r, "/*"), line = *r->at == '#' || begins(r, "//");
		if (!star && !line)
			break;
		const char *close = star ? memmem(r->at + 2, (size_t)(r->end - r->at - 2), "*/", 2)
					 : memchr(r->at, '\n', (size_t)(r->end - r->at));
		if (!close)
			return false;
		r->at = close + star;
	}
	return true;
}

/* The number of at most MOST digits that stands at R. */
static char read_digits(struct reader *r, unsigned base, int most)
{
	static const char digits[] = "0123456789abcdef";
	unsigned value = 0;
	for (; most > 0 && r->at < r->end && *r->at; most--, r->at++) {
		const char *digit = strchr(digits, tolower((unsigned char)*r->at));
		if (!digit || digit >= digits + base)
			break;
		value = value * base + (unsigned)(digit - digits);
	}
	return (char)value;
}

/* "\n", "\x41", "\101": what stands for it; R is behind the backslash, and moves behind it all. */
static char escaped(struct reader *r)
{
	static const char letters[] = "abefnrtv", means[] = "\a\b\033\f\n\r\t\v";
	char ch = *r->at++;
	if (ch == 'x' && r->at < r->end && isxdigit((unsigned char)*r->at))
		return read_digits(r, 16, 2);
	if (ch >= '0' && ch <= '7') {
		r->at--;
		return read_digits(r, 8, 3);
	}
	const char *letter = ch ? strchr(letters, ch) : NULL;
	return letter ? means[letter - letters] : ch;
}

static bool read_string(struct reader *r)
{
	char quote = *r->at++;
	size_t n = 0;
	while (r->at < r->end && *r->at != quote) {
		char ch = *r->at++;
		if (ch == '\n' || (ch == '\\' && r->at == r->end))
			return false;
		if (ch == '\\' && *r->at == '\n') { /* the line goes on */
			r->at++;
			continue;
		}
		if (ch == '\\' && quote == '"')
			ch = escaped(r);
		else if (ch == '\\' && strchr("\\'", *r->at))
			ch = *r->at++;
		if (n < WORD_MAX - 1)
			r->word[n++] = ch;
	}
	r->word[n] = '\0';
	return r->at++ < r->end;
}

/* ${NAME}; what stands for it is not known. */
static void read_variable(struct reader *r)
{
	size_t n = 0;
	while (r->at < r->end && *r->at != '\n' && *r->at != '}') {
		if (n < WORD_MAX - 1)
			r->word[n++] = *r->at;
		r->at++;
	}
	r->word[n] = '\0';
	r->token = r->at < r->end && *r->at++ == '}' ? 'w' : '?';
}

static void next(struct reader *r)
{
	r->token = '?';
	r->quoted = false;
	if (!pass_blanks(r))
		return;
	r->begin = r->at;
	if (r->at == r->end) {
		r->token = 0;
	} else if (*r->at == '"' || *r->at == '\'') {
		r->quoted = true;
		r->token = read_string(r) ? 'w' : '?';
	} else if (strchr("={}(),+", *r->at)) {
		r->token = *r->at++;
	} else if (begins(r, "${")) {
		read_variable(r);
	} else {
		size_t n = 0;
		while (r->at < r->end && !strchr(" \t\r\n\"'={}(),#", *r->at) && !begins(r, "/*") &&
		       !begins(r, "+=")) {
			if (n < WORD_MAX - 1)
				r->word[n++] = *r->at;
			r->at++;
		}
		r->word[n] = '\0';
		r->token = n ? 'w' : '?';
	}
}

static bool take(struct reader *r, char token)
{
	bool is = r->token == token;
	if (is)
		next(r);
	return is;
}

/* Names that come from the environment could be anything. */
static bool may_be(const char *section, const char *name)
{
	return is_known(section, name) || strstr(name ? name : section, "${");
}

static bool read_include(struct reader *r, const char *begin, on_included *included, void *context)
{
	char path[WORD_MAX];
	if (!take(r, '(') || r->token != 'w' || !r->quoted)
		return false;
	snprintf(path, sizeof(path), "%s", r->word);
	next(r);
	if (r->token != ')')
		return false;
	if (included)
		included(context, path, (size_t)(begin - r->text), (size_t)(r->at - r->text));
	next(r);
	return true;
}

/* What a section holds, or the file: ends at what is no statement. */
static bool read_statements(struct reader *r, const char *section, on_included *included,
			    void *context)
{
	char name[WORD_MAX];
	while (r->token == 'w') {
		const char *begin = r->begin;
		bool include = !r->quoted && strcmp(r->word, "include") == 0;
		snprintf(name, sizeof(name), "%s", r->word);
		next(r);
		if (take(r, '=')) {
			if (!may_be(section, name) || !take(r, 'w'))
				return false;
			continue;
		}
		if (*section)
			return false;
		if (include && r->token == '(') {
			if (!read_include(r, begin, included, context))
				return false;
			continue;
		}
		bool titled = take(r, 'w');
		if (!*name || !may_be(name, NULL) ||
		    (titled != (strcmp(name, "listen") == 0) && !strstr(name, "${")))
			return false;
		if (!take(r, '{') || !read_statements(r, name, included, context) || !take(r, '}'))
			return false;
	}
	return true;
}

bool is_complete(const char *text, size_t n, on_included *included, void *context)
{
	if (!n || text[n - 1] != '\n')
		return false;
	for (size_t i = 0; i < n; i++)
		if ((iscntrl((unsigned char)text[i]) && !strchr("\t\r\n", text[i])) || !text[i])
			return false;
	struct reader r = {.text = text, .at = text, .end = text + n};
	next(&r);
	return read_statements(&r, "", included, context) && r.token == 0;
}
