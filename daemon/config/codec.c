#include "config/codec.h"

#include "config/option.h"
#include "config/schema.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char end_mark[] = "end";

static void write_string(const char *text, FILE *out)
{
	fputs(text, out);
	fputc('\0', out);
}

static void write_number(unsigned long long n, FILE *out)
{
	fprintf(out, "%llu%c", n, '\0');
}

static void write_location(const struct location *l, FILE *out)
{
	write_string(l->file ? l->file : "", out);
	write_number(l->line, out);
}

/* The titles of the sections of S, and where a file has them. */
static void write_titles(const struct config *c, const struct section *s, FILE *out)
{
	size_t n = schema_n_structs(s, c);
	write_number(n, out);
	for (size_t i = 0; i < n; i++) {
		write_string(schema_title(s, c, i), out);
		if (schema_location(s, c, i))
			write_location(schema_location(s, c, i), out);
	}
}

static void write_value(const struct service_option *o, const void *base, FILE *out)
{
	if (o->type != OPTION_LIST) {
		option_print(o, base, out);
		fputc('\0', out);
		return;
	}
	char **list = option_list(o, base);
	size_t n = 0;
	while (list[n])
		n++;
	write_number(n, out);
	for (size_t i = 0; i < n; i++)
		write_string(list[i], out);
}

static void write_errors(const struct errors *e, FILE *out)
{
	write_number(e->n, out);
	for (size_t i = 0; i < errors_stored(e); i++) {
		const struct error *error = errors_get(e, i);
		fprintf(out, "%.*s", (int)error->file_length, error->text);
		write_string("", out);
		write_number(error->line, out);
		write_string(error->message, out);
	}
}

static void write_config(const struct config *c, FILE *out)
{
	write_string(c->file ? c->file : "", out);
	write_errors(&c->warnings, out);
	write_location(&c->log.location, out);
	write_location(&c->admin.location, out);
	write_location(&c->service_location, out);
	struct section s;
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		if (s.max)
			write_titles(c, &s, out);
	for (size_t i = 0; i < c->n_listen; i++)
		write_number(c->listen[i].gid, out);
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		for (size_t j = 0; j < schema_n_structs(&s, c); j++)
			for (const struct service_option *o = options_next(s.options); o;
			     o = options_next(o + 1))
				write_value(o, schema_struct(&s, c, j), out);
}

void config_encode(const struct config *c, const struct errors *e, FILE *out)
{
	write_number(e->transient, out);
	write_errors(e, out);
	if (c)
		write_config(c, out);
	write_string(end_mark, out);
}

struct reader {
	const char *next, *end; /* next is NULL after the first failure */
};

static const char *read_string(struct reader *r)
{
	const char *text = r->next;
	size_t n = text ? strnlen(text, (size_t)(r->end - text)) : 0;
	if (!text || text + n == r->end)
		return r->next = NULL;
	r->next += n + 1;
	return text;
}

static bool read_number(struct reader *r, unsigned long long max, unsigned long long *n)
{
	char *end = NULL;
	const char *text = read_string(r);
	errno = 0;
	bool is_number = text && *text >= '0' && *text <= '9'; /* strtoull(3) accepts " -1" */
	*n = is_number ? strtoull(text, &end, 10) : 0;
	if (is_number && !*end && !errno && *n <= max)
		return true;
	r->next = NULL;
	return false;
}

/* "" becomes NULL. */
static bool read_optional(struct reader *r, char **out)
{
	const char *text = read_string(r);
	*out = text && *text ? strdup(text) : NULL;
	return text && (*out || !*text);
}

static bool read_location(struct reader *r, struct location *l)
{
	unsigned long long line;
	if (!read_optional(r, &l->file) || !read_number(r, UINT_MAX, &line))
		return false;
	l->line = (unsigned)line;
	return true;
}

/* Of all errors, at most ERRORS_MAX have a text. */
static bool read_errors(struct reader *r, struct errors *e)
{
	unsigned long long n, line;
	bool good = read_number(r, UINT_MAX, &n);
	for (size_t i = 0; good && i < n && i < ERRORS_MAX; i++) {
		const char *file = read_string(r);
		const char *message = read_number(r, UINT_MAX, &line) ? read_string(r) : NULL;
		good = message;
		if (good)
			errors_add(e, file, (unsigned)line, "%s", message);
	}
	if (good && n > ERRORS_MAX)
		e->n += (size_t)n - ERRORS_MAX;
	return good;
}

static bool read_titles(struct reader *r, struct config *c, const struct section *s)
{
	unsigned long long n;
	if (!read_number(r, s->max, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		const char *title = read_string(r);
		if (!title || !schema_add(s, c, title) ||
		    (schema_location(s, c, i) && !read_location(r, schema_location(s, c, i))))
			return false;
	}
	return true;
}

static bool read_list(struct reader *r, const struct service_option *o, void *base)
{
	unsigned long long n;
	bool good = read_number(r, OPTION_LIST_MAX, &n) && option_set(o, base, "") == 0;
	for (; good && n > 0; n--) {
		const char *text = read_string(r);
		good = text && *text && option_append(o, base, text);
	}
	return good;
}

static bool read_value(struct reader *r, const struct service_option *o, void *base)
{
	if (o->type == OPTION_LIST)
		return read_list(r, o, base);
	const char *text = read_string(r);
	return text && option_set(o, base, text) == 0;
}

/* C holds the defaults. Returns false if the bytes are wrong or memory is short. */
static bool read_config(struct reader *r, struct config *c)
{
	unsigned long long n;
	struct section s;
	if (!read_optional(r, &c->file) || !read_errors(r, &c->warnings) ||
	    !read_location(r, &c->log.location) || !read_location(r, &c->admin.location) ||
	    !read_location(r, &c->service_location))
		return false;
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		if (s.max && !read_titles(r, c, &s))
			return false;
	for (size_t i = 0; i < c->n_listen; i++) {
		if (!read_number(r, UINT_MAX, &n))
			return false;
		c->listen[i].gid = (unsigned)n;
	}
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		for (size_t j = 0; j < schema_n_structs(&s, c); j++)
			for (const struct service_option *o = options_next(s.options); o;
			     o = options_next(o + 1))
				if (!read_value(r, o, schema_struct(&s, c, j)))
					return false;
	return true;
}

bool config_decode(const char *bytes, size_t n, const struct service_schema *service,
		   struct config **c, struct errors *e)
{
	struct reader r = {bytes, bytes + n};
	unsigned long long transient = 0;
	size_t before = e->n;
	bool good = read_number(&r, 1, &transient) && read_errors(&r, e);
	bool has_errors = e->n > before;
	e->transient = e->transient || transient;
	*c = good && !has_errors ? config_new(service) : NULL;
	good = good && (has_errors || (*c && read_config(&r, *c)));
	const char *last = good ? read_string(&r) : NULL;
	if (last && strcmp(last, end_mark) == 0 && r.next == r.end)
		return true;
	config_unref(*c);
	*c = NULL;
	return false;
}
