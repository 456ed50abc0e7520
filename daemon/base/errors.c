#include "base/errors.h"

#include "base/log.h"
#include "base/text.h"

#include <ctype.h>
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
	/* The second line: a network file system, or a service that has users and groups. */
	static const int transient[] = {ENOMEM, EMFILE,	   ENFILE,   EIO,	EAGAIN,	     EINTR,
					ESTALE, ETIMEDOUT, ENOTCONN, EHOSTDOWN, ECONNREFUSED};
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

enum { PART_MAX = 512 };

/* Copy the N bytes at FROM to OUT, cut if they do not fit. */
static const char *copy_part(char out[static PART_MAX], const char *from, size_t n)
{
	snprintf(out, PART_MAX, "%.*s", (int)n, from);
	return out;
}

/* TEXT may begin with "FILE:LINE: ", see errors_add(). Returns the length of this without its end,
 * 0 if there is none; FILE has N bytes. */
static size_t find_location(const char *text, size_t *n)
{
	const char *end = strstr(text, ": "), *digits = end;
	while (digits && digits > text && isdigit((unsigned char)digits[-1]))
		digits--;
	if (!end || digits == end || digits - text < 2 || digits[-1] != ':' ||
	    memchr(text, ' ', (size_t)(digits - text)))
		return 0;
	*n = (size_t)(digits - text) - 1;
	return (size_t)(end - text);
}

/* TEXT may begin with `OPTION = "VALUE": `. */
static struct log_field *add_option(struct log_field *f, const char *text,
				    char option[static PART_MAX], char value[static PART_MAX])
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_.");
	const char *begin = text + n + strlen(" = \"");
	const char *end = n && strncmp(text + n, " = \"", 4) == 0 ? strstr(begin, "\": ") : NULL;
	if (!end)
		return f;
	*f++ = (struct log_field)LOG_TEXT("option", copy_part(option, text, n));
	*f++ = (struct log_field)LOG_TEXT("value", copy_part(value, begin, (size_t)(end - begin)));
	return f;
}

void errors_log(const struct errors *e, int level, const char *event)
{
	for (size_t i = 0; i < errors_stored(e); i++) {
		char location[PART_MAX], file[PART_MAX], option[PART_MAX], value[PART_MAX];
		struct log_about about = {.event = event};
		struct log_field *f = about.field;
		const char *text = errors_text(e, i);
		size_t n, length = find_location(text, &n);
		if (length && length < PART_MAX) {
			about.prefix = copy_part(location, text, length);
			*f++ = (struct log_field)LOG_TEXT("file", copy_part(file, text, n));
			*f++ = (struct log_field)LOG_NUMBER("line", atoll(text + n + 1));
			text += length + strlen(": ");
		}
		add_option(f, text, option, value);
		log_about(level, &about, "%s", text);
	}
}

void errors_move(struct errors *to, struct errors *from)
{
	for (size_t i = 0; i < from->n; i++, to->n++) {
		char *text = i < ERRORS_MAX ? from->text[i] : NULL;
		if (to->n < ERRORS_MAX)
			to->text[to->n] = text;
		else
			free(text);
	}
	to->transient = to->transient || from->transient;
	*from = (struct errors){0};
}

void errors_clear(struct errors *e)
{
	for (size_t i = 0; i < errors_stored(e); i++)
		free(e->text[i]);
	*e = (struct errors){0};
}
