/* config/parse: include("path"), with the same checks as for the main file. */
#include "fixture.h"
#include "loading.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(config_include, .init = fixture_enter, .fini = fixture_leave);

Test(config_include, include_is_relative_to_the_including_file)
{
	char path[PATH_IN_MAX], text[128];
	MUST(mkdir("conf.d", 0755) == 0);
	file_write("conf.d/a.conf", "include(\"b.conf\")\ndrain_timeout = 7\n");
	file_write("conf.d/b.conf", "include('../c.conf')\n");
	file_write("c.conf", "limits { idle_timeout = 77 }\n");
	struct config *c = load_good("include(\"conf.d/a.conf\")\n");
	cr_assert_eq(c->drain_timeout, 7);
	cr_assert_eq(c->limits.idle_timeout, 77);
	config_unref(c);
	/* The result does not depend on the working directory. */
	snprintf(text, sizeof(text), "include(\"%s\")\n", path_in("conf.d/a.conf", path));
	file_write("skeld.conf", text);
	MUST(chdir("/") == 0);
	struct errors e = {0};
	c = load_file(path_in("skeld.conf", path), &e);
	cr_assert(c, "%s", errors_text(&e, 0));
	cr_assert_eq(c->limits.idle_timeout, 77);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_include, sections_can_be_in_several_files)
{
	file_write("a.conf", "limits { buffer = 5000 }\nlisten \"a\" { address = \"\" }\n");
	file_write("b.conf", "limits { connections = 5 }\nlisten \"b\" { address = \"\" }\n");
	struct config *c = load_good("listen \"first\" { address = \"\" }\ninclude(\"a.conf\")\n"
				     "limits { idle_timeout = 5 }\ninclude(\"b.conf\")\n");
	cr_assert_eq(c->limits.buffer, 5000);
	cr_assert_eq(c->limits.connections, 5);
	cr_assert_eq(c->limits.idle_timeout, 5);
	cr_assert_eq(c->n_listen, 3);
	cr_assert_str_eq(c->listen[0].title, "first");
	cr_assert_str_eq(c->listen[2].title, "b");
	cr_assert_str_eq(c->listen[2].location.file, "b.conf");
	cr_assert_eq(c->listen[2].location.line, 2);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_include, errors_name_the_included_file)
{
	static const char *const begins[] = {"skeld.conf:3: drain_timeout = \"x\"",
					     "skeld.conf:4: unknown option nonsense",
					     "a.conf:2: limits.buffer = \"1\"",
					     "a.conf:3: workers is already set at skeld.conf:1",
					     "b.conf:1: unknown option thing.b"};
	file_write("a.conf", "#\nlimits { buffer = 1 }\nworkers = 1\n");
	file_write("b.conf", "thing { b = 1 }\n");
	expect_errors("workers = 1\ninclude(\"a.conf\") include(\"b.conf\")\ndrain_timeout = x\n"
		      "nonsense = 1\n",
		      begins, 5);
	EXPECT_NOTHING_LEFT();
}

Test(config_include, unreadable_files_are_reported_at_the_include)
{
	MUST(mkdir("dir.conf", 0755) == 0 && mkfifo("fifo.conf", 0644) == 0);
	file_write("empty.conf", "");
	file_write("nul.conf", "workers = 1\n");
	file_write_bytes("nul.conf", "workers = 1\n\0\n", 14);
	file_write("open.conf", "workers = 1\nlimits {\n");
	file_write("comment.conf", "workers = 1\n/* the rest of all files?\n");
	expect_error("\ninclude(\"missing.conf\")\n", "skeld.conf:2: cannot read missing.conf");
	expect_error("\ninclude(\"dir.conf\")\n", "skeld.conf:2: dir.conf is a directory");
	expect_error("\ninclude(\"fifo.conf\")\n", "skeld.conf:2: fifo.conf is a FIFO");
	expect_error("\ninclude(\"/dev/zero\")\n", "skeld.conf:2: /dev/zero is a device");
	expect_error("include(\"empty.conf\")\n", "empty.conf: empty file");
	expect_error("include(\"nul.conf\")\n", "nul.conf:2: control character 0x00");
	expect_error("include(\"open.conf\")\n", "open.conf:3: section limits is not closed");
	expect_error("include(\"comment.conf\")\nworkers = 1\n", "comment.conf:2: this comment");
	expect_error("include(\"\")\n", "skeld.conf:1: include: expected include(");
	expect_error("include(\"a\", \"b\")\n", "skeld.conf:1: include: expected include(");
	EXPECT_NOTHING_LEFT();
}

