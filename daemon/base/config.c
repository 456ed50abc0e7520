#include "base/config.h"

#include "base/address.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/schema.h"
#include "base/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct config *config_new(const struct config_service *service)
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
		if (!s.titled)
			good = schema_init(s.options, schema_base(&s, c, 0));
	if (good)
		return c;
	config_unref(c);
	return NULL;
}

static void free_listen(struct listen_config *l)
{
	free(l->title);
	free(l->place.file);
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
		for (size_t j = 0; j < (s.titled ? c->n_listen : 1); j++)
			schema_clear(s.options, schema_base(&s, c, j));
	for (size_t j = 0; j < c->n_listen; j++)
		free_listen(&c->listen[j]);
	free(c->log.place.file);
	free(c->admin.place.file);
	free(c->service);
	free(c);
}

/* Is it one that only one socket can have? Port 0 is another one each time. */
static bool is_same(const char *one, const char *other)
{
	struct address a, b;
	return one && other && *one && *other && address_parse(one, &a) &&
	       address_parse(other, &b) && address_overlaps(&a, &b) &&
	       (address_port(&a) || a.sa.ss_family == AF_UNIX);
}

/* What no row can say alone. */
static void validate(const struct config *c, const char *file, struct errors *e)
{
	if (c->log.target == LOG_TO_FILE && !*c->log.file)
		errors_add(e, c->log.place.file ? c->log.place.file : file, c->log.place.line,
			   "log.target = \"file\" needs log.file = \"/a/path\"");
	if (!SKELD_ADMIN && *c->admin.address)
		errors_add(e, c->admin.place.file ? c->admin.place.file : file, c->admin.place.line,
			   "admin.address has to be \"\": there is no admin server in this build");
	for (size_t i = 0; i < c->n_listen; i++) {
		const struct listen_config *l = &c->listen[i];
		for (size_t j = 0; j < i; j++)
			if (is_same(l->address, c->listen[j].address))
				errors_add(e, l->place.file, l->place.line,
					   "listen \"%s\" has the address of listen \"%s\", %s",
					   l->title, c->listen[j].title, c->listen[j].address);
		const struct place *where = l->place.file ? &l->place : &c->admin.place;
		if (is_same(l->address, c->admin.address))
			errors_add(e, where->file ? where->file : file, where->line,
				   "listen \"%s\" has the address of admin, %s", l->title,
				   c->admin.address);
	}
}

/* Without any listen section there is one, with the defaults. */
static bool default_listen(struct config *c)
{
	struct section s;
	for (size_t i = 0; c->n_listen == 0 && schema_section(c->schema, i, &s); i++)
		if (s.titled) {
			c->listen[0].title = strdup("main");
			c->n_listen = 1;
			return c->listen[0].title && schema_init(s.options, &c->listen[0]);
		}
	return true;
}

struct config *config_parse(const char *file, const struct config_service *service,
			    struct errors *e)
{
	size_t before = e->n;
	struct config *c = config_new(service);
	if (!c) {
		errors_add_memory(e, file, 0);
		return NULL;
	}
	size_t rows = 0;
	while (service->options && service->options[rows].name)
		rows++;
	if (rows > CONFIG_OPTIONS_MAX)
		errors_add(e, file, 0, "the service has %zu options, at most %d are possible", rows,
			   CONFIG_OPTIONS_MAX);
	else if (file)
		parse_file(file, c, e);
	if (e->n == before && !default_listen(c))
		errors_add_memory(e, file, 0);
	if (e->n == before)
		validate(c, file, e);
	if (e->n == before)
		return c;
	config_unref(c);
	return NULL;
}

