/*
 * libconfuse supplies the syntax and nothing else, because libconfuse 3.3 cannot be trusted with
 * more:
 *
 * - It opens any file, and its lexer misreads some text. config/file.c reads the files and
 *   config/prescan.c checks their text first; libconfuse parses from memory.
 * - CFG_SIMPLE_* options change a live variable even if the parse fails later. All options are
 *   plain CFG_STR here, and on_value() hands each value to the schema.
 * - It accepts a file that ends within a section, comment or string. See END.
 * - The last of several values of one option wins silently, and two sections with one title become
 *   one. See check_duplicate() and on_section().
 * - It stops at the first unknown name, and CFGF_IGNORE_UNKNOWN overflows the stack on deeply
 *   nested sections. So each file is parsed in two passes. The first pass only collects unknown
 *   names: it is repeated, with the names found so far declared as options, until it finds no more.
 *   The second pass sets the values and reports every mistake.
 * - Its callbacks have no context argument and its lexer is global. See `running`.
 * - It ends the process if memory is short. See config/loader.h.
 * - It calls nothing for an empty list. See PRESCAN_EMPTY_LIST.
 * - A section does not know the one that contains it. So all names of sections differ.
 */
#include "config/parse.h"

#include "config/includes.h"
#include "config/option.h"
#include "config/prescan.h"
#include "config/schema.h"
#include "config/unknown.h"

#include <confuse.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = CONFIG_OPTIONS_MAX, UNKNOWN_MAX = 20 };

/*
 * The name of an option in a hidden last line, "\001 = 1". If libconfuse finds it at the top level,
 * nothing in the file was left open. No file contains this name literally, because
 * config_file_read() rejects control characters. An escape in a string can produce it, but not on
 * the last line: see is_end().
 */
#define END "\001"

/*
 * An option that has a value already, or the end of a section with a title, to detect duplicates.
 * The options in a section with a title are forgotten at its end.
 */
struct place {
	const struct service_option *option;
	size_t section, index; /* of the title */
	const char *file;
	unsigned line;
};
enum {
	PLACES_MAX = 2 * OPTIONS_MAX + 64,
	TITLES_MAX = CONFIG_LISTEN_MAX + CONFIG_TLS_MAX + CONFIG_NESTED_MAX
};

/* Sections of one kind that have a title. */
struct titled {
	bool is_open; /* the last one of the configuration is not closed yet */
	unsigned n;   /* that libconfuse had at the end of the last one */
};

/* What libconfuse accepts in one section. */
typedef cfg_opt_t section_table[OPTIONS_MAX + UNKNOWN_MAX + SCHEMA_SECTIONS + 2];

struct parse {
	struct config *config;
	struct errors *errors;
	struct includes files;
	struct place assignments[PLACES_MAX], titles[TITLES_MAX];
	size_t n_assignments, n_titles;
	/* The rest concerns the current file. */
	const struct file *file;
	bool collecting; /* the first pass: look for unknown names only */
	struct unknown unknown[UNKNOWN_MAX];
	size_t n_unknown;
	unsigned end_line;    /* of END */
	unsigned last_line;   /* of the last statement that was understood */
	unsigned secret_line; /* of the last value of a secret option */
	bool reached_end;     /* END was found at the top level */
	struct titled titled[SCHEMA_SECTIONS];
	size_t n_before;  /* assignments before the open section with a title */
	bool has_element; /* on_value() was called since on_list() */
	bool has_blank;	  /* the first element of the list is "" */
	section_table tables[SCHEMA_SECTIONS];
};

/* The parse that libconfuse's callbacks work on; libconfuse forces it to be global. */
static struct parse *running;

#define WRONG(cfg, ...)                                                                            \
	errors_add(running->errors, running->file->name, (unsigned)(cfg)->line, __VA_ARGS__)

/* The name of the section, "" for the top level, which libconfuse calls root. */
static const char *section_name(const cfg_t *cfg)
{
	return strcmp(cfg->name, "root") == 0 ? "" : cfg->name;
}

static bool is_end(const cfg_t *cfg, const char *word)
{
	return strcmp(word, END) == 0 && (unsigned)cfg->line == running->end_line;
}

