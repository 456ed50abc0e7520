#include "base/schema.h"

#include "base/address.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AT(field)     offsetof(struct config, field)
#define ADMIN_INITIAL (SKELD_ADMIN ? "127.0.0.1:7008" : "")

static const struct option top[] = {
	{"workers", OPTION_NUMBER, AT(workers), "0", 0, WORKERS_MAX, "threads", NULL, true,
	 "Threads that serve, 0 = one per CPU"},
	{"user", OPTION_TEXT, AT(user), "", 0, 0, NULL, NULL, true,
	 "User to become when started as root"},
	{"group", OPTION_TEXT, AT(group), "", 0, 0, NULL, NULL, true,
	 "Group to become when started as root, \"\" = the user's own"},
	{"lame_duck", OPTION_NUMBER, AT(lame_duck), "0", 0, 3600, "seconds", NULL, false,
	 "How long a stop goes on serving, no longer ready, before it drains"},
	{"drain_timeout", OPTION_NUMBER, AT(drain_timeout), "10", 0, 3600, "seconds", NULL, false,
	 "How long a stop waits for connections that are busy"},
	{0}};

static const struct option log_options[] = {
	{"level", OPTION_CHOICE, AT(log.level), "info", 0, 0, NULL,
	 "debug info notice warning error", false, "The least urgent lines that are written"},
	{"target", OPTION_CHOICE, AT(log.target), "stderr", 0, 0, NULL, "stderr syslog file", false,
	 "Where lines go"},
	{"file", OPTION_PATH, AT(log.file), "", 0, 0, NULL, NULL, false,
	 "The file for target = \"file\", opened anew by every reload"},
	{0}};

static const struct option listen_options[] = {
	{"address", OPTION_ADDRESS, offsetof(struct listen_config, address), "127.0.0.1:7007", 0, 0,
	 NULL, NULL, false, "Where to accept connections"},
	{"backlog", OPTION_NUMBER, offsetof(struct listen_config, backlog), "1024", 1, 65535,
	 "connections", NULL, false, "Connections that wait to be accepted, see listen(2)"},
	{"proxy", OPTION_FLAG, offsetof(struct listen_config, proxy), "false", 0, 0, NULL, NULL,
	 false,
	 "Connections begin with a PROXY protocol version 2 header, and their client is who it "
	 "says: for a balancer that nobody can go around"},
	{0}};

static const struct option limits[] = {
	{"connections", OPTION_NUMBER, AT(limits.connections), "10000", 1, 10000000, "connections",
	 NULL, false, "How many may be open, over all workers"},
	{"idle_timeout", OPTION_NUMBER, AT(limits.idle_timeout), "300", 0, 31536000, "seconds",
	 NULL, false,
	 "A connection is closed after this without a whole request or a byte sent, 0 = never"},
	{"buffer", OPTION_NUMBER, AT(limits.buffer), "1048576", 4096, 1073741824, "bytes", NULL,
	 false, "Unsent on one connection before reading from it pauses"},
	{0}};

static const struct option admin[] = {
	{"address", OPTION_ADDRESS, AT(admin.address), ADMIN_INITIAL, 0, 0, NULL, NULL, false,
	 "Where metrics, health and status are served by HTTP, to whoever can connect"},
	{0}};

static const struct option none[] = {{0}};

bool schema_section(const struct config_service *service, size_t i, struct section *s)
{
	static const struct section sections[SCHEMA_SECTIONS - 1] = {
		{"", top, false, NULL},
		{"log", log_options, false, "The log"},
		{"listen", listen_options, true,
		 "A listening address; up to 64 sections, each with a title of its own"},
		{"limits", limits, false, "What one daemon takes on"},
		{"admin", admin, false, "For operators and their tools"}};
	if (i < SCHEMA_SECTIONS - 1) {
		*s = sections[i];
		return true;
	}
	*s = (struct section){service->name, service->options ? service->options : none, false,
			      "The service"};
	return i < SCHEMA_SECTIONS;
}

