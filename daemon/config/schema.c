#include "config/schema.h"

#include "base/account.h"
#include "base/address.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define AT(field)	 offsetof(struct config, field)
#define AT_LISTEN(field) offsetof(struct listen_config, field)
#define ADMIN_DEFAULT	 (SKELD_ADMIN ? "127.0.0.1:7008" : "")

static const struct service_option top[] = {
	{"workers", OPTION_NUMBER, AT(workers), "0", 0, WORKERS_MAX, "threads", NULL, true,
	 "Worker threads, 0 = one per CPU that the affinity and the cgroup quota grant"},
	{"user", OPTION_USER, AT(user), "", 0, 0, NULL, NULL, true,
	 "User to change to when started as root"},
	{"group", OPTION_GROUP, AT(group), "", 0, 0, NULL, NULL, true,
	 "Group to change to when started as root, \"\" = the primary group of the user"},
	{"lame_duck", OPTION_NUMBER, AT(lame_duck), "0", 0, 3600, "seconds", NULL, false,
	 "Time between a stop signal and the drain: the daemon still serves, but is not ready"},
	{"drain_timeout", OPTION_NUMBER, AT(drain_timeout), "10", 0, 3600, "seconds", NULL, false,
	 "Time that a drain waits for busy connections"},
	{0}};

static const struct service_option log_options[] = {
	{"level", OPTION_CHOICE, AT(log.level), "info", 0, 0, NULL,
	 "debug info notice warning error", false, "Least severe lines to log"},
	{"target", OPTION_CHOICE, AT(log.target), "stderr", 0, 0, NULL, "stderr syslog file", false,
	 "Destination of the log"},
	{"format", OPTION_CHOICE, AT(log.format), "text", 0, 0, NULL, "text json", false,
	 "One line of text for each event, or one JSON object"},
	{"file", OPTION_PATH, AT(log.file), "", 0, 0, NULL, NULL, false,
	 "Log file for target = \"file\"; every reload opens it again"},
	{0}};

static const struct service_option listen_options[] = {
	{"address", OPTION_ADDRESS, AT_LISTEN(address), "127.0.0.1:7007", 0, 0, NULL, NULL, false,
	 "Address to accept connections on, or to receive datagrams on"},
	{"backlog", OPTION_NUMBER, AT_LISTEN(backlog), "1024", 1, 65535, "connections", NULL, false,
	 "Connections that wait to be accepted, see listen(2)"},
	{"proxy", OPTION_FLAG, AT_LISTEN(proxy), "false", 0, 0, NULL, NULL, false,
	 "Connections begin with a PROXY protocol version 2 header, which gives the client's "
	 "address: only for an address that clients can reach through the balancer alone"},
	{0}};

static const struct service_option limits[] = {
	{"connections", OPTION_NUMBER, AT(limits.connections), "10000", 1, 10000000, "connections",
	 NULL, false, "Open connections, over all workers"},
	{"idle_timeout", OPTION_NUMBER, AT(limits.idle_timeout), "300", 0, 31536000, "seconds",
	 NULL, false,
	 "Time without a complete request or a sent byte that closes a connection, 0 = never"},
	{"buffer", OPTION_NUMBER, AT(limits.buffer), "64K", 4096, 1073741824, "bytes", NULL, false,
	 "Unsent bytes on one connection that pause reading from it"},
	{"memory", OPTION_NUMBER, AT(limits.memory), "256M", 1048576, 1LL << 40, "bytes", NULL,
	 false,
	 "Unsent and unconsumed bytes of all connections, an equal part for each worker; beyond "
	 "it, the connection with the most is closed"},
	{"outgoing", OPTION_NUMBER, AT(limits.outgoing), "1000", 0, 10000000, "connections", NULL,
	 false, "Connections that the service makes to other servers, over all workers"},
	{0}};

static const struct service_option admin[] = {
	{"address", OPTION_ADDRESS, AT(admin.address), ADMIN_DEFAULT, 0, 0, NULL, NULL, false,
	 "Address that serves metrics, health and status over HTTP, without authentication"},
	{0}};

static const struct service_option none[] = {{0}};

bool schema_section(const struct service_schema *service, size_t i, struct section *s)
{
	static const struct section sections[SCHEMA_SECTIONS - 1] = {
		{"", top, false, NULL},
		{"log", log_options, false, "The log"},
		{"listen", listen_options, true,
		 "A listening address; up to 64 sections, each with a different title"},
		{"limits", limits, false, "Limits of the daemon"},
		{"admin", admin, false, "The HTTP server for operators and monitoring"}};
	if (i < SCHEMA_SECTIONS - 1)
		*s = sections[i];
	else
		*s = (struct section){service->name, service->options ? service->options : none,
				      false, "The service"};
	return i < SCHEMA_SECTIONS;
}

