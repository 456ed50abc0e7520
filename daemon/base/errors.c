#include "base/errors.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In one line, whatever a file or its name contains. Takes TEXT over. */
static char *escape(char *text)
{
	size_t length = strlen(text), size = 4 * length + 1;
	char *line = malloc(size);
	if (line)
		text_escape(line, size, text, length);
	free(text);
	return line;
}

void errors_add(struct errors *e, const char *file, unsigned line, const char *format, ...)
{
	size_t i = e->n++;
	if (i >= ERRORS_MAX)
		return;
	va_list ap;
	va_start(ap, format);
	char *text = NULL;
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	char *placed = NULL;
	int n = !text || !file ? -1
		: line	       ? asprintf(&placed, "%s:%u: %s", file, line, text)
			       : asprintf(&placed, "%s: %s", file, text);
	if (n >= 0) { /* else the text without its place is better than nothing */
		free(text);
		text = placed;
	}
	e->text[i] = text ? escape(text) : NULL;
	e->passing = e->passing || !e->text[i];
}

void errors_add_memory(struct errors *e, const char *file, unsigned line)
{
	errors_add(e, file, line, "out of memory");
	e->passing = true;
}

bool errors_is_passing(int error)
{
	static const int passing[] = {ENOMEM, EMFILE, ENFILE, EIO, ESTALE, EAGAIN, EINTR};
	for (size_t i = 0; i < sizeof(passing) / sizeof(*passing); i++)
		if (error == passing[i])
			return true;
	return false;
}

const char *errors_text(const struct errors *e, size_t i)
{
	return i < errors_shown(e) && e->text[i] ? e->text[i] : "out of memory";
}

size_t errors_shown(const struct errors *e)
{
	return e->n < ERRORS_MAX ? e->n : ERRORS_MAX;
}

void errors_clear(struct errors *e)
{
	for (size_t i = 0; i < errors_shown(e); i++)
		free(e->text[i]);
	*e = (struct errors){0};
}
