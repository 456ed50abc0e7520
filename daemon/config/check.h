/* The rules that involve more than one option, or the system. */
#ifndef SKELD_CHECK_H
#define SKELD_CHECK_H

#include "config/config.h"

/*
 * Append every mistake in C to E, and likely mistakes that are accepted to the warnings of C. FILE
 * is the main file, for sections that no file has. Sets the gid of listen sections. May block: for
 * the configuration loader.
 */
void config_check(struct config *c, const char *file, struct errors *e);

/* Check the tables of the service, which its author has written. Returns false, with an error, if
 * they cannot be used. */
bool config_check_tables(const struct service_schema *service, const char *file, struct errors *e);

#endif
