/* config/config and config/schema: the accepted values and the default of each option. */
/* build: LINK skeld_service */
/* test: NEEDS ADMIN */
#include "base/log.h"
#include "config/service_schema.h"
#include "fixture.h"
#include "loading.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(config, .init = fixture_enter, .fini = fixture_leave);

/* Every option: section, name, default, and the range of a number. */
static const struct row {
	const char *section, *name, *initial, *least, *most, *below, *above;
} rows[] = {
	{"", "workers", "0", "0", "256", "-1", "257"},
	{"", "user", "\"\"", NULL, NULL, NULL, NULL},
	{"", "group", "\"\"", NULL, NULL, NULL, NULL},
	{"", "lame_duck", "0", "0", "3600", "-1", "3601"},
	{"", "drain_timeout", "10", "0", "3600", "-1", "3601"},
	{"log", "level", "\"info\"", NULL, NULL, NULL, NULL},
	{"log", "target", "\"stderr\"", NULL, NULL, NULL, NULL},
	{"log", "format", "\"text\"", NULL, NULL, NULL, NULL},
	{"log", "file", "\"\"", NULL, NULL, NULL, NULL},
	{"listen", "address", "\"127.0.0.1:7007\"", NULL, NULL, NULL, NULL},
	{"listen", "backlog", "1024", "1", "65535", "0", "65536"},
	{"listen", "proxy", "false", NULL, NULL, NULL, NULL},
#if SKELD_TLS
	{"listen", "tls", "\"\"", NULL, NULL, NULL, NULL},
#endif
	{"listen", "mode", "\"\"", NULL, NULL, NULL, NULL},
	{"listen", "group", "\"\"", NULL, NULL, NULL, NULL},
	{"limits", "connections", "10000", "1", "10000000", "0", "10000001"},
	{"limits", "idle_timeout", "300", "0", "31536000", "-1", "31536001"},
	{"limits", "buffer", "64K", "4K", "1G", "4095", "1073741825"},
	{"limits", "memory", "256M", "1M", "1024G", "1048575", "1099511627777"},
	{"limits", "outgoing", "1000", "0", "10000000", "-1", "10000001"},
	{"admin", "address", "\"127.0.0.1:7008\"", NULL, NULL, NULL, NULL},
#if SKELD_TLS
	{"admin", "tls", "\"\"", NULL, NULL, NULL, NULL},
#endif
	{"thing", "size", "1", "-5", "5", "-6", "6"},
	{"thing", "pool", "2", "0", "9223372036854775807", "-1", "9223372036854775808"},
	{"thing", "colour", "\"green\"", NULL, NULL, NULL, NULL},
	{"thing", "name", "\"it's \\\"\\$it\\\"\"", NULL, NULL, NULL, NULL},
	{"thing", "where", "\"/srv\"", NULL, NULL, NULL, NULL},
	{"thing", "peer", "\"[::1]:7\"", NULL, NULL, NULL, NULL},
	{"thing", "token", "\"\"", NULL, NULL, NULL, NULL},
	{"thing", "key", "\"\"", NULL, NULL, NULL, NULL},
	{"thing", "tags", "\"\"", NULL, NULL, NULL, NULL},
	{"thing", "marks", "{\"one\", \"two\"}", NULL, NULL, NULL, NULL},
	{"thing", "mode", "\"0640\"", NULL, NULL, NULL, NULL},
};
enum { N_ROWS = sizeof(rows) / sizeof(*rows) };

/* Load a file that sets only this option. The value is in line 2. */
static const char *file_with(const char *section, const char *name, const char *value)
{
	static char text[512];
	const char *title = strcmp(section, "listen") == 0 ? "\"x\"" : "";
	snprintf(text, sizeof(text), "%s %s %s\n%s = %s\n%s\n", section, title, *section ? "{" : "",
		 name, value, *section ? "}" : "");
	return text;
}

static void expect_shown(const char *section, const char *name, const char *value,
			 const char *expected)
{
	struct config *c = load_good(file_with(section, name, value));
	char *is = shown(c, section, name);
	cr_assert_str_eq(is, expected, "%s.%s = %s is %s", section, name, value, is);
	free(is);
	config_unref(c);
}

/* Expect "skeld.conf:2: limits.buffer = "4095": expected ACCEPTED". VALUE needs no quotes. */
static void expect_refused(const char *section, const char *name, const char *value,
			   const char *accepted)
{
	char begins[512], quoted[128];
	snprintf(begins, sizeof(begins), "skeld.conf:2: %s%s%s = \"%s\": expected %s", section,
		 *section ? "." : "", name, value, accepted);
	snprintf(quoted, sizeof(quoted), "\"%s\"", value);
	expect_error(file_with(section, name, quoted), begins);
}

