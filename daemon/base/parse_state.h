/*
 * One parse, as base/parse.c and base/unknown.c see it. libconfuse's callbacks carry no context,
 * and its lexer is global: there is one at a time, `running`.
 */
#ifndef SKELD_PARSE_STATE_H
#define SKELD_PARSE_STATE_H

#include "base/config.h"
#include "base/source.h"

#include <confuse.h>
#include <stdarg.h>
#include <string.h>

struct section;

enum { FILES_MAX = 100, DEPTH_MAX = 8, OPTIONS_MAX = CONFIG_OPTIONS_MAX, UNKNOWN_MAX = 20 };

/*
 * A hidden last line. Seen at the top level, it proves that nothing before it was left open:
 * libconfuse takes an unclosed section, comment or string at the end of a file for a good one.
 * No file can write its name as it stands here, control characters are refused before the parser
 * sees them; an escape in a string can, but not on that line: see is_end().
 */
#define END "\001"

/*
 * A name that no table has. libconfuse ends at the first one, so each is declared as an option
 * and the file parsed once more, until all are known and everything else can be reported too.
 */
struct unknown {
	char section[64], name[64];
	unsigned line;
	bool is_section; /* followed by no "=": what comes after it cannot be understood */
};

struct file {
	char *name;
	struct source source;
	const struct file *parent;
	unsigned depth;
};

struct set { /* an option that has been set, for the sake of duplicates */
	const struct option *option;
	size_t listen;
	const char *file;
	unsigned line;
};

struct parse {
	struct config *config;
	struct errors *errors;
	size_t budget; /* bytes still allowed */
	struct file files[FILES_MAX];
	size_t n_files;
	struct set sets[CONFIG_LISTEN_MAX * 4 + OPTIONS_MAX];
	size_t n_sets;
	/* The file that is being parsed. */
	const struct file *file;
	unsigned end;  /* the line of END */
	unsigned last; /* the line of the last thing understood */
	bool ended, in_listen;
	unsigned n_sections; /* listen sections of this file that have ended */
	bool scouting;	     /* looking for unknown names only */
	struct unknown unknown[UNKNOWN_MAX];
	size_t n_unknown;
};

extern struct parse *running;

#define WRONG(cfg, ...)                                                                            \
	errors_add(running->errors, running->file->name, (unsigned)(cfg)->line, __VA_ARGS__)

static inline bool is_root(const cfg_t *cfg)
{
	return strcmp(cfg->name, "root") == 0;
}

static inline bool is_end(const cfg_t *cfg, const char *word)
{
	return strcmp(word, END) == 0 && (unsigned)cfg->line == running->end;
}

/* The section of this name, "" for the top level. */
bool find_section(const char *name, struct section *s);

/* unknown.c: what libconfuse says, cfg_set_error_function(). */
void on_message(cfg_t *cfg, const char *format, va_list ap) __attribute__((format(printf, 2, 0)));

/* unknown.c: the names found in file NAME that no table has, as errors. */
void report_unknown_names(const char *file);

#endif
