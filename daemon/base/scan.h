/*
 * What libconfuse's lexer cannot be trusted with, done before it sees a file. It counts the lines
 * of comments wrongly, takes a string or comment that is never closed for complete, looks for the
 * brace of "${" beyond the string's end, skips a "+" as if it were a blank, cuts a string at "\\0",
 * leaks an include's argument when the statement is not complete, and reads included files in ways
 * of its own.
 */
#ifndef SKELD_SCAN_H
#define SKELD_SCAN_H

#include "base/errors.h"

#include <stdbool.h>

/*
 * In TEXT, the bytes of FILE, overwrite comments and include("path") statements with blanks; lines
 * stay what they are. Calls INCLUDE for each of the latter. False, and errors, when something is
 * not closed or not complete.
 */
bool scan(char *text, const char *file,
	  void (*include)(void *context, const char *path, unsigned line), void *context,
	  struct errors *e);

#endif
