/* The tls sections, and the options of listen sections for TLS and for the file of a unix socket.
 */
#include "fixture.h"
#include "loading.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(config_tls, .init = fixture_enter, .fini = fixture_leave);

Test(config_tls, mode_and_group_are_for_unix_sockets)
{
	struct config *c = load_good("listen a { address = \"unix:/a\" mode = 0660 group = root }\n"
				     "listen b { address = \"\" mode = 0660 }\n");
	cr_assert_str_eq(c->listen[0].mode, "0660");
	cr_assert_str_eq(c->listen[0].group, "root");
	cr_assert_eq(c->listen[0].gid, 0);
	config_unref(c);
	static const char *const begins[] = {
		"skeld.conf:4: listen.mode = \"0660\": expected \"\" with an address without "
		"unix: (listen \"a\")",
		"skeld.conf:4: listen.group = \"root\": expected \"\" with"};
	expect_errors("listen a {\nmode = 0660\ngroup = root\n}\n", begins, 2);
	expect_error("listen a { address = \"unix:/a\"\ngroup = no-such-group }\n",
		     "skeld.conf:2: listen.group = \"no-such-group\": expected an existing group");
	expect_error("listen a { address = \"unix:/a\"\nmode = 999 }\n",
		     "skeld.conf:2: listen.mode = \"999\": expected a file mode in octal");
	EXPECT_NOTHING_LEFT();
}

#if SKELD_TLS

#define SITE(title) "tls " title " { certificate = /c key = /k }\n"

Test(config_tls, sections_are_loaded)
{
	struct config *c = load_good(
		"tls a { certificate = /c key = \"/k\" }\nlisten x { tls = {b, a} }\n"
		"tls b {\ncertificate = /1 key = /2 client_ca = /3 min_version = \"1.3\" }\n"
		"admin { tls = a }\n");
	cr_assert_eq(c->n_tls, 2);
	cr_assert_str_eq(c->tls[0].title, "a");
	cr_assert_str_eq(c->tls[0].certificate, "/c");
	cr_assert_str_eq(c->tls[0].key, "/k");
	cr_assert_str_eq(c->tls[0].client_ca, "");
	cr_assert_eq(c->tls[0].min_version, 0);
	cr_assert_eq(c->tls[1].min_version, 1);
	cr_assert_str_eq(c->tls[1].location.file, "skeld.conf");
	cr_assert_eq(c->tls[1].location.line, 4);
	cr_assert_str_eq(c->listen[0].tls[0], "b");
	cr_assert_str_eq(c->listen[0].tls[1], "a");
	cr_assert_null(c->listen[0].tls[2]);
	cr_assert_str_eq(c->admin.tls[0], "a");
	cr_assert_eq(c->warnings.n, 0);
	char *text = printed(c);
	struct config *again = load_good(text);
	char *twice = printed(again);
	cr_assert_str_eq(text, twice);
	free(text);
	free(twice);
	config_unref(c);
	config_unref(again);
	EXPECT_NOTHING_LEFT();
}

Test(config_tls, a_section_that_is_missing_is_printed_as_a_comment)
{
	struct config *c = load_good("#\n");
	char *text = printed(c);
	cr_assert(strstr(text, "\n#tls \"title\" {\n#\t# PEM file with the certificate"), "%s",
		  text);
	cr_assert(strstr(text, "\n#\tmin_version = \"1.2\"\n#}\n"), "%s", text);
	free(text);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_tls, an_unknown_title_is_rejected)
{
	expect_error(SITE("site") "listen x {\ntls = {site, sit}\n}\n",
		     "skeld.conf:4: listen.tls = \"sit\": expected the title of a tls section; did "
		     "you mean \"site\" (listen \"x\")");
	expect_error("listen x { }\nadmin { tls = site }\n",
		     "skeld.conf:2: admin.tls = \"site\": expected the title of a tls section");
	EXPECT_NOTHING_LEFT();
}

Test(config_tls, a_title_in_a_list_twice_is_rejected)
{
	expect_error(SITE("a") SITE("b") "listen x { tls = {a, b, a} }\n",
		     "skeld.conf:3: listen.tls = \"a\": expected each title only once (listen "
		     "\"x\")");
	expect_error(SITE("a") "admin { tls = {a, a} }\n",
		     "skeld.conf:2: admin.tls = \"a\": expected each title only once");
	EXPECT_NOTHING_LEFT();
}

Test(config_tls, a_section_with_a_title_that_exists_is_rejected)
{
	expect_error(SITE("a") SITE("a"),
		     "skeld.conf:2: tls \"a\" is already defined at skeld.conf:1");
	expect_error("tls a {}\ntls b {}\ntls a {}\n", "skeld.conf:3: tls \"a\" is already");
	expect_error("tls a { key = /a key = /b }\n",
		     "skeld.conf:1: key is already set at skeld.conf:1");
	expect_error("\ntls {\n}\n", "skeld.conf:2: section tls without a title");
	EXPECT_NOTHING_LEFT();
}

