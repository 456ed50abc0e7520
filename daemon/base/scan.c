#include "base/scan.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct scan {
	char *p;       /* the next character */
	unsigned line; /* that it stands on */
	unsigned depth;
	const char *file;
	struct errors *errors;
	void (*include)(void *context, const char *path, unsigned line);
	void *context;
};

#define WRONG(s, ...) (errors_add((s)->errors, (s)->file, (s)->line, __VA_ARGS__), false)

/* Go on to END; BLANK: and leave nothing but the line ends. */
static void pass(struct scan *s, const char *end, bool blank)
{
	for (; s->p < end; s->p++) {
		if (*s->p == '\n')
			s->line++;
		else if (blank)
			*s->p = ' ';
	}
}

/* "\0", "\00", "\000", "\x0" or "\x00". */
static bool is_nul_escape(const char *p)
{
	char digits[4] = "";
	bool hex = p[1] == 'x';
	strncpy(digits, p + 1 + hex, hex ? 2 : 3);
	size_t n = strspn(digits, hex ? "0123456789abcdefABCDEF" : "01234567");
	digits[n] = '\0';
	return n && strtol(digits, NULL, hex ? 16 : 8) == 0;
}

/* A string; END gets what follows it. */
static bool find_string_end(const struct scan *s, char **end)
{
	char quote = *s->p;
	for (char *p = s->p + 1; *p; p++) {
		if (*p == quote) {
			*end = p + 1;
			return true;
		}
		if (quote == '"' && p[0] == '$' && p[1] == '{' && p[strcspn(p, "}\"\n")] != '}')
			return WRONG(s, "\"${\" is not closed in the string that begins here");
		if (*p == '\n') /* one that is missing would swallow what stands up to the next */
			return WRONG(s, "the string that begins here does not end on its line");
		if (*p == '\\' && quote == '"' && is_nul_escape(p))
			return WRONG(s, "a NUL character in the string that begins here");
		if (*p == '\\' && p[1])
			p++;
	}
	return WRONG(s, "the string that begins here is never closed");
}

static bool pass_string(struct scan *s)
{
	char *end;
	if (!find_string_end(s, &end))
		return false;
	pass(s, end, false);
	return true;
}

static bool pass_comment(struct scan *s)
{
	if (s->p[0] == '/' && s->p[1] == '*') {
		const char *end = strstr(s->p + 2, "*/");
		if (!end)
			return WRONG(s, "the comment that begins here is never closed");
		pass(s, end + 2, true);
	} else {
		pass(s, s->p + strcspn(s->p, "\n"), true);
	}
	return true;
}

/* ${NAME}, outside of a string: to libconfuse all up to the brace is the name. */
static bool pass_variable(struct scan *s)
{
	const char *end = s->p + strcspn(s->p, "}\n");
	if (*end != '}')
		return WRONG(s, "\"${\" is not closed on its line");
	pass(s, end + 1, false);
	return true;
}

static bool is_name(char ch)
{
	return !strchr(" \t\r\n\"'{}()=+,#", ch); /* NUL is found, too */
}

/* include("path"), on one line. */
static bool pass_include(struct scan *s)
{
	static const char blanks[] = " \t";
	char *p = s->p + strlen("include"), *path = NULL, *end = NULL;
	p += strspn(p, blanks);
	if (*p == '(') {
		p += 1 + strspn(p + 1, blanks);
		if (*p == '"' || *p == '\'') {
			path = p + 1;
			end = path + strcspn(path, *p == '"' ? "\"\\\n" : "'\\\n");
			p = *end == *p ? end + 1 + strspn(end + 1, blanks) : end;
		}
	}
	if (s->depth)
		return WRONG(s, "include stands in a section: expected outside of all sections");
	if (*p != ')' || !path || end == path)
		return WRONG(s, "include takes one file: expected include(\"path\")");
	*end = '\0';
	s->include(s->context, path, s->line);
	*end = ' ';
	pass(s, p + 1, true);
	return true;
}

bool scan(char *text, const char *file,
	  void (*include)(void *context, const char *path, unsigned line), void *context,
	  struct errors *e)
{
	struct scan s = {text, 1, 0, file, e, include, context};
	bool good = true;
	while (good && *s.p) {
		bool begins = s.p == text || !is_name(s.p[-1]); /* not in the middle of a word */
		bool opens = s.p[0] == '/' && (s.p[1] == '*' || (s.p[1] == '/' && begins));
		if (*s.p == '"' || *s.p == '\'')
			good = pass_string(&s);
		else if (opens || (*s.p == '#' && begins))
			good = pass_comment(&s);
		else if (begins && s.p[0] == '$' && s.p[1] == '{')
			good = pass_variable(&s);
		else if (*s.p == '#' || *s.p == '*' || *s.p == '+')
			good = WRONG(&s, "unexpected %c: a value that contains it stands in quotes",
				     *s.p);
		else if (begins && strncmp(s.p, "include", 7) == 0 && !is_name(s.p[7]))
			good = pass_include(&s);
		else {
			s.depth += *s.p == '{';
			s.depth -= *s.p == '}' && s.depth > 0;
			pass(&s, s.p + 1, false);
		}
	}
	return good;
}
