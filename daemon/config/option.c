#include "config/option.h"

#include "base/account.h"
#include "base/address.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Only listen.address takes udp: addresses, see config/schema.c. */
static bool takes_datagrams(const struct service_option *o)
{
	return o->choices;
}

static int64_t *number_at(const struct service_option *o, const void *base)
{
	return (int64_t *)((uintptr_t)base + o->offset);
}

static char **string_at(const struct service_option *o, const void *base)
{
	return (char **)((uintptr_t)base + o->offset);
}

static char ***list_at(const struct service_option *o, const void *base)
{
	return (char ***)((uintptr_t)base + o->offset);
}

static bool is_number(const struct service_option *o)
{
	return o->type == OPTION_NUMBER || o->type == OPTION_CHOICE || o->type == OPTION_FLAG;
}

static bool is_string(const struct service_option *o)
{
	return !is_number(o) && o->type != OPTION_LIST && o->type != OPTION_SECTIONS;
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

/* Lists. */

static void free_list(char **list)
{
	for (char **element = list; list && *element; element++)
		free(*element);
	free(list);
}

/* Append LENGTH bytes of TEXT. Returns false, with LIST unchanged, if out of memory. */
static bool append(char ***list, const char *text, size_t length)
{
	size_t n = 0;
	while (*list && (*list)[n])
		n++;
	char **longer = realloc(*list, (n + 2) * sizeof(*longer));
	if (!longer)
		return false;
	*list = longer;
	longer[n + 1] = NULL;
	longer[n] = strndup(text, length); /* NULL: the list ends here, as before */
	return longer[n];
}

/* Put BY in place of LIST if BY is COMPLETE, else free it. Returns COMPLETE. */
static bool replace_list(char ***list, char **by, bool complete)
{
	free_list(complete ? *list : by);
	if (complete)
		*list = by;
	return complete;
}

/* Make TO the list of the words of TEXT. */
static bool set_list(char ***to, const char *text)
{
	char **list = calloc(1, sizeof(*list));
	bool good = list;
	size_t length;
	for (int64_t i = 0; good; i++) {
		const char *word = word_at(text, i, &length);
		if (!length)
			break;
		good = append(&list, word, length);
	}
	return replace_list(to, list, good);
}

static bool copy_list(char ***to, char *const *from)
{
	char **list = calloc(1, sizeof(*list));
	bool good = list;
	for (; good && *from; from++)
		good = append(&list, *from, strlen(*from));
	return replace_list(to, list, good);
}

static bool equal_lists(char *const *a, char *const *b)
{
	while (*a && *b && strcmp(*a, *b) == 0)
		a++, b++;
	return !*a && !*b;
}

static void print_list(char *const *list, FILE *out)
{
	bool several = list[0] && list[1];
	if (!list[0])
		option_print_text("", out);
	if (several)
		fputc('{', out);
	for (size_t i = 0; list[i]; i++) {
		fputs(i ? ", " : "", out);
		option_print_text(list[i], out);
	}
	if (several)
		fputc('}', out);
}

bool option_append(const struct service_option *o, void *base, const char *text)
{
	return append(list_at(o, base), text, strlen(text));
}

char **option_list(const struct service_option *o, const void *base)
{
	return *list_at(o, base);
}

/* All types. */

/* Three or four digits, at most 0777. */
static bool is_mode(const char *text)
{
	size_t n = strlen(text);
	return strspn(text, "01234567") == n && (n == 3 || (n == 4 && *text == '0'));
}

void option_describe(const struct service_option *o, char *out, size_t size)
{
	char min[NUMBER_TEXT_MAX], max[NUMBER_TEXT_MAX];
	static const char *const accepted[] = {
		[OPTION_FLAG] = "true or false",
		[OPTION_TEXT] = "any text",
		[OPTION_SECRET] = "any text, which is not shown",
		[OPTION_PATH] = "an absolute path or \"\"",
		[OPTION_ADDRESS] = ("an address: " ADDRESS_SYNTAX ", or \"\" for off"),
		[OPTION_USER] = "an existing user, its number, or \"\" for none",
		[OPTION_GROUP] = "an existing group, its number, or \"\" for none",
		[OPTION_MODE] = "a file mode in octal, such as \"0660\", or \"\"",
		[OPTION_LIST] = ("a list of up to 256 texts: {\"a\", \"b\"}, \"a\" for one, or "
				 "\"\" for none"),
		[OPTION_SECTIONS] = "sections"};
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

void option_explain(const struct service_option *o, const char *text, char *out, size_t size)
{
	if (o->type == OPTION_ADDRESS)
		address_explain(text, out, size);
	else
		option_describe(o, out, size);
}

int option_set(const struct service_option *o, void *base, const char *text)
{
	struct address address;
	bool valid = true;
	switch (o->type) {
	case OPTION_NUMBER:
		return set_number(o, base, text) ? 0 : -EINVAL;
	case OPTION_CHOICE:
		return set_choice(o, base, text) ? 0 : -EINVAL;
	case OPTION_FLAG:
		return set_flag(o, base, text) ? 0 : -EINVAL;
	case OPTION_LIST:
		return set_list(list_at(o, base), text) ? 0 : -ENOMEM;
	case OPTION_SECTIONS: /* without sections at first */
		return 0;
	case OPTION_TEXT:
	case OPTION_SECRET:
	case OPTION_USER: /* option_resolve() looks it up */
	case OPTION_GROUP:
		break;
	case OPTION_PATH:
		valid = !*text || *text == '/';
		break;
	case OPTION_MODE:
		valid = !*text || is_mode(text);
		break;
	case OPTION_ADDRESS:
		valid = !*text || (address_parse(text, &address) &&
				   (!address.datagram || takes_datagrams(o)));
		break;
	}
	if (!valid)
		return -EINVAL;
	return set_string(o, base, text) ? 0 : -ENOMEM;
}

int option_resolve(const struct service_option *o, const void *base)
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
void option_print_text(const char *text, FILE *out)
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

const char *option_quote(const char *text, char out[static OPTION_QUOTED_MAX])
{
	char cut[OPTION_QUOTED_MAX / 4] = ""; /* each character needs at most four */
	FILE *to = fmemopen(out, OPTION_QUOTED_MAX, "w");
	strncpy(cut, text, sizeof(cut) - 1);
	*out = '\0';
	if (to) {
		option_print_text(cut, to);
		fclose(to);
	}
	return out;
}

void option_print(const struct service_option *o, const void *base, FILE *out)
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
	} else if (is_string(o)) {
		fputs(*string_at(o, base), out);
	}
}