const struct service_option *schema_find(const struct section *s, const char *name)
{
	for (const struct service_option *o = s->options; o->name; o++)
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

size_t schema_n_structs(const struct section *s, const struct config *c)
{
	return s->titled ? c->n_listen : 1;
}

/* As in strchr(3), the result is to be used as const if C is. */
void *schema_struct(const struct section *s, const struct config *c, size_t index)
{
	if (s->titled)
		return (void *)(uintptr_t)&c->listen[index];
	return s->options == c->schema->options ? c->service : (void *)(uintptr_t)c;
}

struct listen_config *schema_add_listen(struct config *c, const char *title)
{
	struct listen_config *l = &c->listen[c->n_listen];
	l->title = strdup(title);
	if (!l->title)
		return NULL;
	c->n_listen++;
	return schema_init(listen_options, l) ? l : NULL;
}

/* Only a listen section takes udp: addresses, see config.c. */
static bool takes_datagrams(const struct service_option *o)
{
	return o == &listen_options[0];
}

static int64_t *number_at(const struct service_option *o, const void *base)
{
	return (int64_t *)((uintptr_t)base + o->offset);
}

static char **string_at(const struct service_option *o, const void *base)
{
	return (char **)((uintptr_t)base + o->offset);
}

static bool is_string(const struct service_option *o)
{
	return o->type != OPTION_NUMBER && o->type != OPTION_CHOICE && o->type != OPTION_FLAG;
}

/* The suffixes of a number, by its unit. */
static const struct suffix {
	const char *unit;
	char letter;
	int64_t factor;
} suffixes[] = {{"bytes", 'G', 1 << 30}, {"bytes", 'M', 1 << 20}, {"bytes", 'K', 1 << 10},
		{"seconds", 'h', 3600},	 {"seconds", 'm', 60},	  {"seconds", 's', 1}};
enum { N_SUFFIXES = sizeof(suffixes) / sizeof(*suffixes) };

static bool has_unit(const struct service_option *o, const char *unit)
{
	return o->unit && strcmp(o->unit, unit) == 0;
}

/* Returns 0 if the option does not take this SUFFIX. */
static int64_t suffix_factor(const struct service_option *o, const char *suffix)
{
	for (size_t i = 0; i < N_SUFFIXES; i++)
		if (suffix[0] == suffixes[i].letter && !suffix[1] && has_unit(o, suffixes[i].unit))
			return suffixes[i].factor;
	return *suffix ? 0 : 1;
}

static bool set_number(const struct service_option *o, void *base, const char *text)
{
	char *end;
	errno = 0;
	long long n = strtoll(text, &end, 10);
	int64_t factor = suffix_factor(o, end);
	/* strtoll(3) also accepts blanks and "+" before the digits. */
	if (text + strspn(text, "-0123456789") != end || end == text || errno || !factor ||
	    n < o->min / factor || n > o->max / factor || n * factor < o->min)
		return false;
	*number_at(o, base) = n * factor;
	return true;
}

enum { NUMBER_TEXT_MAX = 24 };

/* Bytes with the largest suffix that is exact, all other numbers without a suffix. */
static const char *number_text(const struct service_option *o, int64_t n,
			       char text[static NUMBER_TEXT_MAX])
{
	size_t i = 0;
	while (i < N_SUFFIXES && (!has_unit(o, "bytes") || !has_unit(o, suffixes[i].unit) || !n ||
				  n % suffixes[i].factor))
		i++;
	if (i < N_SUFFIXES)
		snprintf(text, NUMBER_TEXT_MAX, "%lld%c", (long long)(n / suffixes[i].factor),
			 suffixes[i].letter);
	else
		snprintf(text, NUMBER_TEXT_MAX, "%lld", (long long)n);
	return text;
}

/* Returns word number INDEX and sets LENGTH, which is 0 if there are fewer words. */
static const char *word_at(const char *words, int64_t index, size_t *length)
{
	while (index-- > 0 && *words)
		words += strcspn(words, " "), words += strspn(words, " ");
	*length = strcspn(words, " ");
	return words;
}

static bool set_choice(const struct service_option *o, void *base, const char *text)
{
	size_t length;
	for (int64_t i = 0;; i++) {
		const char *word = word_at(o->choices, i, &length);
		if (!length)
			return false;
		if (length == strlen(text) && strncmp(word, text, length) == 0) {
			*number_at(o, base) = i;
			return true;
		}
	}
}

/* The words of libconfuse's cfg_parse_boolean(). */
static bool set_flag(const struct service_option *o, void *base, const char *text)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strcasecmp(text, words[i]) == 0) {
			*number_at(o, base) = (int64_t)(i % 2);
			return true;
		}
	return false;
}

static bool set_string(const struct service_option *o, void *base, const char *text)
{
	char *copy = strdup(text);
	if (!copy)
		return false;
	free(*string_at(o, base));
	*string_at(o, base) = copy;
	return true;
}