Test(config_include, a_pattern_includes_its_files_in_order)
{
	MUST(mkdir("conf.d", 0755) == 0 && mkdir("more.conf", 0755) == 0);
	file_write("conf.d/b.conf", "listen b { address = \"\" }\n");
	file_write("conf.d/a.conf", "listen a { address = \"\" }\n");
	file_write("conf.d/c.conf", "listen c { address = \"\" }\ninclude(\"d.[x]\")\n");
	file_write("conf.d/d.x", "listen d { address = \"\" }\n");
	file_write("conf.d/.hidden.conf", "nonsense\n");
	file_write("conf.d/e.conf~", "nonsense\n");
	struct config *c = load_good("include(\"conf.d/*.conf\")\n");
	static const char *const titles[] = {"a", "b", "c", "d"};
	cr_assert_eq(c->n_listen, 4);
	for (size_t i = 0; i < 4; i++)
		cr_assert_str_eq(c->listen[i].title, titles[i]);
	cr_assert_str_eq(c->listen[0].location.file, "conf.d/a.conf");
	cr_assert_str_eq(c->listen[3].location.file, "conf.d/d.x");
	config_unref(c);
	c = load_good("include(\"conf.?/[bc].conf\")\n");
	cr_assert_eq(c->n_listen, 3);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_include, a_pattern_without_files_includes_nothing)
{
	MUST(mkdir("empty.d", 0755) == 0);
	file_write("file", "nonsense\n");
	config_unref(load_good("include(\"empty.d/*.conf\")\ninclude('missing.d/*')\n"
			       "include(\"file/*\")\ninclude(\"/nonexistent/*/*.conf\")\n"));
	EXPECT_NOTHING_LEFT();
}

Test(config_include, the_files_of_a_pattern_are_checked_like_others)
{
	MUST(mkdir("conf.d", 0755) == 0 && mkdir("conf.d/dir.conf", 0755) == 0);
	MUST(mkfifo("conf.d/fifo.conf", 0644) == 0);
	file_write("conf.d/good.conf", "drain_timeout = 7\n");
	file_write("conf.d/speed.conf", "\nspeed = 1\n");
	static const char *const begins[] = {"skeld.conf:2: conf.d/dir.conf is a directory",
					     "skeld.conf:2: conf.d/fifo.conf is a FIFO",
					     "conf.d/speed.conf:2: unknown option speed"};
	expect_errors("\ninclude(\"conf.d/*.conf\")\n", begins, 3);
	expect_error("\ninclude(\"*.conf\")\n",
		     "skeld.conf:2: include(\"*.conf\"): the file includes itself");
	EXPECT_NOTHING_LEFT();
}

/* A file that is left out would be worse than an error. */
Test(config_include, a_directory_that_cannot_be_read_is_an_error)
{
	MUST(mkdir("conf.d", 0700) == 0);
	file_write("skeld.conf", "\ninclude(\"conf.d/*.conf\")\n");
	if (geteuid() == 0)
		MUST(chmod(".", 0755) == 0 && seteuid(65534) == 0);
	else
		MUST(chmod("conf.d", 0) == 0);
	struct errors e = {0};
	cr_assert_null(config_parse("skeld.conf", &thing_schema, &e));
	cr_assert_eq(e.n, 1);
	cr_assert_eq(strncmp(errors_text(&e, 0), "skeld.conf:2: cannot read conf.d", 32), 0, "%s",
		     errors_text(&e, 0));
	errors_clear(&e);
	if (getuid() == 0)
		MUST(seteuid(0) == 0);
	EXPECT_NOTHING_LEFT();
}

Test(config_include, the_directory_of_a_file_is_no_pattern)
{
	struct errors e = {0};
	MUST(mkdir("a[b]*", 0755) == 0 && mkdir("ab", 0755) == 0);
	file_write("a[b]*/main.conf", "include(\"?.conf\")\n");
	file_write("a[b]*/1.conf", "drain_timeout = 7\n");
	file_write("ab/1.conf", "drain_timeout = 8\n");
	struct config *c = load_file("a[b]*/main.conf", &e);
	cr_assert(c, "%s", errors_text(&e, 0));
	cr_assert_eq(c->drain_timeout, 7);
	config_unref(c);
	EXPECT_NOTHING_LEFT();
}