static bool find_section(const char *name, struct section *s)
{
	return schema_find_section(running->config->schema, name, s);
}

/* Returns the row of OPT and sets S to its section; NULL if the name is unknown. */
static const struct service_option *find_option(const cfg_t *cfg, const cfg_opt_t *opt,
						struct section *s)
{
	return find_section(section_name(cfg), s) ? schema_find(s, opt->name) : NULL;
}

/* Unknown names and syntax errors. */

/* A name or text on the line of a secret may be the rest of it: password = correct horse */
static bool is_secret(const cfg_t *cfg)
{
	return (unsigned)cfg->line == running->secret_line;
}

static void add_unknown(const cfg_t *cfg, const char *name)
{
	struct unknown *u = &running->unknown[running->n_unknown];
	const char *section = section_name(cfg);
	struct section s;
	if (running->n_unknown == UNKNOWN_MAX || is_end(cfg, name) ||
	    (!*section && find_section(name, &s) && !*s.parent) ||
	    strlen(name) >= sizeof(u->name) || strlen(section) >= sizeof(u->section))
		return;
	*u = (struct unknown){.line = (unsigned)cfg->line, .is_secret = is_secret(cfg)};
	strcpy(u->section, section);
	strcpy(u->name, name);
	running->n_unknown++;
}

/* Report a name that libconfuse does not find in the second pass: END, or add_unknown() did not
 * have room for it. */
static void report_undeclared(const cfg_t *cfg, const char *name)
{
	const char *section = section_name(cfg);
	if (is_end(cfg, name))
		WRONG(cfg, "section %s%s%s%s is not closed: expected } before the end of the file",
		      section, cfg->title ? " \"" : "", cfg->title ? cfg->title : "",
		      cfg->title ? "\"" : "");
	else
		WRONG(cfg, "unknown option %s%s%s", section, *section ? "." : "",
		      is_secret(cfg) ? "(secret)" : name);
}

/* An unknown name without "=" is a section: report_unknown() reports it, not on_message(). */
static bool is_unknown_section(const cfg_t *cfg, const char *name)
{
	for (struct unknown *u = running->unknown; u < running->unknown + running->n_unknown; u++)
		if (strcmp(u->section, section_name(cfg)) == 0 && strcmp(u->name, name) == 0)
			return u->is_section = true;
	return false;
}

/* libconfuse's error function. Compares formats of libconfuse 3.3. */
static void on_message(cfg_t *cfg, const char *format, va_list ap)
	__attribute__((format(printf, 2, 0)));
static void on_message(cfg_t *cfg, const char *format, va_list ap)
{
	bool no_option = strcmp(format, "no such option '%s'") == 0;
	bool no_equal_sign = strcmp(format, "missing equal sign after option '%s'") == 0;
	bool no_title = strcmp(format, "missing title for section '%s'") == 0;
	char text[512];
	va_list copy;
	va_copy(copy, ap);
	vsnprintf(text, sizeof(text), format, copy);
	va_end(copy);
	const char *name = no_option || no_equal_sign || no_title ? va_arg(ap, const char *) : NULL;
	if (running->collecting && no_option)
		add_unknown(cfg, name);
	else if (running->collecting || (no_equal_sign && is_unknown_section(cfg, name)))
		return;
	else if (no_option)
		report_undeclared(cfg, name);
	else if (no_title)
		WRONG(cfg, "section %s without a title: expected %s \"title\" { ... }", name, name);
	else if (strstr(text, END) || strncmp(text, "premature", 9) == 0)
		WRONG(cfg, "unexpected end of file: the statement after line %u is incomplete",
		      running->last_line);
	else
		WRONG(cfg, "%s: expected name = value, section { ... } or include(\"path\")",
		      is_secret(cfg) ? "(secret)" : text);
}

/* Known names. */

static void set_location(const cfg_t *cfg, struct location *l)
{
	free(l->file);
	*l = (struct location){strdup(running->file->name), (unsigned)cfg->line};
}

/* Was the value `{}` in the file? */
static bool is_empty_list(const cfg_t *cfg, const char *value)
{
	const char *line = running->file->content.text;
	if (strcmp(value, PRESCAN_EMPTY_LIST) != 0)
		return false;
	for (int i = 1; line && i < cfg->line; i++)
		line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL;
	return line && memchr(line, *PRESCAN_EMPTY_LIST, strcspn(line, "\n"));
}