const struct option *schema_find(const struct section *s, const char *name)
{
	for (const struct option *o = s->options; o->name; o++)
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

void *schema_base(const struct section *s, struct config *c, size_t index)
{
	if (s->titled)
		return &c->listen[index];
	return s->options == c->schema->options ? c->service : c;
}

static int64_t *number_at(const struct option *o, const void *base)
{
	return (int64_t *)((uintptr_t)base + o->offset);
}

static char **text_at(const struct option *o, const void *base)
{
	return (char **)((uintptr_t)base + o->offset);
}

static bool is_text(const struct option *o)
{
	return o->type != OPTION_NUMBER && o->type != OPTION_CHOICE && o->type != OPTION_FLAG;
}

static bool set_number(const struct option *o, void *base, const char *text)
{
	char *end;
	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (text[strspn(text, "-0123456789")] || end == text || *end || errno || n < o->least ||
	    n > o->most)
		return false;
	*number_at(o, base) = n;
	return true;
}

/* The INDEX-th of the words; its length in LENGTH, 0 past the last. */
static const char *word_at(const char *words, int64_t index, size_t *length)
{
	while (index-- > 0 && *words)
		words += strcspn(words, " "), words += strspn(words, " ");
	*length = strcspn(words, " ");
	return words;
}

static bool set_choice(const struct option *o, void *base, const char *text)
{
	size_t length;
	for (int64_t i = 0;; i++) {
		const char *word = word_at(o->words, i, &length);
		if (!length)
			return false;
		if (length == strlen(text) && strncmp(word, text, length) == 0) {
			*number_at(o, base) = i;
			return true;
		}
	}
}

static bool set_flag(const struct option *o, void *base, const char *text)
{
	*number_at(o, base) = strcmp(text, "true") == 0;
	return *number_at(o, base) || strcmp(text, "false") == 0;
}

static bool set_text(const struct option *o, void *base, const char *text)
{
	char *copy = strdup(text);
	if (!copy)
		return false;
	free(*text_at(o, base));
	*text_at(o, base) = copy;
	return true;
}

void schema_accepts(const struct option *o, char *out, size_t size)
{
	switch (o->type) {
	case OPTION_NUMBER:
		snprintf(out, size, "a whole number from %lld to %lld%s%s%s", (long long)o->least,
			 (long long)o->most, o->unit ? " (" : "", o->unit ? o->unit : "",
			 o->unit ? ")" : "");
		break;
	case OPTION_CHOICE:
		snprintf(out, size, "one of: %s", o->words);
		break;
	case OPTION_FLAG:
		snprintf(out, size, "true or false");
		break;
	case OPTION_TEXT:
		snprintf(out, size, "any text");
		break;
	case OPTION_PATH:
		snprintf(out, size, "an absolute path or \"\"");
		break;
	case OPTION_ADDRESS:
		snprintf(out, size, "an address: " ADDRESS_ACCEPTED ", or \"\" for off");
		break;
	}
}

const char *schema_set(const struct option *o, void *base, const char *text, char *why, size_t size)
{
	struct address address;
	bool good = false, stored = true;
	switch (o->type) {
	case OPTION_NUMBER:
		good = set_number(o, base, text);
		break;
	case OPTION_CHOICE:
		good = set_choice(o, base, text);
		break;
	case OPTION_FLAG:
		good = set_flag(o, base, text);
		break;
	case OPTION_TEXT:
		good = true;
		break;
	case OPTION_PATH:
		good = !*text || *text == '/';
		break;
	case OPTION_ADDRESS:
		good = !*text || address_parse(text, &address);
		break;
	}
	if (good && is_text(o))
		stored = set_text(o, base, text);
	if (good && stored)
		return NULL;
	errno = stored ? EINVAL : ENOMEM;
	if (!stored)
		snprintf(why, size, "more memory");
	else
		schema_accepts(o, why, size);
	return why;
}

/* As a double-quoted string that libconfuse reads back to the same bytes. */
static void show_text(const char *text, FILE *out)
{
	fputc('"', out);
	for (const char *p = text; *p; p++) {
		unsigned char ch = (unsigned char)*p;
		if (ch == '"' || ch == '\\' || ch == '$')
			fprintf(out, "\\%c", ch);
		else if (ch < 0x20 || ch == 0x7f)
			fprintf(out, "\\x%02x", ch);
		else
			fputc(ch, out);
	}
	fputc('"', out);
}

void schema_put(const struct option *o, const void *base, FILE *out)
{
	size_t length;
	if (o->type == OPTION_NUMBER) {
		fprintf(out, "%lld", (long long)*number_at(o, base));
	} else if (o->type == OPTION_CHOICE) {
		const char *word = word_at(o->words, *number_at(o, base), &length);
		fwrite(word, 1, length, out);
	} else if (o->type == OPTION_FLAG) {
		fputs(*number_at(o, base) ? "true" : "false", out);
	} else {
		fputs(*text_at(o, base), out);
	}
}

void schema_show(const struct option *o, const void *base, FILE *out)
{
	const char *quote = o->type == OPTION_CHOICE ? "\"" : "";
	if (is_text(o)) {
		show_text(*text_at(o, base), out);
		return;
	}
	fputs(quote, out);
	schema_put(o, base, out);
	fputs(quote, out);
}

void schema_show_initial(const struct option *o, FILE *out)
{
	if (o->type == OPTION_NUMBER)
		fputs(o->initial, out);
	else
		show_text(o->initial, out);
}

bool schema_equal(const struct option *o, const void *a, const void *b)
{
	return is_text(o) ? strcmp(*text_at(o, a), *text_at(o, b)) == 0
			  : *number_at(o, a) == *number_at(o, b);
}

bool schema_copy(const struct option *o, void *to, const void *from)
{
	if (is_text(o))
		return set_text(o, to, *text_at(o, from));
	*number_at(o, to) = *number_at(o, from);
	return true;
}

void schema_clear(const struct option *options, void *base)
{
	for (const struct option *o = options; base && o->name; o++)
		if (is_text(o)) {
			free(*text_at(o, base));
			*text_at(o, base) = NULL;
		}
}

bool schema_init(const struct option *options, void *base)
{
	char why[256];
	for (const struct option *o = options; o->name; o++)
		if (schema_set(o, base, o->initial, why, sizeof(why)))
			return false;
	return true;
}
