/* config/parse: all mistakes are reported together, each with FILE:LINE. */
#include "fixture.h"
#include "loading.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(config_errors, .init = fixture_enter, .fini = fixture_leave);

Test(config_errors, all_errors_are_reported)
{
	static const char *const begins[] = {"skeld.conf:1: drain_timeout = \"-1\"",
					     "skeld.conf:2: log.level = \"loud\"",
					     "skeld.conf:4: limits.buffer = \"much\"",
					     "skeld.conf:5: limits.connections",
					     "skeld.conf:7: listen.address = \"nowhere\"",
					     "skeld.conf:8: listen.backlog = \"0\"",
					     "skeld.conf:10: thing.size = \"6\"",
					     "skeld.conf:5: unknown option limits.speed",
					     "skeld.conf:11: unknown option colour"};
	expect_errors("drain_timeout = -1\n"
		      "log { level = \"loud\" }\n"
		      "limits {\n"
		      "\tbuffer = \"much\"\n"
		      "\tspeed = 3 connections = 0\n"
		      "}\n"
		      "listen \"b\" { address = \"nowhere\"\n"
		      "backlog = 0\n"
		      "}\n"
		      "thing { size = 6 }\n"
		      "colour = \"blue\"\n",
		      begins, sizeof(begins) / sizeof(*begins));
	EXPECT_NOTHING_LEFT();
}

/* A start fails with 1 then: a service manager tries again, as it does not with 78. */
Test(config_errors, a_network_that_is_down_is_transient)
{
	static const int errors[] = {EIO, ESTALE, ETIMEDOUT, ENOTCONN, EHOSTDOWN, ECONNREFUSED};
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		cr_assert(errors_is_transient(errors[i]), "%s", strerror(errors[i]));
	cr_assert(!errors_is_transient(ENOENT) && !errors_is_transient(EACCES));
}

