#include "base/log_json.h"

#include "base/text.h"

#include <ctype.h>
#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEY_MAX = 64,
	FIELDS_MAX = LOG_JSON_MAX / 2,
	OTHER_MAX = 16, /* quotes, commas and colons of a member, and the key "message" */
	SPEC_MAX = 32,
};

#define EXACT_MAX (INT64_C(1) << 53) /* a double has all integers up to here */

struct piece {
	char bytes[LOG_JSON_MAX];
	size_t n;
};

struct arguments {
	va_list ap; /* in a struct: where va_list is an array, a parameter cannot be passed on */
};

struct event {
	bool for_journal; /* the format of FIELDS */
	char *fields;
	size_t size, n_fields;
	struct piece message, detail, *rest; /* REST: where text that is no field goes */
};

/* Text. */

static void append(struct piece *p, const char *text, size_t n)
{
	size_t room = sizeof(p->bytes) - p->n;
	n = n < room ? n : room;
	memcpy(p->bytes + p->n, text, n);
	p->n += n;
}

static size_t add_string(char *out, size_t size, const char *key, const char *text, size_t length)
{
	if (size < strlen(key) + OTHER_MAX)
		return 0;
	size_t n = (size_t)snprintf(out, size, ",\"%s\":\"", key);
	n += text_escape_json(out + n, size - n - 1, text, length);
	out[n++] = '"';
	return n;
}

/* Fields. */

/* The members of the object that are not fields. */
static bool is_reserved(const char *key)
{
	static const char *const names[] = {"time", "level", "event", "message", "detail"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(key, names[i]) == 0)
			return true;
	return false;
}

/* "SKELD_KEY", a newline, the length of the value as a little-endian integer, the value, a newline.
 */
static bool add_journal_field(struct event *e, const char *key, const char *value)
{
	const char prefix[] = "SKELD_";
	char *out = e->fields + e->n_fields;
	size_t length = strlen(value);
	const uint64_t size = htole64(length);
	if (e->size - e->n_fields < sizeof(prefix) + strlen(key) + sizeof(size) + length + 1)
		return false;
	out = stpcpy(out, prefix);
	for (; *key; key++)
		*out++ = (char)(isalnum((unsigned char)*key) ? toupper((unsigned char)*key) : '_');
	*out++ = '\n';
	out = mempcpy(out, &size, sizeof(size));
	out = mempcpy(out, value, length);
	*out++ = '\n';
	e->n_fields = (size_t)(out - e->fields);
	return true;
}

/* Returns false if there is no room, or a member with this key. */
static bool add_field(struct event *e, const char *key, const char *value, bool is_number)
{
	char member[KEY_MAX + 4], *out = e->fields + e->n_fields;
	size_t size = e->size - e->n_fields, length = strlen(value);
	if (is_reserved(key))
		return false;
	if (e->for_journal) /* which allows several fields of one name */
		return add_journal_field(e, key, value);
	snprintf(member, sizeof(member), "\"%s\":", key);
	*out = '\0'; /* in a value, a backslash would precede the second quote */
	if (strstr(e->fields, member) || size < strlen(key) + length + OTHER_MAX)
		return false;
	e->n_fields += is_number ? (size_t)snprintf(out, size, ",%s%s", member, value)
				 : add_string(out, size, key, value, length);
	return true;
}

static void add_number(struct event *e, const char *key, long long number)
{
	char text[24];
	snprintf(text, sizeof(text), "%lld", number);
	add_field(e, key, text, number <= EXACT_MAX && number >= -EXACT_MAX);
}

/* A text that this program has made: "key=number key=number". */
static void add_pairs(struct event *e, const char *pairs)
{
	char key[KEY_MAX], value[32];
	int n;
	for (; sscanf(pairs, " %63[^= ]=%31s%n", key, value, &n) == 2; pairs += n)
		add_field(e, key, value, fabs(strtod(value, NULL)) <= (double)EXACT_MAX);
}

/* The format. */

/* SPEC is a part of a format that the compiler has checked. */
#pragma GCC diagnostic ignored "-Wformat-nonliteral"

static long long get_signed(struct arguments *a, const char *size)
{
	return strcmp(size, "ll") == 0	? va_arg(a->ap, long long)
	       : strcmp(size, "l") == 0 ? va_arg(a->ap, long)
	       : *size == 'z'		? (long long)va_arg(a->ap, ssize_t)
					: va_arg(a->ap, int);
}