Test(config, an_empty_path_gives_the_defaults)
{
	struct errors e = {0};
	struct config *c = config_parse(NULL, &thing_schema, &e);
	cr_assert(c && e.n == 0);
	for (size_t i = 0; i < N_ROWS; i++) {
		char *is = shown(c, rows[i].section, rows[i].name);
		cr_assert_str_eq(is, rows[i].initial, "%s.%s", rows[i].section, rows[i].name);
		free(is);
	}
	cr_assert_eq(c->n_listen, 1);
	cr_assert_str_eq(c->listen[0].title, "main");
	cr_assert_eq(c->log.level, 1);
	cr_assert_eq(config_log_level(c), LOG_INFO);
	const struct thing *thing = c->service;
	cr_assert_eq(thing->size, 1);
	cr_assert_eq(thing->colour, 1);
	cr_assert_str_eq(thing->name, "it's \"$it\"");
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config, the_table_of_this_test_has_every_option)
{
	struct config *c = load_good("#\n");
	char *text = printed(c), *line, *rest = text;
	size_t options = 0;
	while ((line = strsep(&rest, "\n")))
		options += *line != '#' && strncmp(line, "\t#", 2) != 0 && strstr(line, " = ");
	cr_assert_eq(options, N_ROWS);
	free(text);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config, a_file_that_sets_nothing_gives_the_defaults)
{
	static const char *const files[] = {"# a comment\n", "\n",
					    "log { }\nlimits {\n}\nadmin{}thing{}\n",
					    "listen \"main\" {}\n"};
	struct errors e = {0};
	struct config *c = config_parse(NULL, &thing_schema, &e);
	char *defaults = printed(c);
	config_unref(c);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		c = load_good(files[i]);
		char *is = printed(c);
		cr_assert_str_eq(is, defaults, "%s", files[i]);
		free(is);
		config_unref(c);
	}
	free(defaults);
	EXPECT_NOTHING_LEFT();
}

Test(config, the_shipped_file_has_the_defaults)
{
	const struct service_schema its = service_schema_of(&service);
	const char *source = getenv("SKELD_SOURCE");
	char path[4096];
	if (!source)
		cr_skip_test("SKELD_SOURCE is not set");
	snprintf(path, sizeof(path), "%s/conf/skeld.conf", source);
	struct errors e = {0};
	struct config *shipped = config_parse(path, &its, &e);
	cr_assert(shipped, "%s", errors_text(&e, 0));
	struct config *defaults = config_parse(NULL, &its, &e);
	char *is = printed(shipped), *should = printed(defaults);
	cr_assert_str_eq(is, should);
	free(is);
	free(should);
	config_unref(shipped);
	config_unref(defaults);
	EXPECT_NOTHING_LEFT();
}

Test(config, numbers_are_accepted_from_min_to_max)
{
	for (const struct row *r = rows; r < rows + N_ROWS; r++) {
		if (!r->least)
			continue;
		expect_shown(r->section, r->name, r->least, r->least);
		expect_shown(r->section, r->name, r->most, r->most);
	}
	expect_shown("", "workers", "\"7\"", "7");
	expect_shown("", "workers", "'007'", "7");
	EXPECT_NOTHING_LEFT();
}

/* They are shown in seconds, and in the largest unit of bytes that is exact. */
Test(config, numbers_take_the_units_of_their_option)
{
	static const char *const good[][4] = {{"limits", "idle_timeout", "5m", "300"},
					      {"limits", "idle_timeout", "2h", "7200"},
					      {"limits", "idle_timeout", "30s", "30"},
					      {"limits", "idle_timeout", "0h", "0"},
					      {"limits", "idle_timeout", "8760h", "31536000"},
					      {"", "drain_timeout", "1h", "3600"},
					      {"limits", "buffer", "64K", "64K"},
					      {"limits", "buffer", "65537", "65537"},
					      {"limits", "buffer", "1024K", "1M"},
					      {"limits", "memory", "2G", "2G"}};
	static const char *const bad[][3] = {{"limits", "idle_timeout", "8761h"},
					     {"limits", "idle_timeout", "5M"},
					     {"limits", "idle_timeout", "5 m"},
					     {"limits", "idle_timeout", "m"},
					     {"limits", "idle_timeout", "1h5m"},
					     {"limits", "idle_timeout", "1.5h"},
					     {"limits", "idle_timeout", "-1s"},
					     {"limits", "idle_timeout", "5d"},
					     {"limits", "idle_timeout", "64K"},
					     {"", "drain_timeout", "61m"},
					     {"limits", "idle_timeout", "9223372036854775807h"},
					     {"limits", "buffer", "5m"},
					     {"limits", "buffer", "3K"},
					     {"limits", "buffer", "2G"},
					     {"", "workers", "1s"},
					     {"", "workers", "1K"},
					     {"limits", "connections", "10K"},
					     {"thing", "size", "1s"},
					     {"listen", "backlog", "1m"}};
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		expect_shown(good[i][0], good[i][1], good[i][2], good[i][3]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect_refused(bad[i][0], bad[i][1], bad[i][2], "a whole number from ");
	EXPECT_NOTHING_LEFT();
}

Test(config, flags_take_the_words_of_libconfuse)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on",
					    "False", "TRUE", "No", "YES", "OFF", "On"};
	static const char *const bad[] = {"",  "1",  "0",    "y",    "n",
					  "t", "ye", "yess", " yes", "maybe"};
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		expect_shown("listen", "proxy", words[i], i % 2 ? "true" : "false");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect_refused("listen", "proxy", bad[i], "true or false");
	EXPECT_NOTHING_LEFT();
}