/* Report that there is a section with this title. */
static void check_title(const cfg_t *cfg, const struct section *s, const char *title)
{
	struct parse *p = running;
	size_t index = schema_index(s, p->config, title);
	for (size_t i = 0; i < p->n_titles; i++)
		if (p->titles[i].section == s->index && p->titles[i].index == index)
			WRONG(cfg, "%s \"%s\" is already defined at %s:%u", s->name, title,
			      p->titles[i].file, p->titles[i].line);
}

/* Add a section with a title unless one is open. Returns false, with an error, if that fails. */
static bool open_titled(const cfg_t *cfg, const struct section *s, const char *title)
{
	struct parse *p = running;
	struct config *c = p->config;
	size_t n = schema_n_structs(s, c);
	if (p->titled[s->index].is_open)
		return true;
	if (n == s->max || (*s->parent && schema_n_nested(c) == CONFIG_NESTED_MAX)) {
		WRONG(cfg, "too many %s sections: expected at most %zu", s->name, s->max);
		return false;
	}
	check_title(cfg, s, title);
	if (!schema_add(s, c, title)) {
		errors_add_no_memory(p->errors, p->file->name, (unsigned)cfg->line);
		return false;
	}
	if (schema_location(s, c, n))
		set_location(cfg, schema_location(s, c, n)); /* until the section ends */
	p->titles[p->n_titles++] =
		(struct place){NULL, s->index, n, p->file->name, (unsigned)cfg->line};
	p->n_before = p->n_assignments;
	return p->titled[s->index].is_open = true;
}

static void check_duplicate(const cfg_t *cfg, const struct service_option *o)
{
	struct parse *p = running;
	for (size_t i = 0; i < p->n_assignments; i++) {
		const struct place *a = &p->assignments[i];
		if (a->option == o) {
			WRONG(cfg, "%s is already set at %s:%u", o->name, a->file, a->line);
			return;
		}
	}
	if (p->n_assignments < PLACES_MAX)
		p->assignments[p->n_assignments++] =
			(struct place){o, 0, 0, p->file->name, p->last_line};
}

static void report_wrong_value(const cfg_t *cfg, const struct section *s,
			       const struct service_option *o, const char *value,
			       const char *expected)
{
	char name[SCHEMA_NAME_MAX], quoted[OPTION_QUOTED_MAX], where[128 + SCHEMA_NAME_MAX] = "";
	size_t n = schema_n_structs(s, running->config);
	const char *title = schema_title(s, running->config, n - 1);
	if (title)
		snprintf(where, sizeof(where), " (%s \"%.100s\")", s->name, title);
	WRONG(cfg, "%s = %s: expected %s%s", schema_name(s, o->name, name),
	      option_quote(value, quoted), expected, where);
}

/* Add VALUE, the element number N of a list from 1 on, to the option in the structure at BASE.
 * A single empty value is the empty list. */
static bool add_element(const cfg_t *cfg, const struct section *s, const struct service_option *o,
			void *base, const char *value, unsigned n)
{
	struct parse *p = running;
	bool is_blank = !*value || is_empty_list(cfg, value);
	p->has_element = true;
	if (n == 1) {
		p->has_blank = is_blank;
		return option_set(o, base, "") == 0 && (is_blank || option_append(o, base, value));
	}
	if (is_blank || (n == 2 && p->has_blank))
		report_wrong_value(cfg, s, o, "", "elements of the list that are not empty");
	if (n == OPTION_LIST_MAX + 1)
		report_wrong_value(cfg, s, o, value, "at most 256 elements in the list");
	return n > OPTION_LIST_MAX || is_blank || option_append(o, base, value);
}

