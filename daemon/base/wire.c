#include "base/wire.h"

#include "base/schema.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Strings, each ended by a NUL; what is put and what is taken stand in the same order. */

static const char last[] = "that is all";

static void put(const char *text, FILE *out)
{
	fputs(text, out);
	fputc('\0', out);
}

static void put_number(unsigned long long n, FILE *out)
{
	fprintf(out, "%llu%c", n, '\0');
}

static void put_place(const struct place *p, FILE *out)
{
	put(p->file ? p->file : "", out);
	put_number(p->line, out);
}

static void put_config(const struct config *c, FILE *out)
{
	put_number(c->read.bytes, out);
	put_number(c->read.files, out);
	put_number(c->read.ns, out);
	put_place(&c->log.place, out);
	put_place(&c->admin.place, out);
	put_number(c->n_listen, out);
	for (size_t j = 0; j < c->n_listen; j++) {
		put(c->listen[j].title, out);
		put_place(&c->listen[j].place, out);
	}
	struct section s;
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		for (size_t j = 0; j < (s.titled ? c->n_listen : 1); j++)
			for (const struct option *o = s.options; o->name; o++) {
				schema_put(o, schema_base(&s, (struct config *)(uintptr_t)c, j),
					   out);
				fputc('\0', out);
			}
}

static void put_errors(const struct errors *e, FILE *out)
{
	put_number(e->n, out);
	put_number(e->passing, out);
	for (size_t i = 0; i < errors_shown(e); i++)
		put(errors_text(e, i), out);
}

void wire_put(const struct config *c, const struct errors *e, FILE *out)
{
	put_errors(e, out);
	if (c)
		put_config(c, out);
	put(last, out);
}

struct wire {
	const char *next, *end; /* NEXT is NULL once something was missing */
};

static const char *take(struct wire *w)
{
	const char *text = w->next;
	size_t n = text ? strnlen(text, (size_t)(w->end - text)) : 0;
	if (!text || text + n == w->end)
		return w->next = NULL;
	w->next += n + 1;
	return text;
}

static bool take_number(struct wire *w, unsigned long long most, unsigned long long *n)
{
	char *end = NULL;
	const char *text = take(w);
	errno = 0;
	bool is_number = text && *text >= '0' && *text <= '9'; /* strtoull(3) takes " -1", too */
	*n = is_number ? strtoull(text, &end, 10) : 0;
	if (is_number && !*end && !errno && *n <= most)
		return true;
	w->next = NULL;
	return false;
}

static char *take_text(struct wire *w)
{
	const char *taken = take(w);
	return taken ? strdup(taken) : NULL;
}

/* Something was said nowhere where FILE is "". */
static bool take_place(struct wire *w, struct place *p)
{
	unsigned long long line;
	p->file = take_text(w);
	if (!p->file || !take_number(w, UINT_MAX, &line))
		return false;
	p->line = (unsigned)line;
	if (*p->file)
		return true;
	free(p->file);
	p->file = NULL;
	return true;
}

/* C holds the defaults. False: an answer that no child of ours gives, or no memory. */
static bool take_config(struct wire *w, struct config *c)
{
	char why[256];
	const char *value;
	unsigned long long n;
	if (!take_number(w, SIZE_MAX, &c->read.bytes) ||
	    !take_number(w, SIZE_MAX, &c->read.files) || !take_number(w, INT64_MAX, &c->read.ns) ||
	    !take_place(w, &c->log.place) || !take_place(w, &c->admin.place) ||
	    !take_number(w, CONFIG_LISTEN_MAX, &n))
		return false;
	for (c->n_listen = 0; c->n_listen < n;) {
		struct listen_config *l = &c->listen[c->n_listen++];
		l->title = take_text(w);
		if (!l->title || !take_place(w, &l->place))
			return false;
	}
	struct section s;
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		for (size_t j = 0; j < (s.titled ? c->n_listen : 1); j++)
			for (const struct option *o = s.options; o->name; o++)
				if (!(value = take(w)) ||
				    schema_set(o, schema_base(&s, c, j), value, why, sizeof(why)))
					return false;
	return true;
}

bool wire_take(const char *bytes, size_t n, const struct config_service *service, struct config **c,
	       struct errors *e)
{
	struct wire w = {bytes, bytes + n};
	unsigned long long n_errors = 0, passing = 0;
	bool good = take_number(&w, UINT_MAX, &n_errors) && take_number(&w, 1, &passing);
	e->passing = e->passing || passing;
	for (size_t i = 0; good && i < n_errors && i < ERRORS_MAX; i++) {
		const char *text = take(&w);
		if (text)
			errors_add(e, NULL, 0, "%s", text);
		good = text;
	}
	if (good && n_errors > ERRORS_MAX)
		e->n += n_errors - ERRORS_MAX;
	*c = good && !n_errors ? config_new(service) : NULL;
	good = good && (n_errors || (*c && take_config(&w, *c)));
	const char *end = good ? take(&w) : NULL;
	if (end && strcmp(end, last) == 0 && w.next == w.end)
		return true;
	config_unref(*c);
	*c = NULL;
	return false;
}
