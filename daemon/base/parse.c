#include "base/parse.h"

#include "base/clock.h"
#include "base/parse_state.h"
#include "base/scan.h"
#include "base/schema.h"

#include <errno.h>
#include <stdlib.h>

struct parse *running;

bool find_section(const char *name, struct section *s)
{
	for (size_t i = 0; schema_section(running->config->schema, i, s); i++)
		if (strcmp(s->name, name) == 0)
			return true;
	return false;
}

static void set_place(const cfg_t *cfg, struct place *p)
{
	free(p->file);
	*p = (struct place){strdup(running->file->name), (unsigned)cfg->line};
}

/* The listen section that is being filled, a new one at its first option. */
static struct listen_config *open_listen(cfg_t *cfg, const char *title)
{
	struct config *c = running->config;
	if (running->in_listen)
		return &c->listen[c->n_listen - 1];
	if (c->n_listen == CONFIG_LISTEN_MAX) {
		WRONG(cfg, "too many listen sections, at most %d are accepted", CONFIG_LISTEN_MAX);
		return NULL;
	}
	for (size_t i = 0; i < c->n_listen; i++)
		if (strcmp(c->listen[i].title, title) == 0)
			WRONG(cfg, "listen \"%s\" is already set at %s:%u", title,
			      c->listen[i].place.file, c->listen[i].place.line);
	struct section s;
	find_section("listen", &s);
	struct listen_config *l = &c->listen[c->n_listen];
	l->title = strdup(title);
	set_place(cfg, &l->place);
	c->n_listen++;
	running->in_listen = true;
	if (!l->title || !schema_init(s.options, l)) {
		errors_add_memory(running->errors, running->file->name, (unsigned)cfg->line);
		return NULL;
	}
	return l;
}

static void check_duplicate(cfg_t *cfg, const struct option *o, size_t listen)
{
	struct parse *p = running;
	for (size_t i = 0; i < p->n_sets; i++)
		if (p->sets[i].option == o && p->sets[i].listen == listen) {
			WRONG(cfg, "%s is already set at %s:%u", o->name, p->sets[i].file,
			      p->sets[i].line);
			return;
		}
	if (p->n_sets < sizeof(p->sets) / sizeof(*p->sets))
		p->sets[p->n_sets++] = (struct set){o, listen, p->file->name, p->last};
}

/* Called for each `name = value`. Non-zero ends the parse. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	*(const char **)result = "";
	if (running->scouting)
		return 0;
	if (running->errors->n >= ERRORS_MAX)
		return -1;
	if (is_end(cfg, opt->name)) {
		running->ended = is_root(cfg);
		return 0;
	}
	if (is_root(cfg) && strcmp(opt->name, END) == 0)
		WRONG(cfg, "unknown option %s", opt->name);
	if (is_end(cfg, value)) {
		WRONG(cfg, "the value of %s is missing", opt->name);
		return -1;
	}
	running->last = (unsigned)cfg->line;
	struct section s;
	const struct option *o = NULL;
	if (find_section(is_root(cfg) ? "" : cfg->name, &s))
		o = schema_find(&s, opt->name);
	if (!o)
		return 0; /* an unknown one */
	if (s.titled && !open_listen(cfg, cfg->title))
		return -1;
	struct config *c = running->config;
	size_t index = s.titled ? c->n_listen - 1 : 0;
	check_duplicate(cfg, o, index);
	char why[256];
	if (!schema_set(o, schema_base(&s, c, index), value, why, sizeof(why)))
		return 0;
	running->errors->passing = running->errors->passing || errors_is_passing(errno);
	WRONG(cfg, "%s%s%s = \"%.100s\": expected %s", s.name, *s.name ? "." : "", o->name, value,
	      why);
	return 0;
}

/* Called at the end of each section. */
static int on_section(cfg_t *cfg, cfg_opt_t *opt)
{
	/* libconfuse compares each title with all before it: end before that takes long. */
	if (cfg_opt_size(opt) > CONFIG_LISTEN_MAX && running->scouting)
		return -1;
	if (running->scouting)
		return 0;
	running->last = (unsigned)cfg->line;
	if (strcmp(opt->name, "log") == 0)
		set_place(cfg, &running->config->log.place);
	if (strcmp(opt->name, "admin") == 0)
		set_place(cfg, &running->config->admin.place);
	if (strcmp(opt->name, "listen") != 0)
		return 0;
	/* An empty one. libconfuse merges a title that was there: it is the one that ends here. */
	unsigned last = cfg_opt_size(opt) - 1;
	for (unsigned i = 0; i < last && last < running->n_sections; i++)
		if (cfg_opt_getnsec(opt, i)->line == cfg->line)
			last = i;
	if (!running->in_listen && !open_listen(cfg, cfg_opt_getnsec(opt, last)->title))
		return -1;
	running->n_sections = cfg_opt_size(opt);
	set_place(cfg, &running->config->listen[running->config->n_listen - 1].place);
	running->in_listen = false;
	return 0;
}

static struct file *add_file(struct parse *p, char *name, const struct file *parent)
{
	struct file *f = &p->files[p->n_files++];
	*f = (struct file){.name = name, .parent = parent, .depth = parent ? parent->depth + 1 : 0};
	return f;
}

/* Within what is left of the budget, and by the clock. */
static bool read_source(struct parse *p, struct file *f, const char *from, unsigned line)
{
	int64_t began = now_ns();
	bool good = source_read(f->name, p->budget, from, line, &f->source, p->errors) == 0;
	p->config->read.ns += (unsigned long long)(now_ns() - began);
	p->budget -= f->source.length;
	return good;
}

/* Read at once, while the line that asks for it is known; parsed after this file. Order cannot
 * matter: nothing is set twice. */
