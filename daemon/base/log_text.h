/* The text of a line, in the format that is configured. For base/log.c only. Any thread. */
#ifndef SKELD_LOG_TEXT_H
#define SKELD_LOG_TEXT_H

#include "base/log_json.h"

#include <stdarg.h>

struct log_text {
	int level;
	bool is_json; /* the text is what log_json_members() has written; else it is not escaped */
	size_t length, n_fields;
	/* The text, then what log_json_journal() has written. */
	char bytes[LOG_LINE_MAX + LOG_JOURNAL_MAX];
};

/* The format of texts from now on. */
void log_text_set_format(enum log_format format);

/* Whether texts that are not JSON have fields from now on. */
void log_text_set_fields(bool on);

/* ABOUT may be NULL. */
void log_text_compose(struct log_text *t, int level, const struct log_about *about,
		      const char *format, va_list ap) __attribute__((format(printf, 4, 0)));

/* A warning: N lines were lost. */
void log_text_of_loss(struct log_text *t, uint64_t n);

#endif
