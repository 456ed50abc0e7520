#include "base/errors.h"

#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* FILE and TEXT may contain control characters: escape them. LINE may be 0. */
static struct error new_error(const char *file, unsigned line, const char *text)
{
	const size_t digits_max = 16, size = 4 * (strlen(file) + strlen(text)) + digits_max;
	struct error error = {.text = malloc(size)};
	char *end = error.text;
	if (!end)
		return error;
	if (*file) {
		error.file_length = text_escape(error.text, size, file, strlen(file));
		error.line = line;
		end += error.file_length;
		end += sprintf(end, line ? ":%u: " : ": ", line);
	}
	text_escape(end, size - (size_t)(end - error.text), text, strlen(text));
	error.message = end;
	return error;
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
	e->error[i] = text ? new_error(file ? file : "", line, text) : (struct error){0};
	e->transient = e->transient || !e->error[i].text;
	free(text);
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

const struct error *errors_get(const struct errors *e, size_t i)
{
	static char text[] = "out of memory";
	static const struct error no_memory = {.text = text, .message = text};
	return i < errors_stored(e) && e->error[i].text ? &e->error[i] : &no_memory;
}

const char *errors_text(const struct errors *e, size_t i)
{
	return errors_get(e, i)->text;
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

/* MESSAGE may begin with `OPTION = "VALUE"`; in VALUE, a backslash precedes each quote. */
static void add_option(struct log_field *f, const char *message, char option[static PART_MAX],
		       char value[static PART_MAX])
{
	size_t n = strspn(message, "abcdefghijklmnopqrstuvwxyz0123456789_.");
	const char *begin = message + n + strlen(" = \""), *end = begin;
	if (!n || strncmp(message + n, " = \"", 4) != 0)
		return;
	while (*end && *end != '"')
		end += *end == '\\' && end[1] ? 2 : 1;
	f[0] = (struct log_field)LOG_TEXT("option", copy_part(option, message, n));
	f[1] = (struct log_field)LOG_TEXT("value", copy_part(value, begin, (size_t)(end - begin)));
}

void errors_log(const struct errors *e, int level, const char *event)
{
	for (size_t i = 0; i < errors_stored(e); i++) {
		char location[PART_MAX], file[PART_MAX], option[PART_MAX], value[PART_MAX];
		const struct error *error = errors_get(e, i);
		const char *text = error->text;
		size_t n = (size_t)(error->message - text);
		struct log_about about = {.event = event};
		struct log_field *f = about.field;
		if (n && n < PART_MAX) { /* else the text has the location */
			about.prefix = copy_part(location, text, n - strlen(": "));
			*f++ = (struct log_field)LOG_TEXT(
				"file", copy_part(file, text, error->file_length));
			if (error->line)
				*f++ = (struct log_field)LOG_NUMBER("line", error->line);
			text = error->message;
		}
		add_option(f, error->message, option, value);
		log_about(level, &about, "%s", text);
	}
}

void errors_move(struct errors *to, struct errors *from)
{
	for (size_t i = 0; i < from->n; i++, to->n++) {
		struct error error = i < ERRORS_MAX ? from->error[i] : (struct error){0};
		if (to->n < ERRORS_MAX)
			to->error[to->n] = error;
		else
			free(error.text);
	}
	to->transient = to->transient || from->transient;
	*from = (struct errors){0};
}

void errors_clear(struct errors *e)
{
	for (size_t i = 0; i < errors_stored(e); i++)
		free(e->error[i].text);
	*e = (struct errors){0};
}
