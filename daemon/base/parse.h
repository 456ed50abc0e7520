/* libconfuse, made safe: a file and its includes into a struct config. One thread. */
#ifndef SKELD_PARSE_H
#define SKELD_PARSE_H

#include "base/config.h"

/*
 * Set in C, which holds the defaults and no listen section, all that FILE and its includes say.
 * Whatever is wrong is appended to E; C is then to be thrown away.
 */
void parse_file(const char *file, struct config *c, struct errors *e);

#endif
