/* The text of a configuration, from the file to the log. The unit tests of config/ have all
 * mistakes. */
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

static void include_write(const char *name, const char *text)
{
	char path[64];
	file_write_bytes(path_in(name, path), text, strlen(text));
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
