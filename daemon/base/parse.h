/* libconfuse, made safe: a file and its includes into a struct config. Control thread. */
#ifndef SKELD_PARSE_H
#define SKELD_PARSE_H

#include "base/config.h"

/* Where an option was set. */
struct place {
	const char *file;
	unsigned line;
};

/*
 * Set in C, which holds the defaults and no listen section, all that FILE and its includes say.
 * LISTEN gets the place of each listen section's end, LOG the place of the log section's.
 * Whatever is wrong is appended to E; C is then to be thrown away. The places' file names live
 * until parse_free().
 */
struct parse *parse_file(const char *file, struct config *c, struct place listen[CONFIG_LISTEN_MAX],
			 struct place *log, struct errors *e);
void parse_free(struct parse *p);

#endif
