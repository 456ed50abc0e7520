/* base/log without its writer thread: the form of a line, and the report of losses. */
#include "base/log.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int stderr_before;

static void setup(void)
{
	fixture_enter();
	stderr_before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	MUST(stderr_before >= 0 && unsetenv("JOURNAL_STREAM") == 0);
	descriptors_before = open_descriptors();
}

TestSuite(log, .init = setup, .fini = fixture_leave);

/* Make FD stderr. Call it before the first line: the log examines stderr only once. */
static void log_to(int fd)
{
	MUST(fd >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
}

static void end(void)
{
	MUST(dup2(stderr_before, STDERR_FILENO) == STDERR_FILENO);
	EXPECT_NOTHING_LEFT();
}

/* Stderr is file "log". */
static void log_to_file(void)
{
	int fd = open("log", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	log_to(fd);
	close(fd);
}

static void use_file(const char *name)
{
	char why[256];
	struct log_target *t = log_open(LOG_TO_FILE, name, why, sizeof(why));
	cr_assert(t, "%s", why);
	log_switch(t);
}

/* The lines of TEXT, which is freed, without their "2026-01-31 23:59:59.999+01:00 ". */
static void expect_lines(char *text, const char *expected)
{
	char *rest = text, *line, *out = calloc(1, strlen(text) + 1);
	MUST(out);
	for (; (line = strsep(&rest, "\n")) && rest;) {
		int at = 0;
		sscanf(line, "%*4d-%*2d-%*2d %*2d:%*2d:%*2d.%*3d%*1[-+]%*2d:%*2d %n", &at);
		cr_assert(!*line || at == 30, "%s", line);
		strcat(strcat(out, line + at), "\n");
	}
	cr_assert_str_eq(out, expected, "%s", out);
	cr_assert_str_eq(line, "", "the last line has no end");
	free(out);
	free(text);
}

static void expect_in_file(const char *name, const char *expected)
{
	const char *text = file_text(name);
	MUST(text);
	expect_lines(strdup(text), expected);
}

Test(log, lines_below_the_level_are_not_written)
{
	static const char *const names[] = {"error  ", "warning", "notice ", "info   ", "debug  "};
	log_to_file();
	cr_assert_eq(log_level(), LOG_INFO);
	for (int level = LOG_ERR; level <= LOG_DEBUG; level++) {
		char expected[128] = "";
		log_set_level(level);
		cr_assert_eq(log_level(), level);
		for (int i = LOG_ERR; i <= level; i++)
			sprintf(expected + strlen(expected), "%s a line of %d\n",
				names[i - LOG_ERR], i);
		log_error("a line of %d", LOG_ERR);
		log_warning("a line of %d", LOG_WARNING);
		log_notice("a line of %d", LOG_NOTICE);
		log_info("a line of %d", LOG_INFO);
		log_debug("a line of %d", LOG_DEBUG);
		expect_in_file("log", expected);
		MUST(truncate("log", 0) == 0);
	}
	end();
}

Test(log, log_always_writes_at_every_level)
{
	log_to_file();
	log_set_level(LOG_ERR);
	log_notice("not written");
	log_always("%s", "written");
	expect_in_file("log", "notice  written\n");
	end();
}

Test(log, control_characters_cannot_forge_a_line)
{
	log_to_file();
	log_info("peer said: %s", "a\nerror b\r\x1b[2J\x7f\xc2\x9b\xff\xe2\x80\xae.");
	expect_in_file("log", "info    peer said: a\\x0aerror b\\x0d\\x1b[2J\\x7f\\xc2\\x9b\\xff"
			      "\\xe2\\x80\\xae.\n");
	end();
}

/*
 * Log the longest possible text made of PIECE. Returns the length of the line without the newline.
 */
static size_t long_line(const char *piece)
{
	char text[3 * LOG_LINE_MAX] = "";
	while (strlen(text) < 2 * LOG_LINE_MAX)
		strcat(text, piece);
	MUST(truncate("log", 0) == 0);
	log_info("%s", text);
	const char *line = file_text("log");
	size_t n = strlen(line);
	cr_assert(n <= LOG_LINE_MAX && n > LOG_LINE_MAX - 8, "%zu bytes", n);
	cr_assert_eq(strchr(line, '\n'), line + n - 1);
	for (const char *p = line + 38; p + 1 < line + n; p += strlen(piece))
		cr_assert_eq(strncmp(p, piece, strlen(piece)), 0, "%s", p);
	return n - 1;
}

Test(log, a_line_is_cut_at_a_whole_character)
{
	log_to_file();
	long_line("x");
	long_line("\xc3\xa9");
	long_line("\xe2\x82\xac");
	long_line("\xf0\x9f\x98\x80");
	MUST(truncate("log", 0) == 0);
	log_info("%2000s%2000s%s", "", "", "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n");
	const char *line = file_text("log");
	size_t n = strlen(line);
	cr_assert(n <= LOG_LINE_MAX);
	cr_assert_str_eq(line + n - 9, "\\x0a\\x0a\n", "%s", line + 4000);
	end();
}

Test(log, errno_is_kept)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	log_to(full);
	errno = EXDEV;
	log_error("lost");
	cr_assert_eq(errno, EXDEV);
	cr_assert_eq(log_lost(), 1);
	log_always("lost, too");
	cr_assert_eq(errno, EXDEV);
	log_debug("not written");
	cr_assert_eq(errno, EXDEV);
	close(full);
	end();
}

Test(log, lines_to_a_pipe_without_reader_are_lost)
{
	int ends[2];
	MUST(pipe2(ends, O_CLOEXEC) == 0);
	MUST(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	log_to(ends[1]);
	close(ends[0]);
	close(ends[1]);
	log_info("lost");
	cr_assert_eq(log_lost(), 1);
	end();
}

Test(log, lines_lost_on_a_full_disk_are_reported_later)
{
	use_file("/dev/full");
	log_info("lost");
	log_info("lost");
	cr_assert_eq(log_lost(), 2);
	use_file("log");
	log_info("better");
	expect_in_file("log", "warning log lines lost: count=2; the destination was full or too "
			      "slow\ninfo    better\n");
	log_stop();
	end();
}

Test(log, a_truncated_line_is_ended_before_the_next)
{
	struct rlimit small = {.rlim_cur = 80, .rlim_max = RLIM_INFINITY}, large = small;
	large.rlim_cur = RLIM_INFINITY;
	MUST(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	use_file("log");
	log_info("whole");
	MUST(setrlimit(RLIMIT_FSIZE, &small) == 0);
	log_info("what does not fit into a file of eighty bytes");
	log_info("nothing of this fits");
	MUST(setrlimit(RLIMIT_FSIZE, &large) == 0);
	log_info("whole again");
	cr_assert_eq(log_lost(), 2);
	char *text = strdup(file_text("log"));
	cr_assert_eq(text[80], '\n', "%s", text);
	text[48] = '\0';
	cr_assert(strchr(text, '\n'));
	expect_lines(strdup(text + 81), "warning log lines lost: count=2; the destination was full "
					"or too slow\ninfo    whole again\n");
	free(text);
	log_stop();
	end();
}
