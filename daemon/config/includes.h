/*
 * The configuration file and the files that it includes, in the order in which they are parsed. An
 * included file is read when its statement is found, because an error belongs to the line of the
 * statement, and parsed after the files before it.
 */
#ifndef SKELD_INCLUDES_H
#define SKELD_INCLUDES_H

#include "config/file.h"

enum { FILES_MAX = 100 };

struct file {
	char *name;
	struct config_file content; /* content.text is NULL if the file cannot be read */
	const struct file *parent;  /* the file that includes it */
	unsigned depth;
};

struct includes {
	struct file file[FILES_MAX];
	size_t n, n_parsed;
	const struct file *current; /* the last one from includes_next() */
	unsigned line;		    /* of the include statement that is expanded */
	size_t budget;		    /* bytes that files may still have */
	struct errors *errors, *warnings;
};

/* Read the main file. Takes over NAME. Errors are appended to E, also later ones; likely mistakes
 * that are accepted to WARNINGS. */
void includes_begin(struct includes *all, char *name, struct errors *e, struct errors *warnings);

/* Returns the next file that could be read, or NULL. Valid until includes_clear(). */
const struct file *includes_next(struct includes *all);

/* Read the files that include("INCLUDE") on LINE of the current file names. CONTEXT is the struct
 * includes: this is a callback for prescan(). */
void includes_add(void *context, const char *include, unsigned line);

void includes_clear(struct includes *all);

#endif