Test(config_errors, lines_are_right_after_each_kind_of_comment)
{
	expect_error("# one\n#\nworkers = x\n", "skeld.conf:3: workers");
	expect_error("// one\n//\nworkers = x\n", "skeld.conf:3: workers");
	expect_error("/* one\n\n four */ /* five\n */workers = x\n", "skeld.conf:4: workers");
	expect_error("/**/\n/***/\n/*/*/\n/* // # \" ' */\nworkers = x\n", "skeld.conf:5: workers");
	expect_error("log { # }\n// }\n/* }\n*/ level = x }\n", "skeld.conf:4: log.level");
	expect_error("workers # =\n= // 1\n/*\n*/ x\n", "skeld.conf:4: workers");
	expect_error("# \"\n// '\n/* \\*/\nworkers = x\n", "skeld.conf:4: workers");
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, lines_are_right_after_strings)
{
	expect_error("thing { name = \"a\\\nb\" }\nworkers = x\n", "skeld.conf:3: workers");
	expect_error("thing { name = 'a\\\nb' }\nworkers = x\n", "skeld.conf:3: workers");
	expect_error("thing { name = \"# // /*\" }\nlisten '/* # //' { }\nworkers = x\n",
		     "skeld.conf:3: workers");
	expect_error("thing { name = \"\\\"\\\n#\" } listen '\\'\\\n#' { }\nworkers = x\n",
		     "skeld.conf:4: workers");
	expect_error("thing { name = a\\x }\nworkers = x\n", "skeld.conf:2: workers");
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, unknown_options_are_reported_with_their_line)
{
	expect_error("\nspeed = 1\n", "skeld.conf:2: unknown option speed");
	expect_error("limits {\nspeed = 1 }\n", "skeld.conf:2: unknown option limits.speed");
	expect_error("listen x { addres = \"\" }\n", "skeld.conf:1: unknown option listen.addres");
	expect_error("thing { banner = 1 }\n", "skeld.conf:1: unknown option thing.banner");
	expect_error("Workers = 1\n", "skeld.conf:1: unknown option Workers");
	expect_error("level = debug\n", "skeld.conf:1: unknown option level");
	expect_error("root = 1\n", "skeld.conf:1: unknown option root");
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, a_value_with_blanks_needs_quotes)
{
	expect_error("limits {\nidle_timeout = 5 min\n}\n",
		     "skeld.conf:2: section limits: unexpected min: expected name = value");
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, the_nearest_name_is_suggested)
{
	expect_error("log { levle = debug }\n",
		     "skeld.conf:1: unknown option log.levle: did you mean level? expected one of: "
		     "level target format file");
	expect_error("worker = 1\n", "skeld.conf:1: unknown option worker: did you mean workers?");
	expect_error("lamed_uck = 1\n",
		     "skeld.conf:1: unknown option lamed_uck: did you mean lame_duck?");
	expect_error("listen x { adress = \"\" }\n",
		     "skeld.conf:1: unknown option listen.adress: did you mean address?");
	expect_error("limit { buffer = 5000 }\n",
		     "skeld.conf:1: unknown section limit: did you mean limits?");
	expect_error("lgo { }\n", "skeld.conf:1: unknown section lgo: did you mean log?");
	expect_error("logs { }\n", "skeld.conf:1: unknown section logs: did you mean log?");
	expect_error("thing { sizes = 1 }\n",
		     "skeld.conf:1: unknown option thing.sizes: did you mean size?");
	/* A name that is similar to none, or so short that each one is similar to it. */
	expect_error("limits { speed = 3 }\n",
		     "skeld.conf:1: unknown option limits.speed: expected one of: ");
	expect_error("colours { }\n", "skeld.conf:1: unknown section colours: expected one of: ");
	expect_error("ab = 1\n", "skeld.conf:1: unknown option ab: expected one of: ");
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, a_missing_title_is_reported_with_an_example)
{
	expect_error("\nlisten {\n\taddress = \"\"\n}\n",
		     "skeld.conf:2: section listen without a title: expected listen \"title\" {");
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, an_error_in_a_listen_section_has_its_title)
{
	struct errors e = {0};
	cr_assert_null(load("listen \"b\" { backlog = 0 address = \"127.0.0.1:70000\" }\n", &e));
	cr_assert_eq(e.n, 2);
	cr_assert_str_eq(errors_text(&e, 0),
			 "skeld.conf:1: listen.backlog = \"0\": expected a whole number from 1 to "
			 "65535 (connections) (listen \"b\")");
	cr_assert_str_eq(errors_text(&e, 1),
			 "skeld.conf:1: listen.address = \"127.0.0.1:70000\": expected a port from "
			 "0 to 65535: 70000 is above 65535 (listen \"b\")");
	errors_clear(&e);
	EXPECT_NOTHING_LEFT();
}

