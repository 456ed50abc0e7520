/* base/log_json: an event as a JSON object. */
#include "base/log.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int stderr_before;

static void setup(void)
{
	char why[256];
	fixture_enter();
	stderr_before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	MUST(stderr_before >= 0 && unsetenv("JOURNAL_STREAM") == 0);
	descriptors_before = open_descriptors();
	struct log_target *t = log_open(LOG_TO_FILE, "log", why, sizeof(why));
	cr_assert(t, "%s", why);
	log_switch(t);
	log_set_format(LOG_AS_JSON);
}

TestSuite(log_json, .init = setup, .fini = fixture_leave);

static void end(void)
{
	log_stop();
	EXPECT_NOTHING_LEFT();
}

/* Expect that the log is one object with LEVEL and these MEMBERS, then truncate it. */
static void expect_members(const char *level, const char *members)
{
	char expected[2 * LOG_LINE_MAX];
	const char *line = file_text("log");
	int n = 0;
	sscanf(line, "{\"time\":\"%*4d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3d%*1[-+]%*2d:%*2d\"%n", &n);
	cr_assert_eq(n, 39, "%s", line);
	snprintf(expected, sizeof(expected), ",\"level\":\"%s\",%s}\n", level, members);
	cr_assert_str_eq(line + n, expected, "%s\nexpected%s", line, expected);
	MUST(truncate("log", 0) == 0);
}

Test(log_json, keys_become_fields_and_the_rest_is_the_detail)
{
	log_notice("reloaded: generation=%llu duration_ms=%.1f config=%s; every worker serves it",
		   2ull, 1.25, "/etc/skeld.conf");
	expect_members("notice", "\"event\":\"reloaded\",\"message\":\"reloaded\",\"generation\":2,"
				 "\"duration_ms\":1.2,\"config\":\"/etc/skeld.conf\","
				 "\"detail\":\"every worker serves it\"");
	log_warning("no key: %s and %d, but \"%s\"", "text", 7, "quotes");
	expect_members("warning", "\"event\":\"no_key\",\"message\":\"no key\","
				  "\"detail\":\"text and 7, but \\\"quotes\\\"\"");
	log_error("nothing else");
	expect_members("error", "\"event\":\"nothing_else\",\"message\":\"nothing else\"");
	end();
}

Test(log_json, the_event_has_no_values_of_the_message)
{
	log_info("limit reached (limits.connections = %zu): worker=%u", (size_t)10, 3u);
	expect_members("info", "\"event\":\"limit_reached\","
			       "\"message\":\"limit reached (limits.connections = 10)\","
			       "\"limits_connections\":10,\"worker\":3");
	log_info("cannot write %s/%s: %s", "/run", "status", "No space");
	expect_members("info", "\"event\":\"cannot_write\","
			       "\"message\":\"cannot write /run/status\",\"detail\":\"No space\"");
	log_info("unreadable as user=\"%s\" NOTIFY=%s: here", "a b", "x");
	expect_members("info", "\"event\":\"unreadable_as\","
			       "\"message\":\"unreadable as user=\\\"a b\\\" NOTIFY=x\","
			       "\"user\":\"a b\",\"notify\":\"x\",\"detail\":\"here\"");
	end();
}

/* Fields come from the format, never from a value. */
Test(log_json, a_value_forges_no_field)
{
	const char *forged = "a: worker=7 \",\"level\":\"error\"\n{\"x\":1}";
	log_info("bad request: line=%u, %s", 1u, forged);
	expect_members("info", "\"event\":\"bad_request\",\"message\":\"bad request\",\"line\":1,"
			       "\"detail\":\"a: worker=7 \\\",\\\"level\\\":\\\"error\\\"\\u000a"
			       "{\\\"x\\\":1}\"");
	log_info("%s", forged);
	expect_members("info", "\"event\":\"message\",\"message\":\"a: worker=7 \\\",\\\"level\\\":"
			       "\\\"error\\\"\\u000a{\\\"x\\\":1}\"");
	log_info("name=%s worker=%d", "x\",\"worker\":7", 1);
	expect_members("info", "\"event\":\"message\",\"message\":\"name=x\\\",\\\"worker\\\":7 "
			       "worker=1\",\"name\":\"x\\\",\\\"worker\\\":7\",\"worker\":1");
	end();
}

Test(log_json, a_key_that_is_taken_stays_in_the_detail)
{
	log_info("twice: n=%d n=%d time=%s level=%d", 1, 2, "now", 3);
	expect_members("info", "\"event\":\"twice\",\"message\":\"twice\",\"n\":1,"
			       "\"detail\":\"n=2 time=now level=3\"");
	end();
}