static unsigned long long get_unsigned(struct arguments *a, const char *size)
{
	return strcmp(size, "ll") == 0	? va_arg(a->ap, unsigned long long)
	       : strcmp(size, "l") == 0 ? va_arg(a->ap, unsigned long)
	       : *size == 'z'		? va_arg(a->ap, size_t)
					: va_arg(a->ap, unsigned);
}

/* Print the next argument by the conversion TYPE with FLAGS and SIZE, of a format, to OUT. Returns
 * whether the result is a number in JSON that every program can read exactly. */
static bool print(char out[static LOG_JSON_MAX], struct arguments *a, const char *flags,
		  const char *size, char type)
{
	char spec[2 * SPEC_MAX];
	bool plain = flags[0] != '0' && flags[0] != '+';
	bool is_integer = strchr("diuxXo", type);
	snprintf(spec, sizeof(spec), "%%%s%s%c", flags, is_integer ? "ll" : "", type);
	if (type == 'd' || type == 'i') {
		long long v = get_signed(a, size);
		snprintf(out, LOG_JSON_MAX, spec, v);
		return plain && v <= EXACT_MAX && v >= -EXACT_MAX;
	}
	if (is_integer) {
		unsigned long long v = get_unsigned(a, size);
		snprintf(out, LOG_JSON_MAX, spec, v);
		return plain && type == 'u' && v <= EXACT_MAX;
	}
	if (strchr("eEfFgG", type)) {
		double v = va_arg(a->ap, double);
		snprintf(out, LOG_JSON_MAX, spec, v);
		return plain && isfinite(v);
	}
	if (type == 'c') {
		int c = va_arg(a->ap, int);
		snprintf(out, LOG_JSON_MAX, spec, c);
	} else if (type == 's') {
		snprintf(out, LOG_JSON_MAX, spec, va_arg(a->ap, const char *));
	} else {
		snprintf(out, LOG_JSON_MAX, "%%");
	}
	return false;
}

/* Print the argument of the conversion at P, which points to '%'. Returns the end of the
 * conversion. */
static const char *convert(const char *p, struct arguments *a, char out[static LOG_JSON_MAX],
			   bool *is_number)
{
	char flags[SPEC_MAX] = "", size[4] = "";
	for (p++; *p && strchr("-+ #.*0123456789", *p); p++) {
		size_t n = strlen(flags);
		if (*p == '*')
			snprintf(flags + n, sizeof(flags) - n, "%d", va_arg(a->ap, int));
		else
			snprintf(flags + n, sizeof(flags) - n, "%c", *p);
	}
	for (size_t n = 0; *p && strchr("hlzjt", *p); p++)
		if (n + 1 < sizeof(size))
			size[n++] = *p;
	*is_number = print(out, a, flags, size, *p);
	return *p ? p + 1 : p;
}

/* The length of the key of a pair at P, 0 if there is none. */
static size_t key_length(const char *p)
{
	size_t n = 0;
	while (isalnum((unsigned char)p[n]) || p[n] == '_' || p[n] == '.')
		n++;
	return n < KEY_MAX && (p[n] == '=' || strncmp(p + n, " = ", 3) == 0) ? n : 0;
}

/* Add the pair at P, whose key has N bytes. Returns its end. */
static const char *add_pair(struct event *e, const char *p, size_t n, struct arguments *a)
{
	char key[KEY_MAX], value[LOG_JSON_MAX] = "";
	bool is_number = false;
	for (size_t i = 0; i < n; i++)
		key[i] = (char)(p[i] == '.' ? '_' : tolower((unsigned char)p[i]));
	key[n] = '\0';
	const char *begin = p, *v = p + n;
	v += *v == '=' ? 1 : 3;
	bool quoted = *v == '"';
	v += quoted;
	if (*v == '%') {
		p = convert(v, a, value, &is_number);
	} else {
		p = v + strcspn(v, quoted ? "\"" : " ;,)");
		snprintf(value, sizeof(value), "%.*s", (int)(p - v), v);
		is_number = !quoted && *value && !value[strspn(value, "0123456789")];
	}
	bool added = add_field(e, key, value, is_number && !quoted);
	if (!added || e->rest == &e->message) {
		append(e->rest, begin, (size_t)(v - begin));
		append(e->rest, value, strlen(value));
		append(e->rest, "\"", quoted);
	}
	return p + (quoted && *p == '"');
}

