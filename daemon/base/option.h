/*
 * One row of the configuration's schema. The rows are the only place where an option is described:
 * parser, defaults, checks, -T and the changes logged by a reload are all made from them.
 */
#ifndef SKELD_OPTION_H
#define SKELD_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
	OPTION_NUMBER,	/* int64_t, from least to most */
	OPTION_CHOICE,	/* int64_t, the index of the word among `words` */
	OPTION_FLAG,	/* int64_t, true is 1 */
	OPTION_TEXT,	/* char *, never NULL */
	OPTION_PATH,	/* char *, an absolute path, or "" for none */
	OPTION_ADDRESS, /* char *, "host:port", "[v6]:port", "unix:/path", or "" for off */
};

struct option {
	const char *name; /* NULL ends a table */
	enum option_type type;
	size_t offset;	     /* of the field in the structure that the section fills */
	const char *initial; /* the default, as one would write it in the file */
	int64_t least, most; /* OPTION_NUMBER */
	const char *unit;    /* OPTION_NUMBER: "seconds", "bytes"; may be NULL */
	const char *words;   /* OPTION_CHOICE: accepted words, one blank between */
	bool restart;	     /* a reload keeps the old value and says so */
	const char *help;    /* one sentence, without a full stop */
};

#endif
