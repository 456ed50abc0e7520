/* config/config: a printed configuration loads to the same, and differences are reported. */
/* test: NEEDS ADMIN */
#include "config/option.h"
#include "config/schema.h"
#include "fixture.h"
#include "loading.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(config_print, .init = fixture_enter, .fini = fixture_leave);
TestSuite(config_compare, .init = fixture_enter, .fini = fixture_leave);

/* Load the printed form of a configuration, and expect the same printed form. The caller frees
 * both. */
static struct config *load_printed(const struct config *c)
{
	char *text = printed(c);
	struct config *again = load_good(text);
	char *text_again = printed(again);
	cr_assert_str_eq(text_again, text);
	free(text);
	free(text_again);
	return again;
}

Test(config_print, printed_defaults_load_to_the_defaults)
{
	struct config *c = load_good("#\n"), *again = load_printed(c);
	config_unref(c);
	config_unref(again);
	EXPECT_NOTHING_LEFT();
}

/* VALUE, with the escapes of C, gives these bytes, also after it was printed and loaded. */
static void expect_kept(const char *written, const char *bytes)
{
	char text[512];
	snprintf(text, sizeof(text), "thing {\n\tname = %s\n}\nlisten %s { }\n", written, written);
	struct config *c = load_good(text), *again = load_printed(c);
	const struct config *both[] = {c, again};
	for (size_t i = 0; i < 2; i++) {
		const struct thing *thing = both[i]->service;
		cr_assert_str_eq(thing->name, bytes, "%s is \"%s\"", written, thing->name);
		cr_assert_str_eq(both[i]->listen[0].title, bytes);
	}
	config_unref(c);
	config_unref(again);
}