static void read_format(struct event *e, const char *format, struct arguments *a)
{
	char value[LOG_JSON_MAX];
	bool is_number, in_word = false;
	for (const char *p = format; *p;) {
		size_t n = in_word ? 0 : key_length(p);
		in_word = isalnum((unsigned char)*p) || strchr("_.%", *p);
		if (n) {
			p = add_pair(e, p, n, a);
		} else if (*p == '%') {
			p = convert(p, a, value, &is_number);
			append(e->rest, value, strlen(value));
		} else if (e->rest == &e->message && (*p == ':' || *p == ';') && p[1] == ' ') {
			e->rest = &e->detail;
			p += 2;
		} else {
			append(e->rest, p++, 1);
		}
	}
}

/* The identifier of an event, from its format. */
static void name_event(char name[static KEY_MAX], const char *format)
{
	size_t n = 0;
	bool gap = false;
	for (const char *p = format; *p && n + 2 < KEY_MAX; p++) {
		if ((*p == ':' || *p == ';' || *p == ',') && (p[1] == ' ' || !p[1]))
			break;
		if (*p == '(')
			break;
		size_t key = p == format || gap ? key_length(p) : 0;
		if (key) { /* skip the pair */
			p += key + (p[key] == '=' ? 1 : 3);
			p += strcspn(p, " ;:,");
			p -= *p != ' ';
			gap = true;
		} else if (*p == '%') {
			p += strcspn(p + 1, "diuxXocsfFgGeE%") + 1;
			gap = true;
		} else if (isalnum((unsigned char)*p)) {
			if (gap && n)
				name[n++] = '_';
			gap = false;
			name[n++] = (char)tolower((unsigned char)*p);
		} else {
			gap = true;
		}
	}
	name[n] = '\0';
	if (!n)
		strcpy(name, "message");
}

static void trim(struct piece *p)
{
	size_t skip = 0;
	while (skip < p->n && strchr(" ,;", p->bytes[skip]))
		skip++;
	while (p->n > skip && strchr(" ,;", p->bytes[p->n - 1]))
		p->n--;
	p->n -= skip;
	memmove(p->bytes, p->bytes + skip, p->n);
}

static const char *event_of(const struct log_about *about, const char *format,
			    char name[static KEY_MAX])
{
	if (about && about->event)
		return about->event;
	name_event(name, format);
	return name;
}

static void read_event(struct event *e, const struct log_about *about, const char *format,
		       va_list ap)
{
	static const struct log_about nothing;
	struct arguments a;
	about = about ? about : &nothing;
	e->rest = &e->message;
	for (const struct log_field *f = about->field; f->key; f++)
		if (f->text)
			add_field(e, f->key, f->text, false);
		else
			add_number(e, f->key, f->number);
	if (about->pairs)
		add_pairs(e, about->pairs);
	va_copy(a.ap, ap);
	read_format(e, format, &a);
	va_end(a.ap);
	trim(&e->detail);
}

size_t log_json_members(char *out, const struct log_about *about, const char *format, va_list ap)
{
	char name[KEY_MAX], fields[FIELDS_MAX];
	struct event e = {.fields = fields, .size = sizeof(fields)};
	read_event(&e, about, format, ap);
	size_t n = (size_t)snprintf(out, LOG_JSON_MAX, ",\"event\":\"%s\"",
				    event_of(about, format, name));
	n += add_string(out + n, LOG_JSON_MAX - n - e.n_fields, "message", e.message.bytes,
			e.message.n);
	memcpy(out + n, fields, e.n_fields);
	n += e.n_fields;
	if (e.detail.n)
		n += add_string(out + n, LOG_JSON_MAX - n, "detail", e.detail.bytes, e.detail.n);
	return n;
}

size_t log_json_journal(char *out, const struct log_about *about, const char *format, va_list ap)
{
	char name[KEY_MAX];
	struct event e = {.for_journal = true, .fields = out, .size = LOG_JOURNAL_MAX};
	add_journal_field(&e, "event", event_of(about, format, name));
	read_event(&e, about, format, ap);
	return e.n_fields;
}
