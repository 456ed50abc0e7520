/*
 * The sections and options of the configuration, and how an option is read, written and compared.
 * One table describes every option (service_option.h); the service adds its table as a section.
 */
#ifndef SKELD_SCHEMA_H
#define SKELD_SCHEMA_H

#include "config/config.h"

struct section {
	const char *name; /* "" is the top level */
	const struct service_option *options;
	bool titled; /* may occur more than once, each time with a different title: listen */
	const char *help;
};

enum { SCHEMA_SECTIONS = 6 }; /* the service's is the last */

/* Set S to section number I. Returns false if there are fewer sections. */
bool schema_section(const struct service_schema *service, size_t i, struct section *s);

/* Returns the option of section S with this name, or NULL. */
const struct service_option *schema_find(const struct section *s, const char *name);

/* The structures of C that section S describes: one, or one for each listen section. */
size_t schema_n_structs(const struct section *s, const struct config *c);
void *schema_struct(const struct section *s, const struct config *c, size_t index);

/* Add a listen section with default values; C must have room. Returns NULL if out of memory. */
struct listen_config *schema_add_listen(struct config *c, const char *title);

/*
 * Set the option in the structure at BASE from TEXT, which is written as in a file. Returns NULL on
 * success. Otherwise sets errno to EINVAL or ENOMEM and returns EXPECTED, in which it describes the
 * accepted values ("a whole number from 0 to 256"), or what an address lacks.
 */
const char *schema_set(const struct service_option *o, void *base, const char *text, char *expected,
		       size_t size);

/*
 * Look up the user or group that the option in the structure at BASE names. Returns 0, also if it
 * names none, -ENOENT, or another negative errno. May block: for the configuration loader.
 */
int schema_resolve(const struct service_option *o, const void *base);

/* Print the value in the form that schema_set() accepts. */
void schema_print(const struct service_option *o, const void *base, FILE *out);

/* Print the value, the default, or any text as a file has it: quoted where necessary. */
void schema_print_quoted(const struct service_option *o, const void *base, FILE *out);
void schema_print_default(const struct service_option *o, FILE *out);
void schema_print_text(const char *text, FILE *out);

/*
 * Write TEXT to OUT as schema_print_text() does, for a message: the first bytes of a long text, ""
 * if memory is short. Returns OUT.
 */
enum { SCHEMA_QUOTED_MAX = 412 };
const char *schema_quote(const char *text, char out[static SCHEMA_QUOTED_MAX]);

/* Write a description of the accepted values to OUT (SIZE bytes). */
void schema_describe(const struct service_option *o, char *out, size_t size);

/* Is the value ""? */
bool schema_is_empty(const struct service_option *o, const void *base);

bool schema_equal(const struct service_option *o, const void *a, const void *b);

/* Copy the value of FROM to TO. Returns false, with TO unchanged, if out of memory. */
bool schema_copy(const struct service_option *o, void *to, const void *from);

/* Free the strings of the structure at BASE, which may be NULL. */
void schema_clear(const struct service_option *options, void *base);

/* Set all options to their defaults. Returns false if out of memory. */
bool schema_init(const struct service_option *options, void *base);

#endif