static void on_include(void *context, const char *asked, unsigned line)
{
	struct parse *p = context;
	const char *from = p->file->name, *slash = strrchr(from, '/');
	char *path = NULL;
	size_t before = p->errors->n;
	if (p->file->depth == DEPTH_MAX)
		errors_add(p->errors, from, line, "include(\"%s\"): nested more than %d deep",
			   asked, DEPTH_MAX);
	else if (p->n_files == FILES_MAX)
		errors_add(p->errors, from, line, "include(\"%s\"): more than %d files", asked,
			   FILES_MAX);
	else if (*asked == '/' || !slash)
		path = strdup(asked);
	else if (asprintf(&path, "%.*s/%s", (int)(slash - from), from, asked) < 0)
		path = NULL;
	if (!path && p->errors->n == before)
		errors_add_memory(p->errors, from, line);
	if (!path)
		return;
	struct file *f = add_file(p, path, p->file);
	if (!read_source(p, f, from, line))
		return;
	for (const struct file *up = p->file; up; up = up->parent)
		if (up->source.device == f->source.device && up->source.inode == f->source.inode) {
			errors_add(p->errors, from, line,
				   "include(\"%s\"): the file includes itself", asked);
			free(f->source.text);
			f->source.text = NULL;
			break;
		}
}

/* libconfuse's table for one section: its rows and the unknown names found in it so far. */
static cfg_opt_t *declare(cfg_opt_t *opt, const struct section *s)
{
	for (const struct option *o = s->options; o->name; o++)
		*opt++ = (cfg_opt_t)CFG_STR_CB(o->name, NULL, CFGF_NODEFAULT, on_value);
	for (size_t i = 0; i < running->n_unknown; i++)
		if (strcmp(running->unknown[i].section, s->name) == 0)
			*opt++ = (cfg_opt_t)CFG_STR_CB(running->unknown[i].name, NULL,
						       CFGF_NODEFAULT, on_value);
	return opt;
}

static unsigned count_lines(const char *text)
{
	unsigned n = 0;
	for (; (text = strchr(text, '\n')); text++)
		n++;
	return n;
}

static int parse_text(const struct file *f)
{
	cfg_opt_t options[SCHEMA_SECTIONS][OPTIONS_MAX + UNKNOWN_MAX + SCHEMA_SECTIONS] = {0};
	struct section s;
	schema_section(running->config->schema, 0, &s);
	cfg_opt_t *top = declare(options[0], &s);
	for (size_t i = 1; schema_section(running->config->schema, i, &s); i++) {
		declare(options[i], &s);
		*top = (cfg_opt_t)CFG_SEC(s.name, options[i],
					  CFGF_NODEFAULT |
						  (s.titled ? CFGF_MULTI | CFGF_TITLE : 0));
		top->validcb = on_section;
		top++;
	}
	*top++ = (cfg_opt_t)CFG_STR_CB(END, NULL, CFGF_NODEFAULT, on_value);

	char *text = NULL;
	int n = asprintf(&text, "%s" END " = 1\n", f->source.text);
	FILE *in = n < 0 ? NULL : fmemopen(text, (size_t)n, "r");
	cfg_t *cfg = in ? cfg_init(options[0], CFGF_NONE) : NULL;
	int result = CFG_PARSE_ERROR;
	if (!cfg)
		errors_add_memory(running->errors, f->name, 0);
	if (cfg) {
		cfg_set_error_function(cfg, on_message);
		cfg->filename = strdup(f->name);
		running->ended = running->in_listen = false;
		running->n_sections = 0;
		running->last = 0;
		running->end = 1 + count_lines(f->source.text);
		errno = 0;
		result = cfg_parse_fp(cfg, in);
		if (result != CFG_SUCCESS && errno == ENOMEM) /* where it does not end for that */
			errors_add_memory(running->errors, f->name, running->last);
		cfg_free(cfg); /* also frees and resets the lexer */
	}
	if (in)
		fclose(in);
	if (n >= 0)
		free(text);
	return result;
}

static void parse_one(struct parse *p, const struct file *f)
{
	size_t known, before = p->errors->n;
	running = p;
	p->file = f;
	if (p->errors->n >= ERRORS_MAX || !scan(f->source.text, f->name, on_include, p, p->errors))
		return;
	p->n_unknown = 0;
	p->scouting = true;
	do {
		known = p->n_unknown;
		parse_text(f);
	} while (p->n_unknown > known);
	p->scouting = false;
	int result = parse_text(f);
	report_unknown_names(f->name);
	running = NULL;
	if (p->errors->n > before)
		return;
	if (result != CFG_SUCCESS)
		errors_add(p->errors, f->name, p->last,
			   "cannot be parsed: is a name missing here or below?");
	else if (!p->ended)
		errors_add(p->errors, f->name, p->last,
			   "a string or comment after this line is never closed");
}

void parse_file(const char *file, struct config *c, struct errors *e)
{
	struct parse *p = calloc(1, sizeof(*p));
	char *name = p ? strdup(file) : NULL;
	if (!name) {
		free(p);
		errors_add_memory(e, file, 0);
		return;
	}
	*p = (struct parse){.config = c, .errors = e, .budget = SOURCE_MAX};
	struct file *f = add_file(p, name, NULL);
	read_source(p, f, NULL, 0);
	for (size_t i = 0; i < p->n_files; i++) /* parsing one may add others */
		if (p->files[i].source.text)
			parse_one(p, &p->files[i]);
	c->read.bytes = SOURCE_MAX - p->budget;
	c->read.files = p->n_files;
	for (size_t i = 0; i < p->n_files; i++) {
		free(p->files[i].name);
		free(p->files[i].source.text);
	}
	free(p);
}
