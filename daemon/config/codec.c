#include "config/codec.h"

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

static void write_config(const struct config *c, FILE *out)
{
	write_string(c->file ? c->file : "", out);
	write_number(errors_stored(&c->warnings), out);
	for (size_t i = 0; i < errors_stored(&c->warnings); i++)
		write_string(errors_text(&c->warnings, i), out);
	write_location(&c->log.location, out);
	write_location(&c->admin.location, out);
	write_location(&c->service_location, out);
	write_number(c->n_listen, out);
	for (size_t j = 0; j < c->n_listen; j++) {
		write_string(c->listen[j].title, out);
		write_location(&c->listen[j].location, out);
	}
	struct section s;
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		for (size_t j = 0; j < schema_n_structs(&s, c); j++)
			for (const struct service_option *o = s.options; o->name; o++) {
				schema_print(o, schema_struct(&s, c, j), out);
				fputc('\0', out);
			}
}

void config_encode(const struct config *c, const struct errors *e, FILE *out)
{
	write_number(e->n, out);
	write_number(e->transient, out);
	for (size_t i = 0; i < errors_stored(e); i++)
		write_string(errors_text(e, i), out);
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

/* Read N texts. */
static bool read_errors(struct reader *r, unsigned long long n, struct errors *e)
{
	const char *text = "";
	for (; n > 0 && (text = read_string(r)); n--)
		errors_add(e, NULL, 0, "%s", text);
	return text;
}

/* C holds the defaults. Returns false if the bytes are wrong or memory is short. */
static bool read_config(struct reader *r, struct config *c)
{
	char expected[256];
	const char *text;
	unsigned long long n;
	if (!read_optional(r, &c->file) || !read_number(r, ERRORS_MAX, &n) ||
	    !read_errors(r, n, &c->warnings) || !read_location(r, &c->log.location) ||
	    !read_location(r, &c->admin.location) || !read_location(r, &c->service_location) ||
	    !read_number(r, CONFIG_LISTEN_MAX, &n))
		return false;
	while (c->n_listen < n) {
		text = read_string(r);
		struct listen_config *l = text ? schema_add_listen(c, text) : NULL;
		if (!l || !read_location(r, &l->location))
			return false;
	}
	struct section s;
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		for (size_t j = 0; j < schema_n_structs(&s, c); j++)
			for (const struct service_option *o = s.options; o->name; o++)
				if (!(text = read_string(r)) ||
				    schema_set(o, schema_struct(&s, c, j), text, expected,
					       sizeof(expected)))
					return false;
	return true;
}

bool config_decode(const char *bytes, size_t n, const struct service_schema *service,
		   struct config **c, struct errors *e)
{
	struct reader r = {bytes, bytes + n};
	unsigned long long n_errors = 0, transient = 0;
	bool good = read_number(&r, UINT_MAX, &n_errors) && read_number(&r, 1, &transient);
	e->transient = e->transient || transient;
	good = good && read_errors(&r, n_errors < ERRORS_MAX ? n_errors : ERRORS_MAX, e);
	if (good && n_errors > ERRORS_MAX)
		e->n += (size_t)n_errors - ERRORS_MAX;
	*c = good && !n_errors ? config_new(service) : NULL;
	good = good && (n_errors || (*c && read_config(&r, *c)));
	const char *last = good ? read_string(&r) : NULL;
	if (last && strcmp(last, end_mark) == 0 && r.next == r.end)
		return true;
	config_unref(*c);
	*c = NULL;
	return false;
}
