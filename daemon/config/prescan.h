/*
 * A pass over the text of a configuration file before libconfuse parses it. It rejects what
 * libconfuse's lexer silently misreads, and removes what the lexer handles wrongly:
 *
 * - A string or comment that is not closed counts as closed at the end of the file.
 * - The "}" of a "${" is searched for beyond the end of the string.
 * - A "\0" escape ends the string. A "+" is skipped like a blank.
 * - A "${NAME}" is replaced by nothing if the variable is not set.
 * - Characters that look like blanks or quotes, but are not ASCII, are part of a name or a value.
 * - Comments make line numbers wrong, so they become blanks here.
 * - include() resolves relative paths against the working directory, reads any file type, and leaks
 *   its argument if the statement is incomplete. Include statements become blanks here, and the
 *   caller reads the files (config/includes.c).
 * - It calls nothing for an empty list, `name = {}`, which becomes PRESCAN_EMPTY_LIST here. Its
 *   messages about other mistakes in a list do not mention the list.
 */
#ifndef SKELD_PRESCAN_H
#define SKELD_PRESCAN_H

#include "base/errors.h"

#include <stdbool.h>

/* The value in place of `{}`. A string may have it, too, as "\x02", but a file does not contain
 * control characters: config_file_read() rejects them. */
#define PRESCAN_EMPTY_LIST "\002"

/*
 * Overwrite comments and include statements in TEXT, the content of FILE, with blanks, and empty
 * lists with PRESCAN_EMPTY_LIST; line breaks stay. Calls INCLUDE for each include statement. At the
 * first mistake, appends an error to E and returns false.
 */
bool prescan(char *text, const char *file,
	     void (*include)(void *context, const char *path, unsigned line), void *context,
	     struct errors *e);

#endif