static void set_option(const cfg_t *cfg, const struct section *s, const cfg_opt_t *opt,
		       const struct service_option *o, const char *value)
{
	size_t index = schema_n_structs(s, running->config) - 1;
	void *base = schema_struct(s, running->config, index);
	char expected[256], quoted[OPTION_QUOTED_MAX];
	int error = 0;
	if (o->type != OPTION_LIST || opt->nvalues == 1)
		check_duplicate(cfg, o);
	if (o->type == OPTION_LIST) {
		error = add_element(cfg, s, o, base, value, opt->nvalues) ? 0 : -ENOMEM;
	} else if (is_empty_list(cfg, value)) {
		WRONG(cfg, "%s = {}: expected one value", o->name);
	} else {
		error = option_set(o, base, value);
		if (!error)
			error = option_resolve(o, base);
	}
	if (error == -ENOMEM) {
		errors_add_no_memory(running->errors, running->file->name, (unsigned)cfg->line);
	} else if (error == -EINVAL || error == -ENOENT) {
		option_explain(o, value, expected, sizeof(expected));
		report_wrong_value(cfg, s, o, value, expected);
	} else if (error) {
		WRONG(cfg, "cannot look up %s = %s: %s", o->name, option_quote(value, quoted),
		      strerror(-error));
		running->errors->transient = true;
	}
}

/* Called by libconfuse for each `name = value`. A result other than 0 ends the parse. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	const char *section = section_name(cfg);
	struct section s;
	const struct service_option *o = find_option(cfg, opt, &s);
	*(const char **)result = "";
	if (o && o->type == OPTION_SECRET)
		running->secret_line = (unsigned)cfg->line;
	if (running->collecting)
		return 0;
	if (running->errors->n >= ERRORS_MAX)
		return -1;
	if (is_end(cfg, opt->name)) {
		running->reached_end = !*section;
		return 0;
	}
	if (!*section && strcmp(opt->name, END) == 0)
		WRONG(cfg, "unknown option %s", opt->name);
	if (is_end(cfg, value)) {
		WRONG(cfg, "%s has no value", opt->name);
		return -1;
	}
	running->last_line = (unsigned)cfg->line;
	if (!o)
		return 0; /* report_unknown() reports it */
	if (s.max && !open_titled(cfg, &s, cfg->title))
		return -1;
	set_option(cfg, &s, opt, o, value);
	return 0;
}

/* Called by libconfuse after each element of a list, and at the brace after the last one. */
static int on_list(cfg_t *cfg, cfg_opt_t *opt)
{
	struct section s;
	bool is_end = !running->has_element;
	running->has_element = false;
	const struct service_option *o = find_option(cfg, opt, &s);
	if (!running->collecting && o && is_end && opt->nvalues == 1 && running->has_blank)
		report_wrong_value(cfg, &s, o, "", "elements of the list that are not empty");
	return 0;
}

/* A section with a title ends, one of N. */
static bool close_titled(const cfg_t *cfg, const struct section *s, cfg_opt_t *opt, unsigned n)
{
	struct parse *p = running;
	struct titled *kind = &p->titled[s->index];
	/* The section is the last one, or if libconfuse has merged it, the one that ends here. */
	unsigned i = n > kind->n ? n - 1 : 0;
	while (i < n - 1 && cfg_opt_getnsec(opt, i)->line != cfg->line)
		i++;
	if (!open_titled(cfg, s, cfg_opt_getnsec(opt, i)->title)) /* it has no options */
		return false;
	p->titles[p->n_titles - 1].line = (unsigned)cfg->line;
	p->n_assignments = p->n_before;
	*kind = (struct titled){.n = n};
	return true;
}

/* Called by libconfuse at the end of each section. A result other than 0 ends the parse. */
static int on_section(cfg_t *cfg, cfg_opt_t *opt)
{
	struct config *c = running->config;
	unsigned n = cfg_opt_size(opt);
	struct section s;
	if (!find_section(opt->name, &s))
		return 0;
	/* libconfuse compares all titles with each other: 20,000 of them take 1.4 s. */
	if (running->collecting)
		return s.max && n > s.max ? -1 : 0;
	running->last_line = (unsigned)cfg->line;
	if (s.max && !close_titled(cfg, &s, opt, n))
		return -1;
	struct location *l = schema_location(&s, c, schema_n_structs(&s, c) - 1);
	if (l)
		set_location(cfg, l);
	return 0;
}

/* Passes. */

/* Both one value and a list are accepted for an unknown name. */
static cfg_opt_t declared_option(const char *name, bool is_list)
{
	cfg_opt_t opt = CFG_STR_CB(name, NULL, CFGF_NODEFAULT, on_value);
	if (is_list) {
		opt.flags |= CFGF_LIST;
		opt.validcb = on_list;
	}
	return opt;
}