void schema_describe(const struct service_option *o, char *out, size_t size)
{
	char min[NUMBER_TEXT_MAX], max[NUMBER_TEXT_MAX];
	static const char *const accepted[] = {
		[OPTION_FLAG] = "true or false",
		[OPTION_TEXT] = "any text",
		[OPTION_SECRET] = "any text, which is not shown",
		[OPTION_PATH] = "an absolute path or \"\"",
		[OPTION_ADDRESS] = ("an address: " ADDRESS_SYNTAX ", or \"\" for off"),
		[OPTION_USER] = "an existing user, its number, or \"\" for none",
		[OPTION_GROUP] = "an existing group, its number, or \"\" for none"};
	if (o->type == OPTION_NUMBER)
		snprintf(out, size, "a whole number from %s to %s%s%s%s",
			 number_text(o, o->min, min), number_text(o, o->max, max),
			 o->unit ? " (" : "", o->unit ? o->unit : "", o->unit ? ")" : "");
	else if (o->type == OPTION_CHOICE)
		snprintf(out, size, "one of: %s", o->choices);
	else if (takes_datagrams(o))
		snprintf(out, size,
			 "an address: " ADDRESS_SYNTAX
			 ", udp:host:port for datagrams, or \"\" for off");
	else
		snprintf(out, size, "%s", accepted[o->type]);
}

const char *schema_set(const struct service_option *o, void *base, const char *text, char *expected,
		       size_t size)
{
	struct address address;
	bool valid = true;
	switch (o->type) {
	case OPTION_NUMBER:
		valid = set_number(o, base, text);
		break;
	case OPTION_CHOICE:
		valid = set_choice(o, base, text);
		break;
	case OPTION_FLAG:
		valid = set_flag(o, base, text);
		break;
	case OPTION_TEXT:
	case OPTION_SECRET:
	case OPTION_USER: /* schema_resolve() looks it up */
	case OPTION_GROUP:
		break;
	case OPTION_PATH:
		valid = !*text || *text == '/';
		break;
	case OPTION_ADDRESS:
		valid = !*text || (address_parse(text, &address) &&
				   (!address.datagram || takes_datagrams(o)));
		break;
	}
	if (valid && (!is_string(o) || set_string(o, base, text)))
		return NULL;
	errno = valid ? ENOMEM : EINVAL;
	if (!valid && o->type == OPTION_ADDRESS)
		address_explain(text, expected, size);
	else
		schema_describe(o, expected, size);
	return expected;
}

int schema_resolve(const struct service_option *o, const void *base)
{
	struct account account;
	const char *name = is_string(o) ? *string_at(o, base) : "";
	if (*name && o->type == OPTION_USER)
		return account_find_user(name, &account);
	if (*name && o->type == OPTION_GROUP)
		return account_find_group(name, &account.gid);
	return 0;
}

/* A double-quoted string, which libconfuse reads back to the same bytes. */
void schema_print_text(const char *text, FILE *out)
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

const char *schema_quote(const char *text, char out[static SCHEMA_QUOTED_MAX])
{
	char cut[SCHEMA_QUOTED_MAX / 4] = ""; /* each character needs at most four */
	FILE *to = fmemopen(out, SCHEMA_QUOTED_MAX, "w");
	strncpy(cut, text, sizeof(cut) - 1);
	*out = '\0';
	if (to) {
		schema_print_text(cut, to);
		fclose(to);
	}
	return out;
}

void schema_print(const struct service_option *o, const void *base, FILE *out)
{
	char number[NUMBER_TEXT_MAX];
	size_t length;
	if (o->type == OPTION_NUMBER) {
		fputs(number_text(o, *number_at(o, base), number), out);
	} else if (o->type == OPTION_CHOICE) {
		const char *word = word_at(o->choices, *number_at(o, base), &length);
		fwrite(word, 1, length, out);
	} else if (o->type == OPTION_FLAG) {
		fputs(*number_at(o, base) ? "true" : "false", out);
	} else {
		fputs(*string_at(o, base), out);
	}
}

void schema_print_quoted(const struct service_option *o, const void *base, FILE *out)
{
	const char *quote = o->type == OPTION_CHOICE ? "\"" : "";
	if (is_string(o)) {
		schema_print_text(*string_at(o, base), out);
		return;
	}
	fputs(quote, out);
	schema_print(o, base, out);
	fputs(quote, out);
}

void schema_print_default(const struct service_option *o, FILE *out)
{
	if (o->type == OPTION_NUMBER)
		fputs(o->default_value, out);
	else
		schema_print_text(o->default_value, out);
}

bool schema_equal(const struct service_option *o, const void *a, const void *b)
{
	return is_string(o) ? strcmp(*string_at(o, a), *string_at(o, b)) == 0
			    : *number_at(o, a) == *number_at(o, b);
}

bool schema_is_empty(const struct service_option *o, const void *base)
{
	return is_string(o) && !**string_at(o, base);
}

bool schema_copy(const struct service_option *o, void *to, const void *from)
{
	if (is_string(o))
		return set_string(o, to, *string_at(o, from));
	*number_at(o, to) = *number_at(o, from);
	return true;
}

void schema_clear(const struct service_option *options, void *base)
{
	for (const struct service_option *o = options; base && o->name; o++)
		if (is_string(o)) {
			free(*string_at(o, base));
			*string_at(o, base) = NULL;
		}
}

bool schema_init(const struct service_option *options, void *base)
{
	char expected[256];
	for (const struct service_option *o = options; o->name; o++)
		if (schema_set(o, base, o->default_value, expected, sizeof(expected)))
			return false;
	return true;
}
