#include "base/errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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
	e->text[i] = text;
	if (!text || !file)
		return;
	char *placed = NULL;
	int n = line ? asprintf(&placed, "%s:%u: %s", file, line, text)
		     : asprintf(&placed, "%s: %s", file, text);
	if (n < 0)
		return; /* the text without its place is better than nothing */
	free(text);
	e->text[i] = placed;
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