Test(config, numbers_out_of_range_are_rejected)
{
	for (const struct row *r = rows; r < rows + N_ROWS; r++) {
		if (!r->least)
			continue;
		char accepted[128];
		snprintf(accepted, sizeof(accepted), "a whole number from %s to %s", r->least,
			 r->most);
		expect_refused(r->section, r->name, r->below, accepted);
		expect_refused(r->section, r->name, r->above, accepted);
	}
	EXPECT_NOTHING_LEFT();
}

Test(config, text_that_is_not_a_number_is_rejected)
{
	static const char *const bad[] = {"",
					  "x",
					  "1x",
					  "x1",
					  " 1",
					  "1 ",
					  "+1",
					  "--1",
					  "1-",
					  "-",
					  "1.0",
					  "1e3",
					  "0x1",
					  "1,0",
					  "1_0",
					  "true",
					  "1k",
					  "-0x1",
					  "\\t1",
					  "1\\n",
					  "99999999999999999999",
					  "-99999999999999999999"};
	for (const struct row *r = rows; r < rows + N_ROWS; r++)
		for (size_t i = 0; r->least && i < sizeof(bad) / sizeof(*bad); i++) {
			char begins[128], quoted[64];
			snprintf(begins, sizeof(begins), "skeld.conf:2: %s%s%s = \"", r->section,
				 *r->section ? "." : "", r->name);
			snprintf(quoted, sizeof(quoted), "\"%s\"", bad[i]);
			expect_error(file_with(r->section, r->name, quoted), begins);
		}
	EXPECT_NOTHING_LEFT();
}

