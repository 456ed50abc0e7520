#include "config/prescan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct scan {
	char *p;	/* the next character */
	unsigned line;	/* of p */
	unsigned depth; /* open sections and lists */
	char before;	/* the last character that is neither blank nor in a comment */
	char *list;	/* the brace of the open list, or NULL */
	unsigned list_line;
	const char *file;
	struct errors *errors;
	bool variable_unset; /* errors were reported; the scan continues, to find all of them */
	void (*include)(void *context, const char *path, unsigned line);
	void *context;
};

/* Append an error at the current line. The value is false. */
#define WRONG(s, ...) (errors_add((s)->errors, (s)->file, (s)->line, __VA_ARGS__), false)

/* Advance to END and count lines; if BLANK, overwrite the text with blanks. */
static void advance(struct scan *s, const char *end, bool blank)
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

/* TEXT begins behind "${", and contains the brace. libconfuse would replace a variable that is not
 * set by nothing: user = "${RUNAS}" would stay root. */
static void check_variable(struct scan *s, const char *text)
{
	int length = (int)strcspn(text, "}"), name = (int)strcspn(text, ":}");
	if (text[name] == ':' && text[name + 1] == '-') /* it has a default */
		return;
	char *copy = strndup(text, (size_t)length);
	if (copy && getenv(copy)) {
		free(copy);
		return;
	}
	s->variable_unset = true;
	if (copy)
		errors_add(s->errors, s->file, s->line,
			   "environment variable %s is not set: expected ${%s:-default} or a "
			   "value in the environment",
			   copy, copy);
	else
		errors_add_no_memory(s->errors, s->file, s->line);
	free(copy);
}

/* Sets END to the character after the closing quote. */
static bool find_string_end(struct scan *s, char **end)
{
	char quote = *s->p;
	for (char *p = s->p + 1; *p; p++) {
		if (*p == quote) {
			*end = p + 1;
			return true;
		}
		if (quote == '"' && p[0] == '$' && p[1] == '{') {
			if (p[strcspn(p, "}\"\n")] != '}')
				return WRONG(s, "\"${\" is not closed in this string");
			check_variable(s, p + 2);
		}
		if (*p == '\n') /* a missing quote would swallow the text up to the next string */
			return WRONG(s, "this string is not closed on its line");
		if (*p == '\\' && quote == '"' && is_nul_escape(p))
			return WRONG(s, "NUL character in this string");
		if (*p == '\\' && p[1])
			p++;
	}
	return WRONG(s, "this string is not closed");
}

static bool scan_string(struct scan *s)
{
	char *end;
	bool good = find_string_end(s, &end);
	if (good)
		advance(s, end, false);
	return good;
}

static bool scan_comment(struct scan *s)
{
	const char *end = s->p + strcspn(s->p, "\n");
	if (s->p[0] == '/' && s->p[1] == '*') {
		end = strstr(s->p + 2, "*/");
		if (!end)
			return WRONG(s, "this comment is not closed");
		end += 2;
	}
	advance(s, end, true);
	return true;
}

/* "${NAME}" outside of a string: libconfuse takes everything up to the brace as the name. */
static bool scan_variable(struct scan *s)
{
	const char *end = s->p + strcspn(s->p, "}\n");
	if (*end != '}')
		return WRONG(s, "\"${\" is not closed on its line");
	check_variable(s, s->p + 2);
	advance(s, end + 1, false);
	return true;
}

/* A no-break space or a typographic quote looks like its ASCII character; libconfuse would read it
 * as part of a name or a value. */
static bool reject_character(struct scan *s)
{
	char bytes[4 * 3 + 1] = "";
	size_t n = 0;
	do {
		n += (size_t)sprintf(bytes + n, " %02x", (unsigned char)*s->p++);
	} while (((unsigned char)*s->p & 0xc0) == 0x80 && n + 4 <= sizeof(bytes));
	return WRONG(s, "character outside of ASCII (bytes%s): quote a value that contains it",
		     bytes);
}

static bool is_name(char ch)
{
	return !strchr(" \t\r\n\"'{}()=+,#", ch); /* strchr(3) finds NUL, too */
}

/* Does CH begin a value? */
static bool is_value(char ch)
{
	return ch == '"' || ch == '\'' || is_name(ch);
}

/* include("path"), which must be on one line. */
static bool scan_include(struct scan *s)
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
		return WRONG(s, "include in a section: expected outside of all sections");
	if (*p != ')' || !path || end == path)
		return WRONG(s, "include: expected include(\"path\")");
	*end = '\0';
	s->include(s->context, path, s->line);
	*end = ' ';
	advance(s, p + 1, true);
	return true;
}

/* Look at the next character, which is not in a comment; BEGINS: not in the middle of a word. */
static bool scan_list(struct scan *s, bool begins)
{
	char ch = *s->p, before = s->before;
	if (!s->list && ch == '{' && before == '=') {
		s->list = s->p;
		s->list_line = s->line;
	} else if (s->list && ch == '}') {
		if (before == '{') {
			*s->list = *PRESCAN_EMPTY_LIST;
			*s->p = ' ';
		}
		s->list = NULL;
	} else if (s->list && (ch == '=' || ch == '{')) {
		s->line = s->list_line;
		return WRONG(s,
			     "this list is not closed before %c: expected {\"a\", \"b\"}, or a "
			     "section without = before its {",
			     ch);
	} else if (s->list && ch == ',' && (before == '{' || before == ',')) {
		return WRONG(s, "missing element in the list before ,");
	} else if (s->list && begins && is_value(ch) && before != '{' && before != ',') {
		return WRONG(s, "missing , between two elements of the list");
	}
	return true;
}

bool prescan(char *text, const char *file,
	     void (*include)(void *context, const char *path, unsigned line), void *context,
	     struct errors *e)
{
	struct scan s = {.p = text,
			 .line = 1,
			 .file = file,
			 .errors = e,
			 .include = include,
			 .context = context};
	bool good = true;
	while (good && *s.p) {
		bool begins = s.p == text || !is_name(s.p[-1]); /* not in the middle of a word */
		bool opens = s.p[0] == '/' && (s.p[1] == '*' || (s.p[1] == '/' && begins));
		bool comment = opens || (*s.p == '#' && begins);
		char ch = *s.p;
		if (!comment && !strchr(" \t\r\n", ch)) {
			good = scan_list(&s, begins);
			s.before = ch;
		}
		if (!good)
			break;
		if (*s.p == '"' || *s.p == '\'')
			good = scan_string(&s);
		else if (comment)
			good = scan_comment(&s);
		else if (begins && s.p[0] == '$' && s.p[1] == '{')
			good = scan_variable(&s);
		else if (*s.p == '#' || *s.p == '*' || *s.p == '+')
			good = WRONG(&s, "unexpected %c: quote a value that contains it", *s.p);
		else if ((unsigned char)*s.p >= 0x80)
			good = reject_character(&s);
		else if (begins && strncmp(s.p, "include", 7) == 0 && !is_name(s.p[7]))
			good = scan_include(&s);
		else {
			s.depth += ch == '{';
			s.depth -= ch == '}' && s.depth > 0;
			advance(&s, s.p + 1, false);
		}
	}
	if (good && s.list) {
		s.line = s.list_line;
		good = WRONG(&s, "this list is not closed");
	}
	return good && !s.variable_unset;
}
