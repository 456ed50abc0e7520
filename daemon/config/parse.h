/* Parses a configuration file and its includes with libconfuse, one call at a time in a process. */
#ifndef SKELD_PARSE_H
#define SKELD_PARSE_H

#include "config/config.h"

/*
 * Set every option that FILE and its includes contain in C, which holds the defaults and no listen
 * section. Mistakes are appended to E; the caller must then discard C.
 */
void parse_file(const char *file, struct config *c, struct errors *e);

#endif
