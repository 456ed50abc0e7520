#include "config/config.h"

#include "base/address.h"
#include "base/log.h"
#include "base/text.h"
#include "config/parse.h"
#include "config/schema.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
		if (!s.titled)
			good = schema_init(s.options, schema_struct(&s, c, 0));
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
		for (size_t j = 0; j < schema_n_structs(&s, c); j++)
			schema_clear(s.options, schema_struct(&s, c, j));
	for (size_t j = 0; j < c->n_listen; j++) {
		free(c->listen[j].title);
		free(c->listen[j].location.file);
	}
	errors_clear(&c->warnings);
	free(c->file);
	free(c->log.location.file);
	free(c->admin.location.file);
	free(c->service_location.file);
	free(c->service);
	free(c);
}

/* Can only one socket have both addresses? With port 0 the kernel chooses different ports. */
static bool is_same_address(const char *one, const char *other)
{
	struct address a, b;
	return one && other && *one && *other && address_parse(one, &a) &&
	       address_parse(other, &b) && address_overlaps(&a, &b) &&
	       (address_port(&a) || a.sa.ss_family == AF_UNIX);
}

/* The file of L, or the main FILE if no file has the section. */
static const char *file_of(const struct location *l, const char *file)
{
	return l->file ? l->file : file;
}

/* The log is opened later, by another process. A missing directory does not come back by itself. */
static void check_log_directory(const struct config *c, const char *file, struct errors *e)
{
	struct stat st;
	char quoted[SCHEMA_QUOTED_MAX];
	const struct location *where = &c->log.location;
	int length = (int)(strrchr(c->log.file, '/') - c->log.file);
	char *directory = strndup(c->log.file, length ? (size_t)length : 1);
	if (!directory)
		errors_add_no_memory(e, file_of(where, file), where->line);
	else if (stat(directory, &st) == 0 ? !S_ISDIR(st.st_mode)
					   : errno == ENOENT || errno == ENOTDIR)
		errors_add(e, file_of(where, file), where->line,
			   "log.file = %s: expected a file in an existing directory",
			   schema_quote(c->log.file, quoted));
	free(directory);
}

/* Does the service take what arrives at the address? A udp: address has no connections. */
static void check_kind(const struct config *c, const struct listen_config *l, struct errors *e)
{
	const struct location *where = &l->location;
	struct address a;
	if (!address_parse(l->address, &a))
		return;
	if (!a.datagram && c->schema->no_connections)
		errors_add(e, where->file, where->line,
			   "listen.address = \"%s\": expected udp:host:port, the service takes no "
			   "connections",
			   l->address);
	if (!a.datagram)
		return;
	if (!c->schema->datagrams)
		errors_add(e, where->file, where->line,
			   "listen.address = \"%s\": expected an address without udp:, the service "
			   "takes no datagrams",
			   l->address);
	if (l->proxy)
		errors_add(e, where->file, where->line,
			   "listen.proxy = \"true\": expected \"false\" beside a udp: address");
	if (l->backlog != CONFIG_BACKLOG)
		errors_add(e, where->file, where->line,
			   "listen.backlog = \"%lld\": expected the default, %d, beside a udp: "
			   "address",
			   (long long)l->backlog, CONFIG_BACKLOG);
}

/* Check the rules that involve more than one option. */
static void validate(struct config *c, const char *file, struct errors *e)
{
	char quoted[SCHEMA_QUOTED_MAX];
	const struct location *log_section = &c->log.location, *admin_section = &c->admin.location;
	if (c->log.target == LOG_TO_FILE && !*c->log.file)
		errors_add(e, file_of(log_section, file), log_section->line,
			   "log.target = \"file\": expected log.file = \"/path\" beside it");
	else if (c->log.target == LOG_TO_FILE)
		check_log_directory(c, file, e);
	else if (*c->log.file)
		errors_add(&c->warnings, file_of(log_section, file), log_section->line,
			   "log.file = %s has no effect: expected log.target = \"file\" beside it",
			   schema_quote(c->log.file, quoted));
	if (!SKELD_ADMIN && *c->admin.address)
		errors_add(e, file_of(admin_section, file), admin_section->line,
			   "admin.address = %s: expected \"\", this build has no admin server",
			   schema_quote(c->admin.address, quoted));
	for (size_t i = 0; i < c->n_listen; i++) {
		const struct listen_config *l = &c->listen[i];
		if (c->schema->has_no_listeners)
			errors_add(e, l->location.file, l->location.line,
				   "listen \"%s\": expected no listen section, the service %s has "
				   "no connections",
				   l->title, c->schema->name);
		else
			check_kind(c, l, e);
		for (size_t j = 0; j < i; j++)
			if (is_same_address(l->address, c->listen[j].address))
				errors_add(
					e, l->location.file, l->location.line,
					"listen \"%s\" and listen \"%s\" have the same address: %s",
					l->title, c->listen[j].title, c->listen[j].address);
		const struct location *where = l->location.file ? &l->location : admin_section;
		if (is_same_address(l->address, c->admin.address))
			errors_add(e, file_of(where, file), where->line,
				   "listen \"%s\" and admin have the same address: %s", l->title,
				   c->admin.address);
	}
}

