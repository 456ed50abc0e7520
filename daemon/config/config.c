#include "config/config.h"

#include "base/log.h"
#include "base/text.h"
#include "config/check.h"
#include "config/option.h"
#include "config/parse.h"
#include "config/schema.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct config *config_new(const struct service_schema *service)
{
	struct config *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->refs = 1;
	c->schema = service;
	c->service = calloc(1, service->size + 1);
	bool good = c->service != NULL;
	struct section s;
	for (size_t i = 0; good && schema_section(service, i, &s); i++)
		if (!s.max)
			good = options_init(s.options, schema_struct(&s, c, 0));
	if (good)
		return c;
	config_unref(c);
	return NULL;
}

struct config *config_ref(struct config *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void config_unref(struct config *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	struct section s;
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		schema_clear(&s, c, 0);
	errors_clear(&c->warnings);
	free(c->file);
	free(c->service);
	free(c);
}

bool config_reset_listen(struct config *c, size_t n)
{
	struct section s;
	bool good = schema_find_section(c->schema, "listen", &s);
	schema_clear(&s, c, n);
	for (size_t i = 0; good && i < n; i++)
		good = options_init(s.options, &c->listen[i]);
	return good;
}

/* A configuration without a listen section has one with the defaults. */
static bool add_listen(struct config *c)
{
	struct section s;
	return schema_find_section(c->schema, "listen", &s) && schema_add(&s, c, "main");
}

struct config *config_parse(const char *file, const struct service_schema *service,
			    struct errors *e)
{
	size_t before = e->n;
	if (!config_check_tables(service, file, e))
		return NULL;
	struct config *c = config_new(service);
	if (!c) {
		errors_add_no_memory(e, file, 0);
		return NULL;
	}
	if (file)
		parse_file(file, c, e);
	if (e->n == before && c->n_listen == 0 && !service->no_connections && !add_listen(c))
		errors_add_no_memory(e, file, 0);
	if (e->n == before)
		config_check(c, file, e);
	if (e->n == before) {
		c->file = file ? realpath(file, NULL) : NULL;
		return c;
	}
	config_unref(c);
	return NULL;
}

/* A secret becomes a comment, so that the output is a valid file. */
static void print_value(const struct service_option *o, const void *base, FILE *out)
{
	if (option_is_hidden(o, base)) {
		fprintf(out, "# %s = (secret)\n", o->name);
		return;
	}
	fprintf(out, "%s = ", o->name);
	option_print_quoted(o, base, out);
	fputc('\n', out);
}

static void print_options(const struct service_option *options, const void *base,
			  const char *indent, FILE *out)
{
	for (const struct service_option *o = options_next(options); o; o = options_next(o + 1)) {
		char accepts[256];
		option_describe(o, accepts, sizeof(accepts));
		*accepts = (char)toupper((unsigned char)*accepts);
		fprintf(out, "%s# %s.\n%s# %s; default ", indent, o->help, indent, accepts);
		option_print_default(o, out);
		fprintf(out, "; %s.\n%s", o->needs_restart ? "needs a restart" : "live", indent);
		print_value(o, base, out);
	}
}

static void print_nested(const struct config *c, const struct section *outer, FILE *out);

/* Print the structure number INDEX of S, each line after INDENT. */
static void print_section(const struct config *c, const struct section *s, size_t index,
			  const char *indent, FILE *out)
{
	char inner[8];
	snprintf(inner, sizeof(inner), "%s%s", indent, *s->name ? "\t" : "");
	if (s->help)
		fprintf(out, "\n%s# %s.\n", indent, s->help);
	if (*s->name)
		fprintf(out, "%s%s ", indent, s->name);
	if (s->max) {
		option_print_text(schema_title(s, c, index), out);
		fputc(' ', out);
	}
	fputs(*s->name ? "{\n" : "", out);
	print_options(s->options, schema_struct(s, c, index), inner, out);
	print_nested(c, s, out);
	if (*s->name)
		fprintf(out, "%s}\n", indent);
}

/*
 * Print as a comment, with # before each line, a section of a kind that may occur any number of
 * times and does not occur: one with the defaults.
 */
static void print_example(const struct section *s, const char *indent, FILE *out)
{
	char inner[8];
	void *defaults = calloc(1, s->size);
	if (!defaults || !options_init(s->options, defaults)) {
		fputs("# (out of memory)\n", out);
	} else {
		snprintf(inner, sizeof(inner), "#%s\t", indent);
		fprintf(out, "\n#%s# %s.\n#%s%s \"title\" {\n", indent, s->help, indent, s->name);
		print_options(s->options, defaults, inner, out);
		fprintf(out, "#%s}\n", indent);
	}
	options_clear(s->options, defaults);
	free(defaults);
}

static void print_sections(const struct config *c, const struct section *s, const char *indent,
			   FILE *out)
{
	size_t n = schema_n_structs(s, c);
	for (size_t i = 0; i < n; i++)
		print_section(c, s, i, indent, out);
	if (n == 0)
		print_example(s, indent, out);
}

static void print_nested(const struct config *c, const struct section *outer, FILE *out)
{
	struct section s;
	for (size_t i = outer->index + 1; *outer->name && schema_section(c->schema, i, &s); i++)
		if (strcmp(s.parent, outer->name) == 0)
			print_sections(c, &s, "\t", out);
}

void config_print(const struct config *c, FILE *out)
{
	struct section s;
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		if (!*s.parent)
			print_sections(c, &s, "", out);
}

struct comparison {
	void (*report)(void *context, const char *line);
	void *context;
	bool complete; /* memory sufficed so far */
	char *line;    /* that begin_line() has begun */
	size_t size;
};

/* Returns NULL if out of memory. */
static FILE *begin_line(struct comparison *to)
{
	FILE *out = open_memstream(&to->line, &to->size);
	to->complete = to->complete && out;
	return out;
}

static void finish_line(struct comparison *to, FILE *out)
{
	if (text_close_stream(out, &to->line))
		to->report(to->context, to->line);
	else
		to->complete = false;
	free(to->line);
}

/* limits, listen "main", proxy.backend "a" */
static void print_name(const struct section *s, const char *title, FILE *out)
{
	char name[SCHEMA_NAME_MAX];
	fputs(schema_name(s, NULL, name), out);
	if (title) {
		fputc(' ', out);
		option_print_text(title, out);
	}
}

/* Does a reload keep all sections of this kind, which are inside of the service's section? */
static bool keeps_sections(const struct section *s)
{
	return s->nested && s->nested->needs_restart;
}

static void compare_option(const struct service_option *o, const struct section *s,
			   const char *title, const void *old, void *new, struct comparison *to)
{
	FILE *out = option_equal(o, old, new) ? NULL : begin_line(to);
	if (!out)
		return;
	print_name(s, title, out);
	fprintf(out, "%s%s: ", *s->name ? "." : "", o->name);
	if (o->type == OPTION_SECRET) {
		fprintf(out, "(changed)");
	} else {
		option_print_quoted(o, old, out);
		fprintf(out, " -> ");
		option_print_quoted(o, new, out);
	}
	if (o->needs_restart || keeps_sections(s)) {
		to->complete = option_copy(o, new, old) && to->complete;
		fprintf(out, " needs a restart, keeping ");
		if (o->type == OPTION_SECRET)
			fprintf(out, "(secret)");
		else
			option_print_quoted(o, new, out);
	}
	finish_line(to, out);
}

/* Report that the structure number INDEX of S was added or removed. A section of the daemon is
 * reported with its first option: the address or the certificate. */
static void report_section(const char *what, const struct section *s, const struct config *c,
			   size_t index, struct comparison *to)
{
	FILE *out = begin_line(to);
	if (!out)
		return;
	print_name(s, schema_title(s, c, index), out);
	if (s->nested) {
		fprintf(out, ": %s%s", what, keeps_sections(s) ? " needs a restart" : "");
	} else {
		fprintf(out, " %s: ", what);
		option_print(s->options, schema_struct(s, c, index), out);
	}
	finish_line(to, out);
}

static void compare_structs(const struct section *s, const struct config *old, size_t i,
			    struct config *new, size_t j, struct comparison *to)
{
	for (const struct service_option *o = options_next(s->options); o; o = options_next(o + 1))
		compare_option(o, s, schema_title(s, old, i), schema_struct(s, old, i),
			       schema_struct(s, new, j), to);
}

/* The order of the sections is the order in which a service sees them. */
static void compare_order(const struct section *s, const struct config *old,
			  const struct config *new, struct comparison *to)
{
	char name[SCHEMA_NAME_MAX], line[SCHEMA_NAME_MAX + 64];
	size_t n = schema_n_structs(s, old), i = 0;
	while (i < n && schema_index(s, new, schema_title(s, old, i)) == i)
		i++;
	if (i == n || n != schema_n_structs(s, new))
		return;
	snprintf(line, sizeof(line), "%s: the order has changed%s", schema_name(s, NULL, name),
		 keeps_sections(s) ? " needs a restart" : "");
	to->report(to->context, line);
}

static void compare_titled(const struct section *s, const struct config *old, struct config *new,
			   struct comparison *to)
{
	size_t n_old = schema_n_structs(s, old), n_new = schema_n_structs(s, new), changed = 0;
	for (size_t i = 0; i < n_old; i++) {
		size_t j = schema_index(s, new, schema_title(s, old, i));
		if (j < n_new) {
			compare_structs(s, old, i, new, j, to);
			continue;
		}
		report_section("removed", s, old, i, to);
		changed++;
	}
	for (size_t i = 0; i < n_new; i++)
		if (schema_index(s, old, schema_title(s, new, i)) == n_old) {
			report_section("added", s, new, i, to);
			changed++;
		}
	if (s->nested && !changed)
		compare_order(s, old, new, to);
	if (keeps_sections(s))
		to->complete = option_copy(s->nested, new->service, old->service) && to->complete;
}

bool config_compare(const struct config *old, struct config *new,
		    void (*report)(void *context, const char *line), void *context)
{
	struct comparison to = {report, context, .complete = true};
	struct section s;
	for (size_t i = 0; schema_section(new->schema, i, &s); i++)
		if (s.max)
			compare_titled(&s, old, new, &to);
		else
			compare_structs(&s, old, 0, new, 0, &to);
	return to.complete;
}

int config_log_level(const struct config *c)
{
	return LOG_DEBUG - (int)c->log.level; /* the choices begin with "debug" */
}