Test(log_json, integers_above_2_53_are_strings)
{
	log_info("numbers: a=%lld b=%lld c=%" PRIu64 " d=%lld e=%zu f=%ld g=%02x h=%g i=%g",
		 9007199254740992LL, 9007199254740993LL, UINT64_MAX, -9007199254740993LL, (size_t)1,
		 -2L, 10u, 0.5, 1.0 / 0.0);
	expect_members("info", "\"event\":\"numbers\",\"message\":\"numbers\","
			       "\"a\":9007199254740992,\"b\":\"9007199254740993\","
			       "\"c\":\"18446744073709551615\",\"d\":\"-9007199254740993\","
			       "\"e\":1,\"f\":-2,\"g\":\"0a\",\"h\":0.5,\"i\":\"inf\"");
	end();
}

Test(log_json, controls_and_malformed_utf8_are_escaped)
{
	log_info("text: a=%s", "\x01\x7f\xc2\x9b\xff\xe2\x80\xae\xc3\xa9\xf0\x9f\x98\x80\\\"");
	expect_members("info", "\"event\":\"text\",\"message\":\"text\",\"a\":\"\\u0001\\u007f"
			       "\\u009b\xef\xbf\xbd\\u202e\xc3\xa9\xf0\x9f\x98\x80\\\\\\\"\"");
	end();
}

Test(log_json, an_event_has_the_fields_that_its_caller_adds)
{
	const struct log_about about = {
		.event = "chosen",
		.prefix = "echo 1",
		.field = {LOG_TEXT("service", "echo"), LOG_NUMBER("worker", 1)}};
	log_about(LOG_INFO, &about, "done: n=%d", 5);
	expect_members("info", "\"event\":\"chosen\",\"message\":\"done\",\"service\":\"echo\","
			       "\"worker\":1,\"n\":5");
	log_always_about(&(struct log_about){.pairs = "open=1 lag_ms=0.5"}, "stats %s", "all");
	expect_members("notice", "\"event\":\"stats\",\"message\":\"stats all\",\"open\":1,"
				 "\"lag_ms\":0.5");
	log_set_format(LOG_AS_TEXT);
	log_about(LOG_INFO, &about, "done: n=%d", 5);
	log_always_about(&(struct log_about){.pairs = "open=1 lag_ms=0.5"}, "stats %s", "all");
	const char *text = file_text("log");
	cr_assert(strstr(text, " info    echo 1: done: n=5\n") &&
			  strstr(text, " notice  stats all: open=1 lag_ms=0.5\n"),
		  "%s", text);
	end();
}

Test(log_json, a_long_line_is_cut_and_stays_an_object)
{
	char text[2 * LOG_LINE_MAX];
	for (size_t n = LOG_LINE_MAX - 400; n < sizeof(text); n += 37) {
		memset(text, n % 2 ? '"' : '\x01', n);
		text[n] = '\0';
		log_info("long %s: a=%s %s", text, text, text);
		const char *line = file_text("log");
		size_t length = strlen(line), quotes = 0;
		cr_assert(length <= LOG_LINE_MAX, "%zu", length);
		cr_assert_str_eq(line + length - 3, "\"}\n", "%s", line);
		for (const char *p = line; *p; p++) {
			if (*p == '\\')
				p++;
			else
				quotes += *p == '"';
		}
		cr_assert_eq(quotes % 2, 0, "%s", line);
		MUST(truncate("log", 0) == 0);
	}
	end();
}

Test(log_json, lost_lines_are_reported_as_an_object)
{
	char why[256];
	struct log_target *full = log_open(LOG_TO_FILE, "/dev/full", why, sizeof(why));
	cr_assert(full, "%s", why);
	log_switch(full);
	log_info("lost");
	log_switch(log_open(LOG_TO_FILE, "log", why, sizeof(why)));
	log_info("written");
	const char *line = file_text("log"), *next = strchr(line, '\n') + 1;
	cr_assert(
		strstr(line,
		       "\"event\":\"log_lines_lost\",\"message\":\"log lines lost\",\"count\":1,"),
		"%s", line);
	cr_assert(strstr(next, "\"event\":\"written\""), "%s", line);
	end();
}

static void stderr_is_the_journal(void)
{
	struct stat st;
	char value[64];
	int fd = open("stderr", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	MUST(fd >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO && close(fd) == 0);
	MUST(fstat(STDERR_FILENO, &st) == 0);
	snprintf(value, sizeof(value), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	MUST(setenv("JOURNAL_STREAM", value, 1) == 0);
}

Test(log_json, the_journal_gets_the_level_before_the_object)
{
	stderr_is_the_journal();
	cr_assert(log_switch_to_stderr());
	log_error("one");
	const char *line = file_text("stderr");
	cr_assert(strncmp(line, "<3>{\"time\":", 11) == 0, "%s", line);
	MUST(dup2(stderr_before, STDERR_FILENO) == STDERR_FILENO);
	end();
}
