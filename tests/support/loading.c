#include "loading.h"

#include "config/codec.h"
#include "config/loader.h"
#include "config/option.h"
#include "config/schema.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct service_option thing_options[] = {
	{"size", OPTION_NUMBER, offsetof(struct thing, size), "1", -5, 5, "inches", NULL, false,
	 .help = "How large"},
	{"pool", OPTION_NUMBER, offsetof(struct thing, pool), "2", 0, INT64_MAX, NULL, NULL, true,
	 .help = "How many"},
	{"colour", OPTION_CHOICE, offsetof(struct thing, colour), "green", 0, 0, NULL,
	 "red green blue", false, .help = "In which light"},
	{"name", OPTION_TEXT, offsetof(struct thing, name), "it's \"$it\"", 0, 0, NULL, NULL, false,
	 .help = "What to call it"},
	{"where", OPTION_PATH, offsetof(struct thing, where), "/srv", 0, 0, NULL, NULL, false,
	 .help = "Its place"},
	{"peer", OPTION_ADDRESS, offsetof(struct thing, peer), "[::1]:7", 0, 0, NULL, NULL, false,
	 .help = "The peer"},
	{"token", OPTION_SECRET, offsetof(struct thing, token), "", 0, 0, NULL, NULL, false,
	 .help = "What proves who it is"},
	{"key", OPTION_SECRET, offsetof(struct thing, key), "", 0, 0, NULL, NULL, true,
	 .help = "What it is locked with"},
	{"tags", OPTION_LIST, offsetof(struct thing, tags), "", 0, 0, NULL, NULL, false,
	 .help = "What it is found under"},
	{"marks", OPTION_LIST, offsetof(struct thing, marks), "one two", 0, 0, NULL, NULL, true,
	 .help = "What is written on it"},
	{"mode", OPTION_MODE, offsetof(struct thing, mode), "0640", 0, 0, NULL, NULL, false,
	 .help = "Who may touch it"},
	{0}};
const struct service_schema thing_schema = {"thing", thing_options, .size = sizeof(struct thing),
					    .datagrams = true};

static void expect_no_line(void *context, const char *line)
{
	(void)context;
	cr_assert_fail("not the result of the loader: %s", line);
}

static void expect_same_place(const struct location *a, const struct location *b)
{
	cr_assert_eq(a->line, b->line);
	cr_assert(a->file == b->file || strcmp(a->file, b->file) == 0, "%s, %s", a->file, b->file);
}

static void expect_same(const struct config *a, struct config *b)
{
	cr_assert(config_compare(a, b, expect_no_line, NULL));
	cr_assert_eq(a->warnings.n, b->warnings.n);
	for (size_t i = 0; i < errors_stored(&a->warnings); i++)
		cr_assert_str_eq(errors_text(&a->warnings, i), errors_text(&b->warnings, i));
	expect_same_place(&a->log.location, &b->log.location);
	expect_same_place(&a->admin.location, &b->admin.location);
	expect_same_place(&a->service_location, &b->service_location);
	cr_assert_eq(a->n_listen, b->n_listen);
	for (size_t i = 0; i < a->n_listen; i++) {
		cr_assert_str_eq(a->listen[i].title, b->listen[i].title);
		cr_assert_eq(a->listen[i].gid, b->listen[i].gid);
		expect_same_place(&a->listen[i].location, &b->listen[i].location);
	}
	cr_assert_eq(a->n_tls, b->n_tls);
	for (size_t i = 0; i < a->n_tls; i++) {
		cr_assert_str_eq(a->tls[i].title, b->tls[i].title);
		expect_same_place(&a->tls[i].location, &b->tls[i].location);
	}
}

/* In this process, where the sanitizers see overruns and leaks. */
static void expect_sent(const struct config *c, const struct errors *e)
{
	struct errors its = {0};
	struct config *taken;
	char *bytes = NULL;
	size_t n;
	FILE *out = open_memstream(&bytes, &n);
	MUST(out);
	config_encode(c, e, out);
	MUST(fclose(out) == 0);
	cr_assert(config_decode(bytes, n, &thing_schema, &taken, &its));
	cr_assert(its.n == e->n && its.transient == e->transient && !taken == !c);
	if (c)
		expect_same(c, taken);
	config_unref(taken);
	errors_clear(&its);
	free(bytes);
}

/* Load FILE in a loader process, too, and expect the same result. */
static void expect_same_from_loader(const char *file, const struct config *c,
				    const struct errors *e)
{
	struct errors its = {0};
	struct loader loader = {file, &thing_schema, .timeout_seconds = ANY_SECONDS};
	struct config *loaded = loader_load(&loader, &its);
	loader_stop(&loader);
	cr_assert_eq(!c, !loaded, "%s", errors_text(&its, 0));
	cr_assert_eq(e->n, its.n);
	for (size_t i = 0; i < errors_stored(e); i++)
		cr_assert_str_eq(errors_text(&its, i), errors_text(e, i));
	if (c)
		expect_same(c, loaded);
	config_unref(loaded);
	errors_clear(&its);
}

struct config *load_file(const char *file, struct errors *e)
{
	static bool compared[2]; /* a rejected file, an accepted file */
	struct config *c = config_parse(file, &thing_schema, e);
	expect_sent(c, e);
	if (!compared[c != NULL])
		expect_same_from_loader(file, c, e);
	compared[c != NULL] = true;
	return c;
}

struct config *load(const char *text, struct errors *e)
{
	file_write("skeld.conf", text);
	return load_file("skeld.conf", e);
}

struct config *load_good(const char *text)
{
	struct errors e = {0};
	struct config *c = load(text, &e);
	cr_assert(c && e.n == 0, "%s\nrefused: %s", text, errors_text(&e, 0));
	return c;
}

void expect_errors(const char *text, const char *const begins[], size_t n)
{
	struct errors e = {0};
	cr_assert_null(load(text, &e), "accepted:\n%s", text);
	for (size_t i = 0; i < e.n || i < n; i++) {
		const char *is = i < e.n ? errors_text(&e, i) : "nothing";
		const char *should = i < n ? begins[i] : "nothing";
		cr_assert_eq(strncmp(is, should, strlen(should)), 0, "%s\nerror %zu: %s\nnot: %s",
			     text, i, is, should);
	}
	errors_clear(&e);
}

void expect_error(const char *text, const char *begins)
{
	expect_errors(text, &begins, 1);
}

char *printed(const struct config *c)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	MUST(out);
	config_print(c, out);
	MUST(fclose(out) == 0);
	return text;
}

char *shown(const struct config *c, const char *section, const char *name)
{
	char *text = NULL;
	size_t size, i = 0;
	struct section s;
	while (schema_section(c->schema, i, &s) && strcmp(s.name, section) != 0)
		i++;
	const struct service_option *o = schema_find(&s, name);
	cr_assert(o, "there is no option %s %s", section, name);
	FILE *out = open_memstream(&text, &size);
	MUST(out);
	option_print_quoted(o, schema_struct(&s, (struct config *)(uintptr_t)c, 0), out);
	MUST(fclose(out) == 0);
	return text;
}