Test(config_print, special_characters_in_strings_are_kept)
{
	expect_kept("\"\"", "");
	expect_kept("\"a b\"", "a b");
	expect_kept("'it is \"quoted\"'", "it is \"quoted\"");
	expect_kept("\"it's\"", "it's");
	expect_kept("\"back\\\\slash\"", "back\\slash");
	expect_kept("\"ends in \\\\\"", "ends in \\");
	expect_kept("'\\\\\\''", "\\'");
	expect_kept("\"\\\\x41\\\\n\"", "\\x41\\n");
	expect_kept("\"$ $$ $HOME\"", "$ $$ $HOME");
	expect_kept("'${HOME}'", "${HOME}");
	expect_kept("\"\\${HOME} \\$\\{HOME}\"", "${HOME} ${HOME}");
	expect_kept("'${'", "${");
	expect_kept("'$'", "$");
	expect_kept("\"# no // comment /* in */ here\"", "# no // comment /* in */ here");
	expect_kept("'} = { ( ) , +='", "} = { ( ) , +=");
	expect_kept("\"\\n\\t\\r\\x02\\x1f\\x7f\\033[31m\"", "\n\t\r\x02\x1f\x7f\x1b[31m");
	expect_kept("\"\\x1a\\x62\"", "\x1a"
				      "b");
	expect_kept("\"line\\nline\"", "line\nline");
	expect_kept("\"a\tb\"", "a\tb");
	expect_kept("\"Gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\"",
		    "Gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
	expect_kept("\"\xff\xc3\"", "\xff\xc3");
	expect_kept("plain", "plain");
	EXPECT_NOTHING_LEFT();
}

Test(config_print, each_control_character_is_kept)
{
	for (int ch = 1; ch < 0x100; ch++) {
		char written[32], bytes[] = {'a', (char)ch, '1', '\0'};
		snprintf(written, sizeof(written), "\"a\\x%02x1\"", ch);
		expect_kept(written, bytes);
	}
	EXPECT_NOTHING_LEFT();
}

Test(config_print, variables_are_printed_with_their_values)
{
	MUST(setenv("SKELD_UNIT", "a $b \"c\" ${HOME} \\ \n", 1) == 0);
	expect_kept("\"${SKELD_UNIT}\"", "a $b \"c\" ${HOME} \\ \n");
	expect_kept("${SKELD_UNIT}", "a $b \"c\" ${HOME} \\ \n");
	MUST(unsetenv("SKELD_UNIT") == 0);
	expect_kept("\"<${SKELD_UNIT:-}>\"", "<>");
	EXPECT_NOTHING_LEFT();
}

Test(config_print, every_listen_section_is_printed)
{
	struct config *c = load_good("listen a { address = \"unix:/a\" backlog = 1 }\n"
				     "listen \"\" { address = \"[0::0]:1\" }\n"
				     "listen \"two words\" { address = \"\" }\n");
	struct config *again = load_printed(c);
	cr_assert_eq(again->n_listen, 3);
	for (size_t i = 0; i < 3; i++) {
		cr_assert_str_eq(again->listen[i].title, c->listen[i].title);
		cr_assert_str_eq(again->listen[i].address, c->listen[i].address);
		cr_assert_eq(again->listen[i].backlog, c->listen[i].backlog);
	}
	config_unref(c);
	config_unref(again);
	EXPECT_NOTHING_LEFT();
}

Test(config_print, each_option_is_printed_with_its_help)
{
	static const char *const parts[] = {
		"# Worker threads, 0 = one per CPU that the affinity and the cgroup quota grant.\n"
		"# A whole number from 0 to 256 (threads); default 0; needs a restart.\n"
		"workers = 3\n",
		"\n# The service.\nthing {\n\t# How large.\n"
		"\t# A whole number from -5 to 5 (inches); default 1; live.\n\tsize = 1\n",
		"\t# In which light.\n\t# One of: red green blue; default \"green\"; live.\n"
		"\tcolour = \"red\"\n",
		"\t# What to call it.\n\t# Any text; default \"it's \\\"\\$it\\\"\"; live.\n"
		"\tname = \"\"\n",
		"\t# Its place.\n\t# An absolute path or \"\"; default \"/srv\"; live.\n",
		"\t# The peer.\n\t# An address: host:port, [v6]:port or unix:/path (numeric, "
		"names are not looked up), or \"\" for off; default \"[::1]:7\"; live.\n"};
	struct config *c = load_good("workers = 3\nthing { colour = red name = \"\" }\n");
	char *text = printed(c);
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		cr_assert(strstr(text, parts[i]), "%s\nis not in\n%s", parts[i], text);
	free(text);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

/* Expect the default, and live or restart, in the comments above option O of section S. */
static void expect_help_text(const char *text, const struct section *s,
			     const struct service_option *o)
{
	char wanted[512], *shown_initial = NULL;
	size_t size;
	FILE *out = open_memstream(&shown_initial, &size);
	MUST(out);
	option_print_default(o, out);
	MUST(fclose(out) == 0);
	const char *at = *s->name ? strstr(text, s->name) : text;
	const char *indent = *s->name ? "\t" : "";
	snprintf(wanted, sizeof(wanted), "%s# %s.\n%s# ", indent, o->help, indent);
	cr_assert(at && (at = strstr(at, wanted)), "%s.%s has no help", s->name, o->name);
	snprintf(wanted, sizeof(wanted), "; default %s; %s.\n%s%s = ", shown_initial,
		 o->needs_restart ? "needs a restart" : "live", indent, o->name);
	at = strstr(at, "\n") + 1;
	cr_assert_eq(strncmp(strstr(at, "; default "), wanted, strlen(wanted)), 0, "%s.%s: %s",
		     s->name, o->name, at);
	free(shown_initial);
}

Test(config_print, every_option_is_printed_in_the_same_form)
{
	struct config *c = load_good("#\n");
	char *text = printed(c), *line;
	struct section s;
	size_t n = 0;
	/* Sections that are not there are printed as comments. */
	for (line = text; (line = strchr(line, '#')); line++)
		if ((line == text || line[-1] == '\n') && line[1] != ' ')
			memmove(line, line + 1, strlen(line));
	for (size_t i = 0; schema_section(c->schema, i, &s); i++)
		for (const struct service_option *o = s.options; o->name; o++, n++)
			expect_help_text(text, &s, o);
	cr_assert_gt(n, 15);
	free(text);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

struct lines {
	char text[2048];
};

static void note_line(void *context, const char *line)
{
	struct lines *l = context;
	cr_assert_lt(strlen(l->text) + strlen(line) + 2, sizeof(l->text));
	strcat(l->text, line);
	strcat(l->text, "\n");
}

/* Expect LINES as the differences from OLD to NEW. Returns the changed NEW, which the caller
 * frees. */
static struct config *expect_lines(const char *old, const char *new, const char *lines)
{
	struct lines differences = {""};
	struct config *before = load_good(old), *after = load_good(new);
	config_compare(before, after, note_line, &differences);
	cr_assert_str_eq(differences.text, lines, "%s", differences.text);
	config_unref(before);
	return after;
}

Test(config_compare, equal_configurations_have_no_differences)
{
	static const char text[] = "workers = 3\nlisten a { }\nlisten b { address = \"\" }\n"
				   "thing { name = x }\n";
	config_unref(expect_lines(text, text, ""));
	config_unref(expect_lines(text,
				  "listen b { address = \"\" }\nthing { name = \"x\" }\n"
				  "listen a { }\nworkers = 3\n",
				  ""));
	EXPECT_NOTHING_LEFT();
}

Test(config_compare, differences_of_each_type_are_reported)
{
	struct config *c = expect_lines(
		"drain_timeout = 10\n",
		"drain_timeout = 60\nlog { level = debug file = /x }\nadmin { address = \"\" }\n"
		"limits { idle_timeout = 60 }\n"
		"thing { size = -5 colour = red name = 'a\"$\\\\' where = \"\" peer = "
		"\"0.0.0.0:1\" }\n",
		"drain_timeout: 10 -> 60\n"
		"log.level: \"info\" -> \"debug\"\n"
		"log.file: \"\" -> \"/x\"\n"
		"limits.idle_timeout: 300 -> 60\n"
		"admin.address: \"127.0.0.1:7008\" -> \"\"\n"
		"thing.size: 1 -> -5\n"
		"thing.colour: \"green\" -> \"red\"\n"
		"thing.name: \"it's \\\"\\$it\\\"\" -> \"a\\\"\\$\\\\\"\n"
		"thing.where: \"/srv\" -> \"\"\n"
		"thing.peer: \"[::1]:7\" -> \"0.0.0.0:1\"\n");
	cr_assert_eq(c->drain_timeout, 60);
	cr_assert_eq(((const struct thing *)c->service)->size, -5);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_compare, an_option_that_needs_a_restart_keeps_its_value)
{
	struct config *c =
		expect_lines("workers = 2\nuser = root\n",
			     "workers = 4\nuser = \"daemon\"\ngroup = \"0\"\nthing { pool = 3 }\n",
			     "workers: 2 -> 4 needs a restart, keeping 2\n"
			     "user: \"root\" -> \"daemon\" needs a restart, keeping \"root\"\n"
			     "group: \"\" -> \"0\" needs a restart, keeping \"\"\n"
			     "thing.pool: 2 -> 3 needs a restart, keeping 2\n");
	cr_assert_eq(c->workers, 2);
	cr_assert_str_eq(c->user, "root");
	cr_assert_str_eq(c->group, "");
	cr_assert_eq(((const struct thing *)c->service)->pool, 2);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_compare, differences_of_listen_sections_have_their_title)
{
	static const char a[] = "listen a { address = \"127.0.0.1:1\" }\n";
	static const char both[] = "listen a { address = \"127.0.0.1:1\" }\n"
				   "listen b { address = \"127.0.0.1:2\" backlog = 5 }\n";
	config_unref(expect_lines(a, both, "listen \"b\" added: 127.0.0.1:2\n"));
	config_unref(expect_lines(both, a, "listen \"b\" removed: 127.0.0.1:2\n"));
	config_unref(expect_lines(a, "listen new { address = \"127.0.0.1:1\" }\n",
				  "listen \"a\" removed: 127.0.0.1:1\n"
				  "listen \"new\" added: 127.0.0.1:1\n"));
	config_unref(expect_lines(both,
				  "listen b { address = \"127.0.0.1:3\" backlog = 6 }\n"
				  "listen a { address = \"127.0.0.1:1\" }\n",
				  "listen \"b\".address: \"127.0.0.1:2\" -> \"127.0.0.1:3\"\n"
				  "listen \"b\".backlog: 5 -> 6\n"));
	EXPECT_NOTHING_LEFT();
}
