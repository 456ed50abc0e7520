/*
 * The value of one option: how it is read, written, copied and compared. The row of the option
 * (service_option.h) describes it; BASE is the structure that has its field.
 */
#ifndef SKELD_OPTION_H
#define SKELD_OPTION_H

#include "service_option.h"

#include <stdio.h>

/* Set the option in the structure at BASE from TEXT, which is written as in a file. Returns 0,
 * -EINVAL or -ENOMEM. */
int option_set(const struct service_option *o, void *base, const char *text);

/*
 * Look up the user or group that the option in the structure at BASE names. Returns 0, also if it
 * names none, -ENOENT, or another negative errno. May block: for the configuration loader.
 */
int option_resolve(const struct service_option *o, const void *base);

/* An OPTION_LIST. option_set() sets it to the words of TEXT; option_append() adds one element and
 * returns false if out of memory. */
enum { OPTION_LIST_MAX = 256 };
bool option_append(const struct service_option *o, void *base, const char *text);
char **option_list(const struct service_option *o, const void *base);

/* An OPTION_SECTIONS. option_add_section() adds one with default values, and returns its structure,
 * or NULL if out of memory. */
struct service_sections *option_sections(const struct service_option *o, const void *base);
void *option_add_section(const struct service_option *o, void *base, const char *title);

/* Print the value in the form that option_set() accepts. Not for a list. */
void option_print(const struct service_option *o, const void *base, FILE *out);

/* Print the value, the default, or any text as a file has it: quoted where necessary. */
void option_print_quoted(const struct service_option *o, const void *base, FILE *out);
void option_print_default(const struct service_option *o, FILE *out);
void option_print_text(const char *text, FILE *out);

/*
 * Write TEXT to OUT as option_print_text() does, for a message: the first bytes of a long text, ""
 * if memory is short. Returns OUT.
 */
enum { OPTION_QUOTED_MAX = 412 };
const char *option_quote(const char *text, char out[static OPTION_QUOTED_MAX]);

/* Write a description of the accepted values ("a whole number from 0 to 256") to OUT (SIZE bytes);
 * or what is expected in place of TEXT, which is wrong. */
void option_describe(const struct service_option *o, char *out, size_t size);
void option_explain(const struct service_option *o, const char *text, char *out, size_t size);

/* Is the value a secret, and not ""? */
bool option_is_hidden(const struct service_option *o, const void *base);

bool option_equal(const struct service_option *o, const void *a, const void *b);

/* Copy the value of FROM to TO. Returns false if out of memory; TO is unchanged then, or has only
 * the first sections. */
bool option_copy(const struct service_option *o, void *to, const void *from);

/* Free what the options in the structure at BASE own. BASE may be NULL. */
void options_clear(const struct service_option *options, void *base);

/* Set all options to their defaults. Returns false if out of memory. */
bool options_init(const struct service_option *options, void *base);

/* Returns O, or the next option of its table that is no OPTION_SECTIONS; NULL at the end. */
const struct service_option *options_next(const struct service_option *o);

#endif
