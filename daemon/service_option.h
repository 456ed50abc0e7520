/*
 * A configuration option: one row of a table. The table is the only description of an option. The
 * parser, the defaults, the checks, -T, the manual and the log of a reload use it.
 */
#ifndef SKELD_SERVICE_OPTION_H
#define SKELD_SERVICE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The type of an option, and the C type of the field that receives the value. */
enum service_option_type {
	OPTION_NUMBER,	/* int64_t, from `min` to `max` */
	OPTION_CHOICE,	/* int64_t, the index of the word in `choices` */
	OPTION_FLAG,	/* int64_t, 1 for true, 0 for false */
	OPTION_TEXT,	/* char *, never NULL */
	OPTION_PATH,	/* char *, an absolute path, or "" for none */
	OPTION_SECRET,	/* char *, a text that appears in no log, status or output of -T */
	OPTION_ADDRESS, /* char *, "host:port", "[v6]:port", "unix:/path", or "" for off */
	OPTION_USER,	/* char *, an existing user or its number, or "" for none */
	OPTION_GROUP,	/* char *, an existing group or its number, or "" for none */
	OPTION_MODE,	/* char *, a file mode in octal, such as "0660", or "" for none */
	OPTION_LIST,	/* char **, never NULL: at most 256 texts, none of them "", and a NULL */
	OPTION_SECTIONS /* struct service_sections */
};

struct service_option {
	const char *name; /* NULL ends the table */
	enum service_option_type type;
	size_t offset;		   /* of the field, offsetof(3) */
	const char *default_value; /* as in the file, without quotes; a list: with blanks between */
	int64_t min, max;	   /* OPTION_NUMBER, both included */
	const char *unit;	   /* OPTION_NUMBER; may be NULL. "seconds" take 5m, "bytes" 64K */
	const char *choices;	   /* OPTION_CHOICE: the words, separated by single spaces */
	bool needs_restart;	   /* a reload keeps the old value and logs that */
	const char *help;	   /* one sentence, without a full stop */
	const struct service_option *options; /* OPTION_SECTIONS: those of each section */
	size_t size;			      /* OPTION_SECTIONS: of the structure of one section */
};

/*
 * The field of an OPTION_SECTIONS: sections inside the service's section. Each has a different
 * title, and there are at most 256:
 *
 *	proxy {
 *		backend "a" { address = "127.0.0.1:7009" }
 *		backend "b" { address = "127.0.0.1:7010" weight = 2 }
 *	}
 *
 * The row of the option has the name, here "backend"; in `options` the table of a section, without
 * OPTION_SECTIONS; and in `size` the size of the structure that these options fill. The first
 * member of this structure is `char *title`. The row needs no default_value. With needs_restart, a
 * reload keeps all sections unchanged. The name must differ from the names of all other sections
 * and options, those of the daemon included.
 */
struct service_sections {
	size_t n;
	void *item; /* an array of N structures, in the order of the file */
};

#endif
