/* The text of a configuration: all mistakes are reported with FILE:LINE. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

DAEMON_SUITE(config_text);

/* Reload with TEXT behind the three lines of BASE, and expect that it is rejected with each of the
 * LINES. */
static void expect_lines(const char *text, const char *const lines[], size_t n)
{
	long generation = status_number("generation");
	size_t before = strlen(log_text());
	config_write(BASE "%s", text);
	daemon_reload_and_wait();
	expect_rejected(generation, lines[0]);
	const char *since = log_text() + before;
	for (size_t i = 0; i < n; i++)
		if (!strstr(since, lines[i]))
			fail_test("\"%s\" was not reported:\n%s", lines[i], text);
}

static void expect_line(const char *text, const char *lines)
{
	expect_lines(text, &lines, 1);
}

static void include_write(const char *name, const char *text)
{
	char path[64];
	file_write_bytes(path_in(name, path), text, strlen(text));
}

Test(config_text, unclosed_text_is_rejected)
{
	daemon_start(BASE);
	expect_line("limits {\n\tbuffer = 65536\n", "skeld.conf:");
	expect_line("listen \"b\" {\n", "skeld.conf:");
	expect_line("limits { buffer = 65536 } /* and so on\n", "skeld.conf:");
	expect_line("echo { banner = \"never ends }\n", "skeld.conf:");
	expect_line("echo { banner = 'never ends }\n", "skeld.conf:");
	expect_line("\"\n", "skeld.conf:");
	expect_line("'\n", "skeld.conf:");
	expect_line("include(\"other.conf\"\n", "skeld.conf:");
	expect_line("drain_timeout =\n", "skeld.conf:");
	expect_line("drain_timeout\n", "skeld.conf:");
	expect_line("limits\n", "skeld.conf:");
	expect_line("}\n", "skeld.conf:4: ");
	expect_line("limits { } }\n", "skeld.conf:4: ");
	daemon_finish();
}

Test(config_text, duplicates_are_rejected)
{
	daemon_start(BASE);
	expect_line("workers = 1\n", "skeld.conf:4: ");
	expect_line("limits { buffer = 8192\nbuffer = 8192 }\n", "skeld.conf:5: ");
	expect_line("limits { buffer = 8192 }\nlimits { buffer = 8192 }\n", "skeld.conf:5: ");
	expect_line("listen \"main\" { address = \"\" }\n", "skeld.conf:4: ");
	expect_line("listen \"x\" { address = \"\" }\nlisten \"x\" { backlog = 5 }\n",
		    "skeld.conf:5: ");
	expect_line("listen \"x\" { }\nlisten \"x\" { }\n", "skeld.conf:5: ");
	include_write("more.conf", "\nlisten \"main\" { address = \"\" }\n");
	expect_line("include(\"more.conf\")\n", "more.conf:2: ");
	include_write("more.conf", "\n\nworkers = 1\n");
	expect_line("include(\"more.conf\")\n", "more.conf:3: ");
	daemon_finish();
}

Test(config_text, all_errors_are_reported_together)
{
	static const char *const lines[] = {
		"skeld.conf:4: ", "skeld.conf:5: ", "skeld.conf:6: ",	 "skeld.conf:7: ",
		"skeld.conf:8: ", "skeld.conf:9: ", "more.conf:1: ",	 "more.conf:2: ",
		"drain_timeout",  "log.level",	    "limits.buffer",	 "limits.speed",
		"colour",	  "fast",	    "rejected: errors=8"};
	daemon_start(BASE);
	include_write("more.conf", "fast = 1\nadmin { addres = \"\" }\n");
	expect_lines("drain_timeout = -1\n"
		     "log { level = \"loud\" }\n"
		     "limits { buffer = \"much\"\n"
		     "speed = 3 }\n"
		     "colour = \"blue\"\n"
		     "listen \"b\" { address = \"b\" }\n"
		     "include(\"more.conf\")\n",
		     lines, sizeof(lines) / sizeof(*lines));
	daemon_finish();
}

Test(config_text, values_out_of_their_range_are_rejected)
{
	static const char *const wrong[] = {"drain_timeout = 3601\n",
					    "drain_timeout = 1e3\n",
					    "drain_timeout = 0x10\n",
					    "drain_timeout = 99999999999999999999\n",
					    "drain_timeout = \"\"\n",
					    "drain_timeout = 61m\n",
					    "limits { idle_timeout = 5 m }\n",
					    "listen \"b\" { proxy = maybe }\n",
					    "limits { connections = 0 }\n",
					    "limits { connections = 10 k }\n",
					    "log { target = \"file\" }\n",
					    "log { file = \"relative\" }\n",
					    "listen \"b\" { address = \"1.2.3.4\" }\n",
					    "listen \"b\" { address = \":1\" }\n",
					    "listen \"b\" { address = \"::1:1\" }\n",
					    "listen \"b\" { address = \"1.2.3.4:65536\" }\n",
					    "listen \"b\" { address = \"unix:relative\" }\n",
					    "listen \"b\" { backlog = 0 }\n",
					    "listen { address = \"\" }\n",
					    "limits = 5\n",
					    "drain_timeout { }\n",
					    "limits \"title\" { }\n",
					    "nonsense\n",
					    "drain_timeout += 1\n",
					    "drain_timeout = {1, 2}\n"};
	daemon_start(BASE);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		expect_line(wrong[i], "skeld.conf:4: ");
	daemon_finish();
}

