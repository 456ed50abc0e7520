/*
 * Events of the log as JSON, and as fields of systemd's journal. For base/log.c only.
 *
 * The text of an event follows a convention, "event: key=value key=value; remark", and its format
 * separates the parts, so that a value cannot forge a field. The object gets
 *   event    an identifier: the words of the format before the first ": " or "; ", without values,
 *            in snake case. The rest can be reworded without a change of the identifier.
 *   message  the same part as text, with its values
 *   fields   of struct log_about; and each key=value, also "key = value" and key="value". Dots in
 *            a key become underscores. A value is a number if its conversion is one, except an
 *            integer above 2^53, which other programs would round: it is a string.
 *   detail   what remains of the text, if anything
 *
 * The journal gets the event and the fields; its MESSAGE is the whole text.
 */
#ifndef SKELD_LOG_JSON_H
#define SKELD_LOG_JSON_H

#include "base/log.h"

#include <stdarg.h>

/* What a target may add to the members. */
enum { LOG_JSON_MAX = LOG_LINE_MAX - 128 };

enum { LOG_JOURNAL_MAX = 4096 };

/*
 * Write the members, each with a comma before it, to OUT (LOG_JSON_MAX bytes). ABOUT may be NULL.
 * The longest parts are cut if they do not fit. Returns the length.
 */
size_t log_json_members(char *out, const struct log_about *about, const char *format, va_list ap)
	__attribute__((format(printf, 3, 0)));

/*
 * Write the event and the fields, each with its name, the length of its value and the value, to OUT
 * (LOG_JOURNAL_MAX bytes), see systemd.io/JOURNAL_NATIVE_PROTOCOL. A field that does not fit is
 * left out. Returns the length.
 */
size_t log_json_journal(char *out, const struct log_about *about, const char *format, va_list ap)
	__attribute__((format(printf, 3, 0)));

#endif
