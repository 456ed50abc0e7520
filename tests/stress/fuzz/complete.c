#include "complete.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { WORD_MAX = 4096 };

/* A token is one of "={}(),+", 'w' for a word or a string, 0 at the end, or '?' for an error. */
struct reader {
	const char *text, *at, *end;
	char token, word[WORD_MAX];
	const char *begin; /* of the token */
	bool quoted;
};

static const char *const names[] = {
	"",	     "workers",	    "user",	   "group",	   "drain_timeout",
	"lame_duck", NULL,	    "log",	   "level",	   "target",
	"format",    "file",	    NULL,	   "listen",	   "address",
	"backlog",   "proxy",	    "tls",	   "mode",	   "group",
	NULL,	     "limits",	    "connections", "idle_timeout", "buffer",
	"memory",    "outgoing",    NULL,	   "admin",	   "address",
	"tls",	     NULL,	    "tls",	   "certificate",  "key",
	"client_ca", "min_version", NULL};

/* Returns true if SECTION has an option NAME. NAME NULL: returns true if SECTION exists. */
static bool is_known(const char *section, const char *name)
{
	if (strcmp(section, "echo") == 0 || strcmp(section, "sub") == 0)
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

static bool is_titled(const char *section)
{
	return strcmp(section, "listen") == 0 || strcmp(section, "tls") == 0 ||
	       strcmp(section, "sub") == 0;
}

static bool starts_with(const struct reader *r, const char *two)
{
	return r->end - r->at > 1 && memcmp(r->at, two, 2) == 0;
}

/* Returns false at a comment that is not closed. */
static bool skip_blanks(struct reader *r)
{
	for (; r->at < r->end; r->at++) {
		if (strchr(" \t\r\n", *r->at))
			continue;
		bool star = starts_with(r, "/*"), line = *r->at == '#' || starts_with(r, "//");
		if (!star && !line)
			break;
		const char *close = star ? memmem(r->at + 2, (size_t)(r->end - r->at - 2), "*/", 2)
					 : memchr(r->at, '\n', (size_t)(r->end - r->at));
		if (!close && star)
			return false;
		r->at = close ? close + star : r->end - 1;
	}
	return true;
}

/* Read a number of at most MAX_DIGITS digits. */
static char read_digits(struct reader *r, unsigned base, int max_digits)
{
	static const char digits[] = "0123456789abcdef";
	unsigned value = 0;
	for (; max_digits > 0 && r->at < r->end && *r->at; max_digits--, r->at++) {
		const char *digit = strchr(digits, tolower((unsigned char)*r->at));
		if (!digit || digit >= digits + base)
			break;
		value = value * base + (unsigned)(digit - digits);
	}
	return (char)value;
}

/* Read the rest of an escape such as \n, \x41 or \101, after the backslash. */
static char read_escape(struct reader *r)
{
	static const char letters[] = "abefnrtv", values[] = "\a\b\033\f\n\r\t\v";
	char ch = *r->at++;
	if (ch == 'x' && r->at < r->end && isxdigit((unsigned char)*r->at))
		return read_digits(r, 16, 2);
	if (ch >= '0' && ch <= '7') {
		r->at--;
		return read_digits(r, 8, 3);
	}
	const char *letter = ch ? strchr(letters, ch) : NULL;
	return letter ? values[letter - letters] : ch;
}

static bool read_string(struct reader *r)
{
	char quote = *r->at++;
	size_t n = 0;
	while (r->at < r->end && *r->at != quote) {
		char ch = *r->at++;
		if (ch == '\n' || (ch == '\\' && r->at == r->end))
			return false;
		if (ch == '\\' && *r->at == '\n') { /* continuation line */
			r->at++;
			continue;
		}
		if (ch == '\\' && quote == '"')
			ch = read_escape(r);
		else if (ch == '\\' && strchr("\\'", *r->at))
			ch = *r->at++;
		if (n < WORD_MAX - 1)
			r->word[n++] = ch;
	}
	r->word[n] = '\0';
	return r->at++ < r->end;
}

/* Read ${NAME}. Its value is not known here. */
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

static void read_token(struct reader *r)
{
	r->token = '?';
	r->quoted = false;
	if (!skip_blanks(r))
		return;
	r->begin = r->at;
	if (r->at == r->end) {
		r->token = 0;
	} else if (*r->at == '"' || *r->at == '\'') {
		r->quoted = true;
		r->token = read_string(r) ? 'w' : '?';
	} else if (strchr("={}(),+", *r->at)) {
		r->token = *r->at++;
	} else if (starts_with(r, "${")) {
		read_variable(r);
	} else {
		size_t n = 0;
		while (r->at < r->end && !strchr(" \t\r\n\"'={}(),#", *r->at) &&
		       !starts_with(r, "/*") && !starts_with(r, "+=")) {
			if (n < WORD_MAX - 1)
				r->word[n++] = *r->at;
			r->at++;
		}
		r->word[n] = '\0';
		r->token = n ? 'w' : '?';
	}
}

/* Read the next token if the current one is TOKEN. Returns false if it is not. */
static bool accept_token(struct reader *r, char token)
{
	bool accepted = r->token == token;
	if (accepted)
		read_token(r);
	return accepted;
}

/* A name with ${} in it may have any value. */
static bool may_be_known(const char *section, const char *name)
{
	return is_known(section, name) || strstr(name ? name : section, "${");
}

static bool read_include(struct reader *r, const char *begin, on_included *included, void *context)
{
	char path[WORD_MAX];
	if (!accept_token(r, '(') || r->token != 'w' || !r->quoted)
		return false;
	snprintf(path, sizeof(path), "%s", r->word);
	read_token(r);
	if (r->token != ')')
		return false;
	if (included)
		included(context, path, (size_t)(begin - r->text), (size_t)(r->at - r->text));
	read_token(r);
	return true;
}

/* The options whose value may be a list. */
static bool is_list(const char *name)
{
	return strcmp(name, "tls") == 0 || strcmp(name, "list") == 0 || strstr(name, "${");
}

/* Read the value of NAME: one, or a list in braces, in which a comma may follow the last one. */
static bool read_value(struct reader *r, const char *name)
{
	if (!is_list(name) || !accept_token(r, '{'))
		return accept_token(r, 'w');
	while (accept_token(r, 'w'))
		if (!accept_token(r, ','))
			break;
	return accept_token(r, '}');
}

/* Read the statements of SECTION ("": the top level) up to a token that begins no statement. */
static bool read_statements(struct reader *r, const char *section, on_included *included,
			    void *context)
{
	char name[WORD_MAX];
	while (r->token == 'w') {
		const char *begin = r->begin;
		bool include = !r->quoted && strcmp(r->word, "include") == 0;
		snprintf(name, sizeof(name), "%s", r->word);
		read_token(r);
		if (accept_token(r, '=')) {
			if (!may_be_known(section, name) || !read_value(r, name))
				return false;
			continue;
		}
		bool nested = strcmp(name, "sub") == 0 || (*section && strstr(name, "${"));
		if (nested ? strcmp(section, "echo") != 0 : *section != 0)
			return false;
		if (include && r->token == '(') {
			if (!read_include(r, begin, included, context))
				return false;
			continue;
		}
		bool titled = accept_token(r, 'w');
		if (!*name || !may_be_known(name, NULL) ||
		    (titled != is_titled(name) && !strstr(name, "${")))
			return false;
		if (!accept_token(r, '{') || !read_statements(r, name, included, context) ||
		    !accept_token(r, '}'))
			return false;
	}
	return true;
}

bool is_complete(const char *text, size_t n, on_included *included, void *context)
{
	if (!n || text[n - 1] == '\r')
		return false;
	for (size_t i = 0; i < n; i++)
		if ((iscntrl((unsigned char)text[i]) && !strchr("\t\r\n", text[i])) || !text[i])
			return false;
	size_t mark = n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* byte order */
	struct reader r = {.text = text, .at = text + mark, .end = text + n};
	read_token(&r);
	return read_statements(&r, "", included, context) && r.token == 0;
}