Test(config_text, include_is_relative_to_the_file_that_includes)
{
	char path[64];
	MUST(mkdir(path_in("conf.d", path), 0755) == 0);
	include_write("conf.d/a.conf", "include(\"b.conf\")\ndrain_timeout = 7\n");
	include_write("conf.d/b.conf", "include('../c.conf')\n");
	include_write("c.conf", "limits { idle_timeout = 77 }\n");
	daemon_start(BASE);
	config_write(BASE "include(\"conf.d/a.conf\")\n");
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	cr_assert(log_contains("drain_timeout: 10 -> 7"), "%s", log_text());
	cr_assert(log_contains("limits.idle_timeout: 300 -> 77"), "%s", log_text());
	daemon_finish();
}

Test(config_text, included_files_are_checked_like_the_main_file)
{
	char path[64], link[64];
	daemon_start(BASE);
	expect_line("include(\"missing.conf\")\n", "skeld.conf:4: ");
	MUST(mkdir(path_in("dir.conf", path), 0755) == 0);
	expect_line("\ninclude(\"dir.conf\")\n", "skeld.conf:5: ");
	MUST(mkfifo(path_in("fifo.conf", path), 0644) == 0);
	expect_line("include(\"fifo.conf\")\n", "skeld.conf:4: ");
	expect_line("include(\"/dev/zero\")\n", "skeld.conf:4: ");
	expect_line("include(\"skeld.conf\")\n", "skeld.conf:4: ");
	MUST(symlink(config_path, path_in("link.conf", link)) == 0);
	expect_line("include(\"link.conf\")\n", "skeld.conf:4: ");
	include_write("back.conf", "\ninclude(\"skeld.conf\")\n");
	expect_line("include(\"back.conf\")\n", "back.conf:2: ");
	include_write("open.conf", "limits {\n");
	expect_line("include(\"open.conf\")\n", "open.conf:");
	include_write("open.conf", "");
	expect_line("include(\"open.conf\")\n", "open.conf");
	include_write("open.conf", "/* the rest of all files is a comment?\n");
	expect_line("include(\"open.conf\")\ndrain_timeout = 5\n", "open.conf:");
	expect_line("include(\"a\", \"b\")\n", "skeld.conf:4: ");
	expect_line("include()\n", "skeld.conf:4: ");
	daemon_finish();
}

Test(config_text, a_pattern_includes_sorted_files)
{
	char path[64];
	MUST(mkdir(path_in("conf.d", path), 0755) == 0);
	daemon_start(BASE "include(\"conf.d/*.conf\")\n"); /* none */
	include_write("conf.d/2.conf", "drain_timeout = 7\n");
	include_write("conf.d/1.conf", "limits { idle_timeout = 2m }");
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	cr_assert(log_contains("drain_timeout: 10 -> 7"), "%s", log_text());
	cr_assert(log_contains("limits.idle_timeout: 300 -> 120"), "%s", log_text());
	include_write("conf.d/3.conf", "\ndrain_timeout = 8\n");
	daemon_reload_and_wait();
	expect_rejected(2, "3.conf:2: drain_timeout is already set at ");
	daemon_finish();
}

Test(config_text, a_likely_mistake_is_a_warning_in_the_log)
{
	config_write(BASE "log { file = \"/tmp/x\" }\n# the end");
	daemon_spawn();
	notify_wait("READY=1");
	cr_assert_eq(log_count("skeld.conf:4: log.file = \"/tmp/x\" has no effect"), 1, "%s",
		     log_text());
	cr_assert_eq(log_count("skeld.conf:5: no newline at the end"), 1, "%s", log_text());
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	cr_assert_eq(log_count("skeld.conf:4: log.file = \"/tmp/x\" has no effect"), 2, "%s",
		     log_text());
	cr_assert_eq(log_count_warnings(), 4, "%s", log_text());
	daemon_finish();
}

Test(config_text, includes_nest_eight_deep)
{
	char name[32], text[64];
	for (int i = 1; i <= 9; i++) {
		snprintf(name, sizeof(name), "%d.conf", i);
		snprintf(text, sizeof(text), "include(\"%d.conf\")\n", i + 1);
		include_write(name, i < 8 ? text : "drain_timeout = 9\n");
	}
	daemon_start(BASE);
	config_write(BASE "include(\"1.conf\")\n");
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	include_write("8.conf", "include(\"9.conf\")\n");
	expect_line("include(\"1.conf\")\n", "8.conf:1: ");
	daemon_finish();
}