Test(config_tls, a_title_may_be_as_long_as_a_host_name)
{
	char text[1024], title[254];
	memset(title, 'a', sizeof(title) - 1);
	title[sizeof(title) - 1] = '\0';
	snprintf(text, sizeof(text), "tls %s { certificate = /c key = /k }\nadmin { tls = %s }\n",
		 title, title);
	struct config *c = load_good(text);
	cr_assert_str_eq(c->admin.tls[0], title);
	cr_assert_eq(c->warnings.n, 0);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

/* One mechanism reads both kinds of sections. */
Test(config_tls, sections_of_two_kinds_may_have_the_same_title)
{
	config_unref(load_good("listen a { tls = a }\n" SITE("a") "listen b { address = \"\" }\n"));
	EXPECT_NOTHING_LEFT();
}

Test(config_tls, a_section_needs_a_certificate_and_a_key)
{
	static const char *const begins[] = {
		"skeld.conf:2: tls.certificate = \"\": expected the path of a PEM file (tls \"a\")",
		"skeld.conf:2: tls.key = \"\": expected the path of a PEM file (tls \"a\")"};
	expect_errors("tls a {\n}\nlisten x { tls = a }\n", begins, 2);
	expect_error("tls a { certificate = c key = /k }\n",
		     "skeld.conf:1: tls.certificate = \"c\": expected an absolute path");
	expect_error("tls a { certificate = /c key = /k min_version = 1.1 }\n",
		     "skeld.conf:1: tls.min_version = \"1.1\": expected one of: 1.2 1.3 (tls "
		     "\"a\")");
	expect_error("tls a { certificat = /c key = /k }\n",
		     "skeld.conf:1: unknown option tls.certificat: did you mean certificate?");
	EXPECT_NOTHING_LEFT();
}

Test(config_tls, datagrams_have_no_tls)
{
	expect_error(SITE("a") "listen x { address = \"udp:127.0.0.1:1\" tls = a }\n",
		     "skeld.conf:2: listen.tls = \"a\": expected \"\" with a udp: address (listen "
		     "\"x\")");
	EXPECT_NOTHING_LEFT();
}

Test(config_tls, an_unused_section_is_a_warning)
{
	struct config *c = load_good(SITE("a") "tls b { certificate = /c key = /k\n}\n"
					       "listen x { tls = a }\n");
	cr_assert_eq(c->warnings.n, 1);
	cr_assert_str_eq(errors_text(&c->warnings, 0),
			 "skeld.conf:3: tls \"b\" is not used: expected its title in listen.tls or "
			 "admin.tls");
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_tls, sections_have_a_limit)
{
	static char text[CONFIG_TLS_MAX * 64];
	for (int i = 0; i < CONFIG_TLS_MAX; i++)
		sprintf(text + strlen(text), "tls %d { certificate = /c key = /k }\n", i);
	struct config *c = load_good(text);
	cr_assert_eq(c->n_tls, CONFIG_TLS_MAX);
	cr_assert_eq(c->tls[255].location.line, 256);
	config_unref(c);
	strcat(text, "tls more { }\n");
	expect_error(text, "skeld.conf:257: too many tls sections: expected at most 256");
	EXPECT_NOTHING_LEFT();
}

static char lines[1024];

static void add_line(void *context, const char *line)
{
	(void)context;
	snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines), "%s\n", line);
}

Test(config_tls, changes_of_sections_are_reported)
{
	struct config *old = load_good(SITE("a") SITE("b") "listen x { tls = {a, b} }\n");
	struct config *new = load_good("tls a { certificate = /c key = /n }\n" SITE(
		"d") "listen x { tls = a }\nadmin { tls = d }\n");
	cr_assert(config_compare(old, new, add_line, NULL));
	cr_assert_str_eq(lines, "listen \"x\".tls: {\"a\", \"b\"} -> \"a\"\n"
				"tls \"a\".key: \"/k\" -> \"/n\"\n"
				"tls \"b\" removed: /c\n"
				"tls \"d\" added: /c\n"
				"admin.tls: \"\" -> \"d\"\n");
	config_unref(old);
	config_unref(new);
	EXPECT_NOTHING_LEFT();
}

#else

Test(config_tls, a_build_without_tls_is_named_in_the_error)
{
	expect_error("tls a { certificate = /c }\n",
		     "skeld.conf:1: unknown section tls: this build has no TLS (-DSKELD_TLS=OFF)");
	expect_error("listen x { tls = a }\n",
		     "skeld.conf:1: unknown option tls: this build has no TLS");
	expect_error("admin { tls = {} }\n",
		     "skeld.conf:1: unknown option tls: this build has no TLS");
	EXPECT_NOTHING_LEFT();
}

#endif