/* As they can be written in double quotes. */
Test(config_errors, values_are_quoted_as_in_a_file)
{
	expect_error("log { level = 'a\"b' }\n", "skeld.conf:1: log.level = \"a\\\"b\": expected");
	expect_error("log { level = \"a\\\\b\" }\n",
		     "skeld.conf:1: log.level = \"a\\\\b\": expected");
	expect_error("log { level = '${a}' }\n", "skeld.conf:1: log.level = \"\\${a}\": expected");
	expect_error("log { level = \"\\x07\" }\n",
		     "skeld.conf:1: log.level = \"\\x07\": expected");
	expect_error("user = '\"'\n", "skeld.conf:1: user = \"\\\"\": expected");
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, twenty_unknown_options_are_reported_together)
{
	char text[1024] = "", begins[20][128];
	const char *all[20];
	for (int i = 0; i < 20; i++) {
		sprintf(text + strlen(text), "unknown%d = %d\n", i, i);
		sprintf(begins[i], "skeld.conf:%d: unknown option unknown%d", i + 1, i);
		all[i] = begins[i];
	}
	expect_errors(text, all, 20);
	/* One more ends the list, and still nothing is accepted. */
	strcat(text, "unknown20 = 20\n");
	struct errors e = {0};
	cr_assert_null(load(text, &e));
	cr_assert_geq(e.n, 20);
	errors_clear(&e);
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, unknown_sections_are_reported_with_their_line)
{
	expect_error("\nspeed {\na = 1\n}\n", "skeld.conf:2: unknown section speed");
	expect_error("speed \"title\" { a = 1 }\n", "skeld.conf:1: unknown section speed");
	expect_error("limits { inner { a = 1 } }\n",
		     "skeld.conf:1: section limits: unexpected inner");
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, duplicates_are_rejected)
{
	expect_error("workers = 1\nworkers = 1\n",
		     "skeld.conf:2: workers is already set at skeld.conf:1");
	expect_error("limits { buffer = 8192 }\nlimits {\n buffer = 8192 }\n",
		     "skeld.conf:3: buffer is already set at skeld.conf:1");
	expect_error("thing { size = 1\nsize = 1 }\n",
		     "skeld.conf:2: size is already set at skeld.conf:1");
	expect_error("listen x { backlog = 1 backlog = 1 }\n",
		     "skeld.conf:1: backlog is already set at skeld.conf:1");
	expect_error("listen x { address = \"\" }\nlisten x { backlog = 1 }\n",
		     "skeld.conf:2: listen \"x\" is already defined at skeld.conf:1");
	expect_error("listen x { }\nlisten y { }\nlisten x { }\n",
		     "skeld.conf:3: listen \"x\" is already defined at skeld.conf:1");
	/* The same option in two listen sections, or one name in two sections, is no duplicate. */
	config_unref(
		load_good("listen x { backlog = 1 address = \"\" }\n"
			  "listen y { backlog = 1 address = \"\" }\nadmin { address = \"\" }\n"));
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, unclosed_text_is_rejected)
{
	expect_error("limits {\n\tbuffer = 65536\n", "skeld.conf:3: section limits is not closed");
	expect_error("listen \"b\" {\n", "skeld.conf:2: section listen \"b\" is not closed");
	expect_error("limits {\nlog {\nlevel = info\n}\n",
		     "skeld.conf:2: section limits is not closed before section log");
	expect_error("\nuser = \"never ends\n\n", "skeld.conf:2: this string");
	expect_error("\nuser = 'never ends\n\n", "skeld.conf:2: this string");
	expect_error("\"\n", "skeld.conf:1: this string");
	expect_error("workers = 1\n/* never ends\n*\n/\n", "skeld.conf:2: this comment");
	expect_error("user = \"${HOME\"\n", "skeld.conf:1: \"${\" is not closed");
	expect_error("drain_timeout = 1\nworkers =\n", "skeld.conf:");
	expect_error("drain_timeout = 1\nworkers\n", "skeld.conf:");
	expect_error("log\n", "skeld.conf:");
	expect_error("listen\n", "skeld.conf:");
	expect_error("listen x\n", "skeld.conf:");
	expect_error("workers = 1\n}\n", "skeld.conf:2: ");
	expect_error("workers = 1\nlog { } }\n", "skeld.conf:2: ");
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, invalid_syntax_is_rejected)
{
	static const char *const bad[] = {"nonsense\n",
					  "= 1\n",
					  "workers 1\n",
					  "workers == 1\n",
					  "workers = 1,\n",
					  "workers = (1)\n",
					  "workers = {1, 2}\n",
					  "workers += 1\n",
					  "workers = 1 2\n",
					  "log = 1\n",
					  "workers { }\n",
					  "log \"title\" { }\n",
					  "listen { }\n",
					  "listen a b { }\n",
					  "{ }\n",
					  "workers = 1; user = x\n"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct errors e = {0};
		cr_assert_null(load(bad[i], &e), "accepted: %s", bad[i]);
		cr_assert_gt(e.n, 0);
		for (size_t k = 0; k < e.n; k++)
			cr_assert_eq(strncmp(errors_text(&e, k), "skeld.conf:", 11), 0, "%s%s",
				     bad[i], errors_text(&e, k));
		errors_clear(&e);
	}
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, a_hundred_errors_have_a_text)
{
	static char text[160 * 32];
	for (int i = 0; i < 150; i++)
		strcat(text, "listen x { backlog = 0 }\n");
	struct errors e = {0};
	cr_assert_null(load(text, &e));
	cr_assert_geq(e.n, ERRORS_MAX);
	cr_assert_eq(errors_stored(&e), ERRORS_MAX);
	for (size_t i = 0; i < ERRORS_MAX; i++)
		cr_assert_eq(strncmp(errors_text(&e, i), "skeld.conf:", 11), 0);
	errors_clear(&e);
	cr_assert_eq(e.n, 0);
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, listen_sections_have_a_limit)
{
	static char text[65 * 48];
	for (int i = 0; i < CONFIG_LISTEN_MAX; i++)
		sprintf(text + strlen(text), "listen \"%d\" { address = \"\" backlog = %d }\n", i,
			i + 1);
	struct config *c = load_good(text);
	cr_assert_eq(c->n_listen, CONFIG_LISTEN_MAX);
	for (int i = 0; i < CONFIG_LISTEN_MAX; i++) {
		cr_assert_eq(c->listen[i].backlog, i + 1);
		cr_assert_eq(c->listen[i].location.line, (unsigned)i + 1);
	}
	config_unref(c);
	strcat(text, "listen \"one more\" { }\n");
	expect_error(text, "skeld.conf:65: too many listen sections");
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, a_udp_address_has_no_options_of_connections)
{
	static const char *const begins[] = {
		"skeld.conf:4: listen.proxy = \"true\": expected \"false\"",
		"skeld.conf:4: listen.backlog = \"9\": expected"};
	expect_errors("listen a {\naddress = \"udp:127.0.0.1:80\" proxy = true\nbacklog = 9\n}\n",
		      begins, 2);
	expect_error("listen a { address = \"udp:127.0.0.1:80\" }\nlisten b { address = "
		     "\"udp:0.0.0.0:80\" }\n",
		     "skeld.conf:2: listen \"b\" and listen \"a\" have the same address");
	config_unref(load_good(
		"listen a { address = \"udp:127.0.0.1:80\" backlog = 1024 proxy = false }\n"
		"listen b { address = \"127.0.0.1:80\" }\n"));
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, only_a_listen_section_takes_a_udp_address)
{
	expect_error("admin { address = \"udp:127.0.0.1:80\" }\n",
		     "skeld.conf:1: admin.address = \"udp:127.0.0.1:80\": expected");
	expect_error("thing { peer = \"udp:127.0.0.1:80\" }\n",
		     "skeld.conf:1: thing.peer = \"udp:127.0.0.1:80\": expected");
	EXPECT_NOTHING_LEFT();
}

