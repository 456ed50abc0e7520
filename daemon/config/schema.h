/*
 * The sections of the configuration, and where struct config has their options. One table describes
 * every option (service_option.h); the service adds its table as a section, and its OPTION_SECTIONS
 * as sections inside that.
 */
#ifndef SKELD_SCHEMA_H
#define SKELD_SCHEMA_H

#include "config/config.h"

enum {
	SCHEMA_NESTED_MAX = 8, /* kinds of sections inside the service's */
	SCHEMA_SECTIONS = 24   /* all kinds are fewer */
};

/* A kind of section. */
struct section {
	size_t index;	    /* its number, less than SCHEMA_SECTIONS */
	const char *parent; /* the section that contains it; "": none */
	const char *name;   /* "" is the top level */
	const struct service_option *options;
	const char *help;
	size_t max; /* sections with a title: at most so many. 0: one section, without a title */
	/* The rest is private. */
	size_t n, first, size, title; /* offsets in struct config; of the title in the structure */
	size_t location;	      /* offset in struct config, without a title; 0: none */
	const struct service_option *nested; /* the row of an OPTION_SECTIONS */
};

/* Set S to section number I. Returns false if there are fewer sections. The sections inside the
 * service's come last, directly after it. */
bool schema_section(const struct service_schema *service, size_t i, struct section *s);

/* Set S to the section with this NAME. Returns false if there is none. */
bool schema_find_section(const struct service_schema *service, const char *name, struct section *s);

/* Write the name of an option of S to OUT, with the names of its sections ("limits.buffer"); if
 * OPTION is NULL, that of the section. Returns OUT. */
enum { SCHEMA_NAME_MAX = 256 };
const char *schema_name(const struct section *s, const char *option,
			char out[static SCHEMA_NAME_MAX]);

/* Returns the option of section S with this name, or NULL; no OPTION_SECTIONS. */
const struct service_option *schema_find(const struct section *s, const char *name);

/* The structures of C that section S describes: one, or one for each section with a title. */
size_t schema_n_structs(const struct section *s, const struct config *c);
void *schema_struct(const struct section *s, const struct config *c, size_t index);

/* The title of the structure, or NULL. */
const char *schema_title(const struct section *s, const struct config *c, size_t index);

/* Where a file has the section; NULL if the configuration does not record it. */
struct location *schema_location(const struct section *s, const struct config *c, size_t index);

/* Returns the index of the structure with this title, or schema_n_structs() if there is none. */
size_t schema_index(const struct section *s, const struct config *c, const char *title);

/* Add a section with this title and default values; there must be room. Returns its structure, or
 * NULL if out of memory. */
void *schema_add(const struct section *s, struct config *c, const char *title);

/* The sections of all kinds inside the service's. */
size_t schema_n_nested(const struct config *c);

/* Free what the structures of S own, except for the first KEEP of them. */
void schema_clear(const struct section *s, struct config *c, size_t keep);

#endif