static void print_section(const struct config *c, const struct section *s, size_t index, FILE *out)
{
	const char *indent = *s->name ? "\t" : "";
	if (s->help)
		fprintf(out, "\n# %s.\n", s->help);
	if (s->titled) {
		static const struct option title = {
			"title", OPTION_TEXT, offsetof(struct listen_config, title),
			"",	 0,	      0,
			NULL,	 NULL,	      false,
			NULL};
		fprintf(out, "%s ", s->name);
		schema_show(&title, &c->listen[index], out);
		fprintf(out, " {\n");
	} else if (*s->name) {
		fprintf(out, "%s {\n", s->name);
	}
	for (const struct option *o = s->options; o->name; o++) {
		char accepts[256];
		schema_accepts(o, accepts, sizeof(accepts));
		*accepts = (char)toupper((unsigned char)*accepts);
		fprintf(out, "%s# %s.\n%s# %s; default ", indent, o->help, indent, accepts);
		schema_show_initial(o, out);
		fprintf(out, "; %s.\n%s%s = ", o->restart ? "needs a restart" : "live", indent,
			o->name);
		schema_show(o, schema_base(s, (struct config *)(uintptr_t)c, index), out);
		fputc('\n', out);
	}
	if (*s->name)
		fprintf(out, "}\n");
}

void config_print(const struct config *c, FILE *out)
{
	struct section s;
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		for (size_t j = 0; j < (s.titled ? c->n_listen : 1); j++)
			print_section(c, &s, j, out);
}

struct comparison {
	void (*tell)(void *context, const char *line);
	void *context;
	bool good; /* there was memory for all of it */
};

/* One line for one option; NEW or OLD is NULL where the section was added or removed. */
static void compare_option(const struct option *o, const char *prefix, const void *old, void *new,
			   struct comparison *to)
{
	if (schema_equal(o, old, new))
		return;
	char *line = NULL;
	size_t size;
	FILE *out = open_memstream(&line, &size);
	if (!out) {
		to->good = false;
		return;
	}
	fprintf(out, "%s%s: ", prefix, o->name);
	schema_show(o, old, out);
	fprintf(out, " -> ");
	schema_show(o, new, out);
	if (o->restart) {
		fprintf(out, " needs a restart, keeping ");
		to->good = schema_copy(o, new, old) && to->good;
		schema_show(o, new, out);
	}
	if (text_end_stream(out, &line))
		to->tell(to->context, line);
	else
		to->good = false;
	free(line);
}

static struct listen_config *find_listen(struct config *c, const char *title)
{
	for (size_t i = 0; i < c->n_listen; i++)
		if (strcmp(c->listen[i].title, title) == 0)
			return &c->listen[i];
	return NULL;
}

static void tell_listen(const char *what, const struct listen_config *l,
			const struct comparison *to)
{
	char line[512];
	snprintf(line, sizeof(line), "listen \"%s\" %s: %s", l->title, what, l->address);
	to->tell(to->context, line);
}

static void compare_listen(const struct section *s, struct config *old, struct config *new,
			   struct comparison *to)
{
	for (size_t i = 0; i < old->n_listen; i++) {
		struct listen_config *l = find_listen(new, old->listen[i].title);
		char prefix[256];
		snprintf(prefix, sizeof(prefix), "listen \"%s\".", old->listen[i].title);
		for (const struct option *o = s->options; l && o->name; o++)
			compare_option(o, prefix, &old->listen[i], l, to);
		if (!l)
			tell_listen("removed", &old->listen[i], to);
	}
	for (size_t i = 0; i < new->n_listen; i++)
		if (!find_listen(old, new->listen[i].title))
			tell_listen("added", &new->listen[i], to);
}

bool config_compare(const struct config *old, struct config *new,
		    void (*tell)(void *context, const char *line), void *context)
{
	struct comparison to = {tell, context, true};
	struct config *before = (struct config *)(uintptr_t)old; /* read only, but for find_ */
	struct section s;
	for (size_t i = 0; schema_section(new->schema, i, &s); i++) {
		char prefix[128];
		snprintf(prefix, sizeof(prefix), "%s%s", s.name, *s.name ? "." : "");
		if (s.titled)
			compare_listen(&s, before, new, &to);
		else
			for (const struct option *o = s.options; o->name; o++)
				compare_option(o, prefix, schema_base(&s, before, 0),
					       schema_base(&s, new, 0), &to);
	}
	return to.good;
}

int config_log_level(const struct config *c)
{
	return LOG_DEBUG - (int)c->log.level; /* the words stand in the order of the levels */
}