/* Declare for each section its options, and the unknown names found in it so far. */
static void declare(struct parse *p)
{
	struct section s;
	cfg_opt_t *end[SCHEMA_SECTIONS];
	memset(p->tables, 0, sizeof(p->tables));
	for (size_t i = 0; schema_section(p->config->schema, i, &s); i++) {
		cfg_opt_t *opt = p->tables[i];
		for (const struct service_option *o = options_next(s.options); o;
		     o = options_next(o + 1))
			*opt++ = declared_option(o->name, o->type == OPTION_LIST);
		for (size_t j = 0; j < p->n_unknown; j++)
			if (strcmp(p->unknown[j].section, s.name) == 0)
				*opt++ = declared_option(p->unknown[j].name, true);
		end[i] = opt;
	}
	for (size_t i = 1, outer = 0; schema_section(p->config->schema, i, &s); i++) {
		cfg_flag_t flags = CFGF_NODEFAULT | (s.max ? CFGF_MULTI | CFGF_TITLE : 0);
		outer = *s.parent ? outer : i;
		cfg_opt_t **in = &end[*s.parent ? outer : 0];
		**in = (cfg_opt_t)CFG_SEC(s.name, p->tables[i], flags);
		(*in)++->validcb = on_section;
	}
	*end[0] = declared_option(END, false);
}

/* One pass over the current file. Returns false if libconfuse stopped before the end. */
static bool run_pass(struct parse *p)
{
	const struct file *f = p->file;
	char *text = NULL;
	declare(p);
	int n = asprintf(&text, "%s" END " = 1\n", f->content.text);
	FILE *in = n < 0 ? NULL : fmemopen(text, (size_t)n, "r");
	cfg_t *cfg = in ? cfg_init(p->tables[0], CFGF_NONE) : NULL;
	bool good = false;
	if (cfg) {
		cfg_set_error_function(cfg, on_message);
		p->reached_end = p->has_element = false;
		p->last_line = p->secret_line = 0;
		memset(p->titled, 0, sizeof(p->titled));
		p->end_line = f->content.lines + 1;
		errno = 0;
		good = cfg_parse_fp(cfg, in) == CFG_SUCCESS;
		if (!good && errno == ENOMEM) /* where libconfuse does not end the process */
			errors_add_no_memory(p->errors, f->name, p->last_line);
		cfg_free(cfg); /* also frees and resets the lexer */
	} else {
		errors_add_no_memory(p->errors, f->name, 0);
	}
	if (in)
		fclose(in);
	if (n >= 0)
		free(text);
	return good;
}

static void parse_current(struct parse *p)
{
	const struct file *f = p->file;
	size_t known, before = p->errors->n;
	if (before >= ERRORS_MAX ||
	    !prescan(f->content.text, f->name, includes_add, &p->files, p->errors))
		return;
	p->n_unknown = 0;
	p->collecting = true;
	do {
		known = p->n_unknown;
		run_pass(p);
	} while (p->n_unknown > known);
	p->collecting = false;
	bool good = run_pass(p);
	for (size_t i = 0; i < p->n_unknown; i++)
		report_unknown(p->config->schema, f->name, &p->unknown[i], p->errors);
	if (p->errors->n > before)
		return;
	if (!good)
		errors_add(p->errors, f->name, p->last_line,
			   "syntax error after this line: a name may be missing");
	else if (!p->reached_end)
		errors_add(p->errors, f->name, p->last_line,
			   "a string or comment after this line is not closed");
}

void parse_file(const char *file, struct config *c, struct errors *e)
{
	struct parse *p = calloc(1, sizeof(*p));
	char *name = p ? strdup(file) : NULL;
	if (!name) {
		free(p);
		errors_add_no_memory(e, file, 0);
		return;
	}
	*p = (struct parse){.config = c, .errors = e};
	running = p;
	includes_begin(&p->files, name, e, &c->warnings);
	while ((p->file = includes_next(&p->files)))
		parse_current(p);
	running = NULL;
	includes_clear(&p->files);
	free(p);
}