void option_print_quoted(const struct service_option *o, const void *base, FILE *out)
{
	const char *quote = o->type == OPTION_CHOICE ? "\"" : "";
	if (is_string(o)) {
		option_print_text(*string_at(o, base), out);
	} else if (o->type == OPTION_LIST) {
		print_list(*list_at(o, base), out);
	} else {
		fputs(quote, out);
		option_print(o, base, out);
		fputs(quote, out);
	}
}

void option_print_default(const struct service_option *o, FILE *out)
{
	char **list = NULL;
	if (o->type == OPTION_NUMBER) {
		fputs(o->default_value, out);
	} else if (o->type != OPTION_LIST) {
		option_print_text(o->default_value, out);
	} else if (set_list(&list, o->default_value)) {
		print_list(list, out);
		free_list(list);
	}
}

bool option_equal(const struct service_option *o, const void *a, const void *b)
{
	if (o->type == OPTION_LIST)
		return equal_lists(*list_at(o, a), *list_at(o, b));
	return is_string(o) ? strcmp(*string_at(o, a), *string_at(o, b)) == 0
			    : *number_at(o, a) == *number_at(o, b);
}

bool option_is_hidden(const struct service_option *o, const void *base)
{
	return o->type == OPTION_SECRET && **string_at(o, base);
}

static void clear_sections(const struct service_option *o, struct service_sections *sections)
{
	for (size_t i = 0; i < sections->n; i++) {
		char *item = (char *)sections->item + i * o->size;
		free(*(char **)item);
		options_clear(o->options, item);
	}
	free(sections->item);
	*sections = (struct service_sections){0};
}

static bool copy_sections(const struct service_option *o, void *to, const void *from)
{
	const struct service_sections *sections = option_sections(o, from);
	clear_sections(o, option_sections(o, to));
	for (size_t i = 0; i < sections->n; i++) {
		char *item = (char *)sections->item + i * o->size;
		void *copy = option_add_section(o, to, *(char **)item);
		if (!copy)
			return false;
		for (const struct service_option *in = o->options; in->name; in++)
			if (!option_copy(in, copy, item))
				return false;
	}
	return true;
}

bool option_copy(const struct service_option *o, void *to, const void *from)
{
	if (o->type == OPTION_SECTIONS)
		return copy_sections(o, to, from);
	if (o->type == OPTION_LIST)
		return copy_list(list_at(o, to), *list_at(o, from));
	if (is_string(o))
		return set_string(o, to, *string_at(o, from));
	*number_at(o, to) = *number_at(o, from);
	return true;
}

void options_clear(const struct service_option *options, void *base)
{
	for (const struct service_option *o = options; base && o->name; o++)
		if (is_string(o)) {
			free(*string_at(o, base));
			*string_at(o, base) = NULL;
		} else if (o->type == OPTION_LIST) {
			free_list(*list_at(o, base));
			*list_at(o, base) = NULL;
		} else if (o->type == OPTION_SECTIONS) {
			clear_sections(o, option_sections(o, base));
		}
}

struct service_sections *option_sections(const struct service_option *o, const void *base)
{
	return (struct service_sections *)((uintptr_t)base + o->offset);
}

void *option_add_section(const struct service_option *o, void *base, const char *title)
{
	struct service_sections *sections = option_sections(o, base);
	char *item = realloc(sections->item, (sections->n + 1) * o->size);
	if (!item)
		return NULL;
	sections->item = item;
	item += sections->n * o->size;
	memset(item, 0, o->size);
	sections->n++;
	*(char **)item = strdup(title);
	return *(char **)item && options_init(o->options, item) ? item : NULL;
}

bool options_init(const struct service_option *options, void *base)
{
	for (const struct service_option *o = options; o->name; o++)
		if (option_set(o, base, o->default_value) < 0)
			return false;
	return true;
}

const struct service_option *options_next(const struct service_option *o)
{
	while (o->name && o->type == OPTION_SECTIONS)
		o++;
	return o->name ? o : NULL;
}