Test(config_include, a_pattern_adds_at_most_a_hundred_files)
{
	char name[32];
	MUST(mkdir("conf.d", 0755) == 0);
	for (int i = 0; i < 99; i++) {
		snprintf(name, sizeof(name), "conf.d/%d", i);
		file_write(name, "#\n");
	}
	config_unref(load_good("include(\"conf.d/*\")\n"));
	file_write("conf.d/99", "#\n");
	file_write("conf.d/999", "#\n");
	expect_error("include(\"conf.d/*\")\n",
		     "skeld.conf:1: include(\"conf.d/*\"): more than 100 files");
	EXPECT_NOTHING_LEFT();
}

/* 1.conf includes 2.conf, and so on to LAST.conf, which ends it with TEXT. */
static void write_chain(int last, const char *text)
{
	for (int i = 1; i <= last; i++) {
		char name[32], next[64];
		snprintf(name, sizeof(name), "%d.conf", i);
		snprintf(next, sizeof(next), "include(\"%d.conf\")\n", i + 1);
		file_write(name, i < last ? next : text);
	}
}

Test(config_include, an_invalid_include_is_rejected_without_a_leak)
{
	static const char *const bad[] = {"include\n",
					  "include(\n",
					  "include(\"x\"\n",
					  "include(\"x\",\n",
					  "include(\"x\" }\n",
					  "include(\"x\" \"y\")\n",
					  "include(\"x\", = )\n",
					  "include = 1\n",
					  "include \"x\"\n",
					  "include { }\n",
					  "log { include(\"x\") }\n"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct errors e = {0};
		cr_assert_null(load(bad[i], &e), "accepted: %s", bad[i]);
		cr_assert_gt(e.n, 0);
		errors_clear(&e);
	}
	EXPECT_NOTHING_LEFT();
}

Test(config_include, includes_nest_eight_deep)
{
	write_chain(8, "drain_timeout = 8\n");
	struct config *c = load_good("include(\"1.conf\")\n");
	cr_assert_eq(c->drain_timeout, 8);
	config_unref(c);
	write_chain(9, "drain_timeout = 9\n");
	expect_error("include(\"1.conf\")\n",
		     "8.conf:1: include(\"9.conf\"): nested more than 8 deep");
	EXPECT_NOTHING_LEFT();
}

Test(config_include, no_file_includes_itself)
{
	expect_error("\ninclude(\"skeld.conf\")\n",
		     "skeld.conf:2: include(\"skeld.conf\"): the file includes itself");
	file_write("back.conf", "\n\ninclude(\"./skeld.conf\")\n");
	expect_error("include(\"back.conf\")\n",
		     "back.conf:3: include(\"./skeld.conf\"): the file includes itself");
	MUST(symlink("skeld.conf", "link.conf") == 0 && link("skeld.conf", "hard.conf") == 0);
	expect_error("include(\"link.conf\")\n", "skeld.conf:1: include(\"link.conf\"): the file");
	expect_error("include(\"hard.conf\")\n", "skeld.conf:1: include(\"hard.conf\"): the file");
	EXPECT_NOTHING_LEFT();
}

Test(config_include, a_file_included_twice_sets_everything_twice)
{
	file_write("twice.conf", "drain_timeout = 5\n");
	expect_error("include(\"twice.conf\")\ninclude(\"twice.conf\")\n",
		     "twice.conf:1: drain_timeout is already set at twice.conf:1");
	file_write("nothing.conf", "# sets nothing\n");
	config_unref(load_good("include(\"nothing.conf\")\ninclude(\"nothing.conf\")\n"));
	EXPECT_NOTHING_LEFT();
}

/* SIZE bytes of comment. */
static void write_large(const char *name, size_t size)
{
	char *text = malloc(size);
	MUST(text);
	memset(text, '#', size);
	text[size - 1] = '\n';
	file_write_bytes(name, text, size);
	free(text);
}

Test(config_include, all_files_together_have_at_most_one_mib_of_text)
{
	static const char text[] = "include(\"a.conf\")\ninclude(\"b.conf\")\n";
	size_t rest = (1 << 20) - strlen(text);
	write_large("a.conf", 600000);
	write_large("b.conf", rest - 600000);
	config_unref(load_good(text));
	write_large("b.conf", rest - 600000 + 1);
	expect_error(text, "skeld.conf:2: b.conf is too large");
	EXPECT_NOTHING_LEFT();
}

Test(config_include, at_most_a_hundred_files_are_read)
{
	static char text[120 * 32];
	file_write("nothing.conf", "# sets nothing\n");
	for (int i = 0; i < 99; i++)
		strcat(text, "include(\"nothing.conf\")\n");
	config_unref(load_good(text));
	strcat(text, "include(\"nothing.conf\")\n");
	expect_error(text, "skeld.conf:100: include(\"nothing.conf\"): more than 100 files");
	EXPECT_NOTHING_LEFT();
}