Test(config, choices_are_whole_words)
{
	static const char *const levels[] = {"debug", "info", "notice", "warning", "error"};
	static const int syslog_levels[] = {LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERR};
	static const char *const bad[] = {"",	   "Info",	 "inf",
					  "infos", "debug info", " info",
					  "info ", "1",		 "debug info notice warning error"};
	for (int i = 0; i < 5; i++) {
		struct config *c = load_good(file_with("log", "level", levels[i]));
		cr_assert_eq(c->log.level, i);
		cr_assert_eq(config_log_level(c), syslog_levels[i]);
		config_unref(c);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect_refused("log", "level", bad[i], "one of: debug info notice warning error");
	expect_shown("log", "target", "syslog", "\"syslog\"");
	expect_refused("log", "target", "stdout", "one of: stderr syslog file");
	expect_shown("log", "format", "json", "\"json\"");
	expect_refused("log", "format", "xml", "one of: text json");
	expect_shown("thing", "colour", "blue", "\"blue\"");
	expect_refused("thing", "colour", "violet", "one of: red green blue");
	EXPECT_NOTHING_LEFT();
}

Test(config, paths_are_absolute)
{
	static const char *const paths[][2] = {{"log", "file"}, {"thing", "where"}};
	for (size_t i = 0; i < 2; i++) {
		expect_shown(paths[i][0], paths[i][1], "\"/a/b c\"", "\"/a/b c\"");
		expect_shown(paths[i][0], paths[i][1], "\"\"", "\"\"");
		expect_refused(paths[i][0], paths[i][1], "a/b", "an absolute path or \"\"");
		expect_refused(paths[i][0], paths[i][1], " /a", "an absolute path or \"\"");
	}
	EXPECT_NOTHING_LEFT();
}

Test(config, addresses_are_numbers_and_ports)
{
	static const char *const places[][2] = {
		{"listen", "address"}, {"admin", "address"}, {"thing", "peer"}};
	for (size_t i = 0; i < 3; i++) {
		const char *section = places[i][0], *name = places[i][1];
		expect_shown(section, name, "\"0.0.0.0:0\"", "\"0.0.0.0:0\"");
		expect_shown(section, name, "\"[::]:65535\"", "\"[::]:65535\"");
		expect_shown(section, name, "\"unix:/run/x\"", "\"unix:/run/x\"");
		expect_shown(section, name, "\"\"", "\"\"");
		expect_refused(section, name, "localhost:80", "an IP address, such as");
		expect_refused(section, name, "127.0.0.1", "a port, the port is missing");
	}
	EXPECT_NOTHING_LEFT();
}

Test(config, a_log_file_is_needed_for_the_target_file)
{
	expect_error("workers = 1\nlog {\n\ttarget = file\n}\n", "skeld.conf:4: log.target");
	expect_error("log { target = file\nfile = \"\" }\n", "skeld.conf:2: log.target");
	config_unref(load_good("log { target = file file = /x }\n"));
	EXPECT_NOTHING_LEFT();
}

Test(config, a_log_file_that_is_not_used_is_a_warning)
{
	struct config *c = load_good("log {\n\tfile = \"/x\"\n}\n");
	cr_assert_eq(c->warnings.n, 1);
	cr_assert_eq(strncmp(errors_text(&c->warnings, 0), "skeld.conf:3: log.file = \"/x\"", 26),
		     0, "%s", errors_text(&c->warnings, 0));
	config_unref(c);
	c = load_good("log { target = syslog file = /x }\n");
	cr_assert_eq(c->warnings.n, 1);
	config_unref(c);
	c = load_good("log { target = file file = /x }\n");
	cr_assert_eq(c->warnings.n, 0);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config, two_listeners_cannot_have_one_address)
{
	expect_error("listen a { address = \"127.0.0.1:80\" }\n"
		     "listen b { address = \"127.0.0.1:81\" }\n"
		     "listen c {\naddress = \"127.0.0.1:080\" }\n",
		     "skeld.conf:4: listen \"c\" and listen \"a\" have the same address");
	expect_error("listen a { address = \"[::1]:80\" } listen b { address = \"[0::1]:80\" }\n",
		     "skeld.conf:1: listen \"b\" and listen \"a\" have the same address");
	expect_error("listen a { address = \"unix:/x\" }\nlisten b { address = \"unix:/x\" }\n",
		     "skeld.conf:2: listen \"b\" and listen \"a\" have the same address");
	/* A wildcard address overlaps every address with its port, as in bind(2). */
	expect_error(
		"listen a { address = \"127.0.0.1:80\" }\nlisten b { address = \"0.0.0.0:80\" }\n",
		"skeld.conf:2: listen \"b\" and listen \"a\" have the same address: 127.0.0.1:80");
	expect_error("listen a { address = \"[::]:80\" }\nadmin { address = \"[::1]:80\" }\n",
		     "skeld.conf:1: listen \"a\" and admin have the same address: [::1]:80");
	expect_error("\nadmin { address = \"127.0.0.1:7007\" }\n",
		     "skeld.conf:2: listen \"main\" and admin have the same address");
	/* Port 0 is a different port each time, and "" is no address. */
	struct config *c = load_good("listen a { address = \"127.0.0.1:0\" }\n"
				     "listen b { address = \"127.0.0.1:0\" }\n"
				     "listen c { address = \"\" } listen d { address = \"\" }\n"
				     "listen e { address = \"0.0.0.0:80\" }\n"
				     "listen f { address = \"[::]:80\" }\n");
	cr_assert_eq(c->n_listen, 6);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config, a_service_without_connections_has_no_listen_section)
{
	const struct service quiet = {.name = "quiet"},
			     busy = {.name = "busy", .protocol.data = service.protocol.data};
	const struct service_schema its = service_schema_of(&quiet),
				    others = service_schema_of(&busy);
	struct errors e = {0};
	file_write("skeld.conf", "workers = 1\n");
	struct config *c = config_parse("skeld.conf", &its, &e);
	cr_assert(c && c->n_listen == 0, "%s", errors_text(&e, 0));
	config_unref(c);
	c = config_parse("skeld.conf", &others, &e);
	cr_assert(c && c->n_listen == 1, "%s", errors_text(&e, 0));
	config_unref(c);
	file_write("skeld.conf", "workers = 1\nlisten \"a\" {}\nlisten \"b\" { address = \"\" }\n");
	cr_assert_null(config_parse("skeld.conf", &its, &e));
	cr_assert_eq(e.n, 2);
	cr_assert_eq(strncmp(errors_text(&e, 0), "skeld.conf:2: listen \"a\": ", 26), 0, "%s",
		     errors_text(&e, 0));
	cr_assert_eq(strncmp(errors_text(&e, 1), "skeld.conf:3: listen \"b\": ", 26), 0, "%s",
		     errors_text(&e, 1));
	errors_clear(&e);
	EXPECT_NOTHING_LEFT();
}
