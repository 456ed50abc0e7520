#include "base/errors.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file and its name may contain control characters: escape them. Frees TEXT. */
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
	char *located = NULL;
	int n = !text || !file ? -1
		: line	       ? asprintf(&located, "%s:%u: %s", file, line, text)
			       : asprintf(&located, "%s: %s", file, text);
	if (n >= 0) { /* without memory for the location, keep the text alone */
		free(text);
		text = located;
	}
	e->text[i] = text ? escape(text) : NULL;
	e->transient = e->transient || !e->text[i];
}

void errors_add_no_memory(struct errors *e, const char *file, unsigned line)
{
	errors_add(e, file, line, "out of memory");
	e->transient = true;
}

bool errors_is_transient(int error)
{
	static const int transient[] = {ENOMEM, EMFILE, ENFILE, EIO, ESTALE, EAGAIN, EINTR};
	for (size_t i = 0; i < sizeof(transient) / sizeof(*transient); i++)
		if (error == transient[i])
			return true;
	return false;
}

const char *errors_text(const struct errors *e, size_t i)
{
	return i < errors_stored(e) && e->text[i] ? e->text[i] : "out of memory";
}

size_t errors_stored(const struct errors *e)
{
	return e->n < ERRORS_MAX ? e->n : ERRORS_MAX;
}

void errors_clear(struct errors *e)
{
	for (size_t i = 0; i < errors_stored(e); i++)
		free(e->text[i]);
	*e = (struct errors){0};
}