/* Parse TEXT for a service. Expects the error BEGINS, or none if it is NULL. */
static void expect_for(const struct service_schema *s, const char *text, const char *begins)
{
	struct errors e = {0};
	file_write("skeld.conf", text);
	struct config *c = config_parse("skeld.conf", s, &e);
	cr_assert_eq(!c, begins != NULL, "%s", errors_text(&e, 0));
	if (begins)
		cr_assert_eq(strncmp(errors_text(&e, 0), begins, strlen(begins)), 0, "%s",
			     errors_text(&e, 0));
	config_unref(c);
	errors_clear(&e);
}

Test(config_errors, an_address_of_a_kind_without_a_callback_is_rejected)
{
	static const struct service_schema connections = {"s", .datagrams = false},
					   datagrams = {"s", .datagrams = true,
							.no_connections = true},
					   neither = {"s", .no_connections = true};
	expect_for(&connections, "listen a {\naddress = \"udp:127.0.0.1:80\"\n}\n",
		   "skeld.conf:3: listen.address = \"udp:127.0.0.1:80\": expected an address "
		   "without udp:");
	expect_for(&datagrams, "listen a {\naddress = \"127.0.0.1:80\"\n}\n",
		   "skeld.conf:3: listen.address = \"127.0.0.1:80\": expected udp:host:port");
	expect_for(&datagrams, "listen a { address = \"udp:127.0.0.1:80\" }\n", NULL);
	expect_for(&datagrams, "workers = 1\n", NULL);
	expect_for(&neither, "workers = 1\nlisten a {\n}\n",
		   "skeld.conf:3: listen \"a\": expected no listen section");
	expect_for(&neither, "workers = 1\n", NULL);
	EXPECT_NOTHING_LEFT();
}

