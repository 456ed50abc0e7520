#include "config/unknown.h"

#include "base/text.h"
#include "config/option.h"
#include "config/schema.h"

#include <stdio.h>
#include <string.h>

enum { DISTANCE_MAX = 2 };

/* The names that are accepted in place of an unknown one. */
struct names {
	const char *unknown, *nearest; /* nearest: NULL if no name is similar */
	size_t distance;	       /* of the nearest */
	char list[512];
};

static void add_name(struct names *n, const char *name)
{
	size_t used = strlen(n->list), distance = text_distance(n->unknown, name);
	snprintf(n->list + used, sizeof(n->list) - used, " %s", name);
	if (distance < n->distance && 2 * distance <= strlen(n->unknown)) {
		n->distance = distance;
		n->nearest = name;
	}
}

/* The sections that the section of U may contain, or its options. */
static void find_names(const struct service_schema *service, const struct unknown *u,
		       struct names *n)
{
	struct section s;
	*n = (struct names){.unknown = u->name, .distance = DISTANCE_MAX + 1};
	if (u->is_section)
		for (size_t i = 1; schema_section(service, i, &s); i++) {
			if (strcmp(s.parent, u->section) == 0)
				add_name(n, s.name);
		}
	else if (schema_find_section(service, u->section, &s))
		for (const struct service_option *o = options_next(s.options); o;
		     o = options_next(o + 1))
			add_name(n, o->name);
}

/* Report a section in a place where it must not be. Returns false if U is none. */
static bool report_misplaced(const struct service_schema *service, const char *file,
			     const struct unknown *u, struct errors *e)
{
	struct section s, in;
	if (!u->is_section || u->is_secret || !schema_find_section(service, u->name, &s))
		return false;
	schema_find_section(service, u->section, &in);
	if (*s.parent && strcmp(s.parent, in.parent) != 0)
		errors_add(e, file, u->line, "section %s: expected inside of section %s", u->name,
			   s.parent);
	else
		errors_add(e, file, u->line, "section %s is not closed before section %s",
			   u->section, u->name);
	return true;
}

/* Report what another build of the daemon accepts. Returns false if U is no such name. */
static bool report_missing_part(const char *file, const struct unknown *u, struct errors *e)
{
	static const char *const sections[] = {"", "listen", "admin"};
	if (SKELD_TLS || strcmp(u->name, "tls") != 0)
		return false;
	for (size_t i = u->is_section ? 0 : 1; i < (u->is_section ? 1u : 3u); i++)
		if (strcmp(u->section, sections[i]) == 0) {
			errors_add(e, file, u->line,
				   "unknown %s tls: this build has no TLS (-DSKELD_TLS=OFF)",
				   u->is_section ? "section" : "option");
			return true;
		}
	return false;
}

void report_unknown(const struct service_schema *service, const char *file, const struct unknown *u,
		    struct errors *e)
{
	struct names names;
	struct section s;
	if (report_misplaced(service, file, u, e) || report_missing_part(file, u, e))
		return;
	find_names(service, u, &names);
	bool similar = names.nearest && !u->is_secret;
	const char *name = u->is_secret ? "(secret)" : u->name;
	char full[SCHEMA_NAME_MAX], hint[SCHEMA_NAME_MAX] = "";
	if (similar)
		snprintf(hint, sizeof(hint), "did you mean %s? ", names.nearest);
	schema_find_section(service, u->section, &s);
	if (u->is_section && *u->section && !similar) /* timeout = 5 min */
		errors_add(e, file, u->line,
			   "section %s: unexpected %s: expected name = value, with quotes around a "
			   "value that has blanks%s%s",
			   schema_name(&s, NULL, full), name,
			   *names.list ? ", or one of the sections" : "", names.list);
	else
		errors_add(e, file, u->line, "unknown %s %s: %sexpected one of:%s%s",
			   u->is_section ? "section" : "option", schema_name(&s, name, full), hint,
			   names.list, u->is_section ? "; its content was not checked" : "");
}