struct config *config_parse(const char *file, const struct service_schema *service,
			    struct errors *e)
{
	size_t before = e->n;
	struct config *c = config_new(service);
	if (!c) {
		errors_add_no_memory(e, file, 0);
		return NULL;
	}
	size_t rows = 0;
	while (service->options && service->options[rows].name)
		rows++;
	if (rows > CONFIG_OPTIONS_MAX)
		errors_add(e, file, 0, "the service has %zu options: expected at most %d", rows,
			   CONFIG_OPTIONS_MAX);
	else if (file)
		parse_file(file, c, e);
	/* A configuration without a listen section has one with the defaults. */
	if (e->n == before && c->n_listen == 0 && !service->has_no_listeners &&
	    !service->no_connections && !schema_add_listen(c, "main"))
		errors_add_no_memory(e, file, 0);
	if (e->n == before)
		validate(c, file, e);
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
	if (o->type == OPTION_SECRET && !schema_is_empty(o, base)) {
		fprintf(out, "# %s = (secret)\n", o->name);
		return;
	}
	fprintf(out, "%s = ", o->name);
	schema_print_quoted(o, base, out);
	fputc('\n', out);
}

static void print_section(const struct config *c, const struct section *s, size_t index, FILE *out)
{
	const char *indent = *s->name ? "\t" : "";
	if (s->help)
		fprintf(out, "\n# %s.\n", s->help);
	if (s->titled) {
		fprintf(out, "%s ", s->name);
		schema_print_text(c->listen[index].title, out);
		fprintf(out, " {\n");
	} else if (*s->name) {
		fprintf(out, "%s {\n", s->name);
	}
	for (const struct service_option *o = s->options; o->name; o++) {
		char accepts[256];
		schema_describe(o, accepts, sizeof(accepts));
		*accepts = (char)toupper((unsigned char)*accepts);
		fprintf(out, "%s# %s.\n%s# %s; default ", indent, o->help, indent, accepts);
		schema_print_default(o, out);
		fprintf(out, "; %s.\n%s", o->needs_restart ? "needs a restart" : "live", indent);
		print_value(o, schema_struct(s, c, index), out);
	}
	if (*s->name)
		fprintf(out, "}\n");
}

void config_print(const struct config *c, FILE *out)
{
	struct section s;
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		for (size_t j = 0; j < schema_n_structs(&s, c); j++)
			print_section(c, &s, j, out);
}

struct comparison {
	void (*report)(void *context, const char *line);
	void *context;
	bool complete; /* memory sufficed so far */
};

static void compare_option(const struct service_option *o, const char *prefix, const void *old,
			   void *new, struct comparison *to)
{
	if (schema_equal(o, old, new))
		return;
	char *line = NULL;
	size_t size;
	FILE *out = open_memstream(&line, &size);
	if (!out) {
		to->complete = false;
		return;
	}
	fprintf(out, "%s%s: ", prefix, o->name);
	if (o->type == OPTION_SECRET) {
		fprintf(out, "(changed)");
	} else {
		schema_print_quoted(o, old, out);
		fprintf(out, " -> ");
		schema_print_quoted(o, new, out);
	}
	if (o->needs_restart) {
		to->complete = schema_copy(o, new, old) && to->complete;
		fprintf(out, " needs a restart, keeping ");
		if (o->type == OPTION_SECRET)
			fprintf(out, "(secret)");
		else
			schema_print_quoted(o, new, out);
	}
	if (text_close_stream(out, &line))
		to->report(to->context, line);
	else
		to->complete = false;
	free(line);
}

/* Returns the index of the listen section, or n_listen if there is none with this title. */
static size_t find_listen(const struct config *c, const char *title)
{
	size_t i = 0;
	while (i < c->n_listen && strcmp(c->listen[i].title, title) != 0)
		i++;
	return i;
}

static void report_listen(const char *what, const struct listen_config *l,
			  const struct comparison *to)
{
	char line[512];
	snprintf(line, sizeof(line), "listen \"%s\" %s: %s", l->title, what, l->address);
	to->report(to->context, line);
}

static void compare_listen(const struct section *s, const struct config *old, struct config *new,
			   struct comparison *to)
{
	for (size_t i = 0; i < old->n_listen; i++) {
		const struct listen_config *l = &old->listen[i];
		size_t j = find_listen(new, l->title);
		char prefix[256];
		snprintf(prefix, sizeof(prefix), "listen \"%s\".", l->title);
		if (j == new->n_listen)
			report_listen("removed", l, to);
		else
			for (const struct service_option *o = s->options; o->name; o++)
				compare_option(o, prefix, l, &new->listen[j], to);
	}
	for (size_t i = 0; i < new->n_listen; i++)
		if (find_listen(old, new->listen[i].title) == old->n_listen)
			report_listen("added", &new->listen[i], to);
}

bool config_compare(const struct config *old, struct config *new,
		    void (*report)(void *context, const char *line), void *context)
{
	struct comparison to = {report, context, true};
	struct section s;
	for (size_t i = 0; schema_section(new->schema, i, &s); i++) {
		char prefix[128];
		snprintf(prefix, sizeof(prefix), "%s%s", s.name, *s.name ? "." : "");
		if (s.titled)
			compare_listen(&s, old, new, &to);
		else
			for (const struct service_option *o = s.options; o->name; o++)
				compare_option(o, prefix, schema_struct(&s, old, 0),
					       schema_struct(&s, new, 0), &to);
	}
	return to.complete;
}

void config_log_warnings(const struct config *c)
{
	for (size_t i = 0; i < errors_stored(&c->warnings); i++)
		log_warning("%s", errors_text(&c->warnings, i));
}

int config_log_level(const struct config *c)
{
	return LOG_DEBUG - (int)c->log.level; /* the choices begin with "debug" */
}