Test(config_errors, a_long_value_is_cut_in_the_error)
{
	static char text[8192] = "workers = \"";
	memset(text + strlen(text), 'x', 5000);
	strcat(text, "\"\n");
	struct errors e = {0};
	cr_assert_null(load(text, &e));
	cr_assert_eq(e.n, 1);
	cr_assert_lt(strlen(errors_text(&e, 0)), 300);
	errors_clear(&e);
	EXPECT_NOTHING_LEFT();
}

/* -t prints them, to a terminal or to what reads lines. */
Test(config_errors, an_error_is_one_line)
{
	expect_error("log { level = \"a\\nskeld.conf:9: \\x1b[31m\" }\n",
		     "skeld.conf:1: log.level = \"a\\x0askeld.conf:9: \\x1b[31m\": expected one");
	expect_error("lame_duck = 1\n\"a\\nb\" = 1\n",
		     "skeld.conf:2: unknown option a\\x0ab: expected");
	expect_error("listen \"\\x9b\" { }\nlisten \"\\x9b\" { }\n",
		     "skeld.conf:2: listen \"\\x9b\" is already defined");
	EXPECT_NOTHING_LEFT();
}

/* "\1" is the name of the hidden last line, see config/parse.c. */
Test(config_errors, a_string_cannot_imitate_the_end_of_the_file)
{
	expect_error("workers = 1\n\"\\x01\" = 1\n", "skeld.conf:2: unknown option \\x01");
	static const char *const both[] = {"skeld.conf:1: unknown option \\x01",
					   "skeld.conf:3: section log is not closed"};
	expect_errors("\"\\1\" = 1\nlog { level = info\n", both, 2);
	expect_error("log { \"\\x01\" = 1 }\n", "skeld.conf:1: unknown option log.\\x01");
	MUST(setenv("ONE", "\001", 1) == 0);
	expect_error("${ONE} = 1\n", "skeld.conf:1: unknown option \\x01");
	config_unref(load_good("thing { name = \"\\x01\" } listen ${ONE} { }\n"));
	EXPECT_NOTHING_LEFT();
}

/* If a comment began in the variable, "${a" would stay, and the rest of the file would be its
 * name. */
Test(config_errors, a_variable_ends_at_its_brace)
{
	static const char *const values[] = {"${a:-//}", "${a:-#}", "${a:-\"}", "${a:-'}",
					     "${a:-{}"};
	char text[128];
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		snprintf(text, sizeof(text), "thing { name = %s }\nlog { level = debug }\n",
			 values[i]);
		struct config *c = load_good(text);
		char *level = shown(c, "log", "level");
		cr_assert_str_eq(level, "\"debug\"", "%s", values[i]);
		free(level);
		config_unref(c);
	}
	expect_error("user = ${a:-/*} */\nlog { level = debug }\n", "skeld.conf:1: unexpected *");
	expect_error("user = ${a\nworkers = 1\n}\n", "skeld.conf:1: \"${\" is not closed on");
	EXPECT_NOTHING_LEFT();
}
