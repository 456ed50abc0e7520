/* What libconfuse has to say: names that no table has, and syntax. */
#include "base/parse_state.h"
#include "base/schema.h"

#include <stdio.h>

static struct unknown *find_unknown(const char *section, const char *name)
{
	for (size_t i = 0; i < running->n_unknown; i++)
		if (strcmp(running->unknown[i].section, section) == 0 &&
		    strcmp(running->unknown[i].name, name) == 0)
			return &running->unknown[i];
	return NULL;
}

static void note_unknown(const cfg_t *cfg, const char *name)
{
	struct unknown *u = &running->unknown[running->n_unknown];
	const char *section = is_root(cfg) ? "" : cfg->name;
	struct section s;
	if (running->n_unknown == UNKNOWN_MAX || is_end(cfg, name) ||
	    (is_root(cfg) && find_section(name, &s)) || strlen(name) >= sizeof(u->name) ||
	    strlen(section) >= sizeof(u->section))
		return;
	*u = (struct unknown){.line = (unsigned)cfg->line};
	strcpy(u->section, section);
	strcpy(u->name, name);
	running->n_unknown++;
}

static void report_unknown(const cfg_t *cfg, const char *name)
{
	const char *section = is_root(cfg) ? "" : cfg->name;
	if (is_end(cfg, name))
		WRONG(cfg, "section %s%s%s%s is not closed: expected } before the end of the file",
		      section, cfg->title ? " \"" : "", cfg->title ? cfg->title : "",
		      cfg->title ? "\"" : "");
	else
		WRONG(cfg, "unknown option %s%s%s", section, *section ? "." : "", name);
}

void on_message(cfg_t *cfg, const char *format, va_list ap)
{
	if (running->scouting) {
		if (strcmp(format, "no such option '%s'") == 0)
			note_unknown(cfg, va_arg(ap, const char *));
		return;
	}
	if (strcmp(format, "no such option '%s'") == 0) {
		report_unknown(cfg, va_arg(ap, const char *));
		return;
	}
	if (strcmp(format, "missing equal sign after option '%s'") == 0) {
		va_list copy;
		va_copy(copy, ap);
		struct unknown *u =
			find_unknown(is_root(cfg) ? "" : cfg->name, va_arg(copy, const char *));
		va_end(copy);
		if (u) {
			u->is_section = true;
			return;
		}
	}
	char text[512];
	vsnprintf(text, sizeof(text), format, ap);
	if (strstr(text, END) || strncmp(text, "premature", 9) == 0)
		WRONG(cfg, "the file ends too early: after line %u something is incomplete",
		      running->last);
	else
		WRONG(cfg, "%s: expected name = value, section { ... } or include(\"path\")", text);
}

/* What could stand there instead: the section's options, or the sections. */
static void list_names(const struct unknown *u, char *out, size_t size)
{
	struct section s;
	size_t used = 0;
	*out = '\0';
	if (u->is_section)
		for (size_t i = 1; schema_section(running->config->schema, i, &s) && used < size;
		     i++)
			used += (size_t)snprintf(out + used, size - used, " %s", s.name);
	else if (find_section(u->section, &s))
		for (const struct option *o = s.options; o->name && used < size; o++)
			used += (size_t)snprintf(out + used, size - used, " %s", o->name);
}

void report_unknown_names(const char *file)
{
	char names[512];
	for (size_t i = 0; i < running->n_unknown; i++) {
		const struct unknown *u = &running->unknown[i];
		struct section s;
		list_names(u, names, sizeof(names));
		if (u->is_section && *u->section && find_section(u->name, &s))
			errors_add(running->errors, file, u->line,
				   "section %s is not closed before section %s", u->section,
				   u->name);
		else
			errors_add(running->errors, file, u->line,
				   "unknown %s %s%s%s: expected one of:%s%s",
				   u->is_section ? "section" : "option", u->section,
				   *u->section ? "." : "", u->name, names,
				   u->is_section ? "; what follows it was not looked at" : "");
	}
}
