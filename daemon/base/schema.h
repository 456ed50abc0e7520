/* The sections of the configuration and how a row's value is read and written. */
#ifndef SKELD_SCHEMA_H
#define SKELD_SCHEMA_H

#include "base/config.h"

struct section {
	const char *name; /* "" is the top level */
	const struct option *options;
	bool titled; /* any number of them, each with a title of its own: listen */
	const char *help;
};

enum { SCHEMA_SECTIONS = 6 };

/* The I-th section, the service's among them; false past the last. */
bool schema_section(const struct config_service *service, size_t i, struct section *s);

/* The option NAME of section S, or NULL. */
const struct option *schema_find(const struct section *s, const char *name);

/* Where the section's structure is in C; TITLED sections: the INDEX-th. */
void *schema_base(const struct section *s, struct config *c, size_t index);

/*
 * Set the field from TEXT as it stands in a file. Returns NULL, or what is accepted ("a whole
 * number from 0 to 256"), written to WHY; errno is ENOMEM then if memory is what is missing.
 */
const char *schema_set(const struct option *o, void *base, const char *text, char *why,
		       size_t size);

/* Write the value as schema_set() takes it to OUT. */
void schema_put(const struct option *o, const void *base, FILE *out);

/* Write the value as it would stand in a file, quoted where it must be, to OUT. */
void schema_show(const struct option *o, const void *base, FILE *out);

/* Write the default as it would stand in a file. */
void schema_show_initial(const struct option *o, FILE *out);

/* Write what is accepted ("a whole number from 0 to 256", "one of: ...") to OUT (SIZE bytes). */
void schema_accepts(const struct option *o, char *out, size_t size);

bool schema_equal(const struct option *o, const void *a, const void *b);

/* Make TO's value a copy of FROM's. Out of memory: false, TO unchanged. */
bool schema_copy(const struct option *o, void *to, const void *from);

void schema_clear(const struct option *options, void *base);

/* Set all to their defaults. Out of memory: false. */
bool schema_init(const struct option *options, void *base);

#endif
