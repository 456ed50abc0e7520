#include "base/log_text.h"

#include <stdatomic.h>
#include <stdio.h>

static _Atomic bool is_json, has_fields; /* of all threads, like the log */

void log_text_set_format(enum log_format format)
{
	atomic_store(&is_json, format == LOG_AS_JSON);
}

void log_text_set_fields(bool on)
{
	atomic_store(&has_fields, on);
}

static void vadd(struct log_text *t, const char *format, va_list ap)
	__attribute__((format(printf, 2, 0)));
static void vadd(struct log_text *t, const char *format, va_list ap)
{
	size_t room = LOG_LINE_MAX - t->length;
	int n = vsnprintf(t->bytes + t->length, room, format, ap);
	t->length += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

static void add(struct log_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct log_text *t, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	vadd(t, format, ap);
	va_end(ap);
}

void log_text_compose(struct log_text *t, int level, const struct log_about *about,
		      const char *format, va_list ap)
{
	va_list again;
	t->level = level;
	t->length = t->n_fields = 0;
	t->is_json = atomic_load_explicit(&is_json, memory_order_relaxed);
	if (t->is_json) {
		t->length = log_json_members(t->bytes, about, format, ap);
		return;
	}
	va_copy(again, ap);
	if (about && about->prefix)
		add(t, "%s: ", about->prefix);
	vadd(t, format, ap);
	if (about && about->pairs)
		add(t, ": %s", about->pairs);
	if (atomic_load_explicit(&has_fields, memory_order_relaxed))
		t->n_fields = log_json_journal(t->bytes + t->length, about, format, again);
	va_end(again);
}

static void compose(struct log_text *t, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void compose(struct log_text *t, int level, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	log_text_compose(t, level, NULL, format, ap);
	va_end(ap);
}

void log_text_of_loss(struct log_text *t, uint64_t n)
{
	compose(t, LOG_WARNING, "log lines lost: count=%llu; the destination was full or too slow",
		(unsigned long long)n);
}
