/* base/source: bytes that a parser can be trusted with. */
#include "base/source.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

TestSuite(source, .init = fixture_enter, .fini = fixture_leave);

static void expect_refused_within(const char *path, size_t budget, const char *error)
{
	struct errors e = {0};
	struct source s;
	cr_assert_eq(source_read(path, budget, NULL, 0, &s, &e), -1, "%s", path);
	cr_assert_eq(e.n, 1);
	cr_assert_eq(strncmp(errors_text(&e, 0), error, strlen(error)), 0, "%s\nnot: %s",
		     errors_text(&e, 0), error);
	errors_clear(&e);
}

static void expect_refused(const char *path, const char *error)
{
	expect_refused_within(path, SOURCE_MAX, error);
}

static void expect_bytes_refused(const char *bytes, size_t n, const char *error)
{
	file_write_bytes("file", bytes, n);
	expect_refused("file", error);
}

static void expect_text_refused(const char *text, const char *error)
{
	expect_bytes_refused(text, strlen(text), error);
}

static void expect_read(const char *text, const char *expected)
{
	struct errors e = {0};
	struct source s;
	file_write("file", text);
	cr_assert_eq(source_read("file", SOURCE_MAX, NULL, 0, &s, &e), 0, "%s\n%s", text,
		     errors_text(&e, 0));
	cr_assert_eq(e.n, 0);
	cr_assert_eq(s.length, strlen(expected));
	cr_assert_str_eq(s.text, expected, "%s", s.text);
	free(s.text);
}

Test(source, what_is_not_a_regular_file_is_refused)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "socket"};
	MUST(mkdir("directory", 0755) == 0 && mkfifo("fifo", 0644) == 0);
	MUST(symlink("directory", "to_directory") == 0 && symlink("loop", "loop") == 0);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	close(fd);
	expect_refused("directory", "directory: is a directory, expected a regular file");
	expect_refused("to_directory", "to_directory: is a directory");
	expect_refused("fifo", "fifo: is a FIFO");
	expect_refused("/dev/zero", "/dev/zero: is a device");
	expect_refused("/dev/tty", "/dev/tty: is a device");
	expect_refused("socket", "socket: is a socket");
	expect_refused("missing", "missing: cannot be read: No such file");
	expect_refused("loop", "loop: cannot be read: Too many levels");
	expect_refused("fifo/file", "fifo/file: cannot be read: Not a directory");
	expect_refused("", ": cannot be read: No such file");
	EXPECT_NOTHING_LEFT();
}

Test(source, a_fifo_is_not_even_opened)
{
	char event[512];
	int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	MUST(mkfifo("fifo", 0644) == 0 && watch >= 0);
	file_write("file", "#\n");
	MUST(inotify_add_watch(watch, "fifo", IN_OPEN) >= 0);
	MUST(inotify_add_watch(watch, "file", IN_OPEN) >= 0);
	expect_refused("fifo", "fifo: is a FIFO");
	cr_assert_eq(read(watch, event, sizeof(event)), -1);
	expect_read("#\n", "#\n");
	cr_assert_gt(read(watch, event, sizeof(event)), 0, "the watch does not work");
	close(watch);
	EXPECT_NOTHING_LEFT();
}

Test(source, an_unreadable_file_is_refused)
{
	file_write("file", "#\n");
	MUST(chmod("file", 0) == 0);
	if (geteuid() == 0)
		MUST(chmod(".", 0755) == 0 && seteuid(65534) == 0);
	expect_refused("file", "file: cannot be read: Permission denied");
	if (getuid() == 0)
		MUST(seteuid(0) == 0);
	EXPECT_NOTHING_LEFT();
}

Test(source, a_file_is_read_up_to_its_budget)
{
	struct errors e = {0};
	struct source s;
	file_write("file", "123456789\n");
	cr_assert_eq(source_read("file", 10, NULL, 0, &s, &e), 0);
	cr_assert_eq(s.length, 10);
	free(s.text);
	expect_refused_within("file", 9, "file: is too large: a configuration has at most 1048576");
	expect_refused_within("file", 0, "file: is too large");
	MUST(truncate("file", (off_t)1 << 40) == 0); /* with a hole, and no room in memory */
	expect_refused("file", "file: is too large");
	EXPECT_NOTHING_LEFT();
}

Test(source, errors_of_the_file_stand_where_it_is_included)
{
	struct errors e = {0};
	struct source s;
	cr_assert_eq(source_read("missing", 10, "conf", 7, &s, &e), -1);
	cr_assert_eq(source_read("/dev/zero", 10, "conf", 8, &s, &e), -1);
	file_write("large", "123456789\n");
	cr_assert_eq(source_read("large", 5, "conf", 9, &s, &e), -1);
	/* Errors of its text stand there. */
	file_write("large", "\n\n\x01\n");
	cr_assert_eq(source_read("large", 5, "conf", 9, &s, &e), -1);
	static const char *const begins[] = {"conf:7: missing: cannot be read",
					     "conf:8: /dev/zero: is a device",
					     "conf:9: large: is too large", "large:3: control"};
	cr_assert_eq(e.n, 4);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(strncmp(errors_text(&e, i), begins[i], strlen(begins[i])), 0, "%s",
			     errors_text(&e, i));
	errors_clear(&e);
	EXPECT_NOTHING_LEFT();
}

Test(source, an_empty_file_was_cut)
{
	expect_text_refused("", "file: is empty");
	EXPECT_NOTHING_LEFT();
}

Test(source, control_characters_are_refused_where_they_stand)
{
	for (int ch = 0; ch < 0x20; ch++) {
		char text[] = "a\n\nb \n", error[64];
		text[4] = (char)ch;
		snprintf(error, sizeof(error), "file:3: control character 0x%02x", (unsigned)ch);
		if (ch == '\t' || ch == '\r' || ch == '\n')
			expect_read(text, text);
		else
			expect_bytes_refused(text, sizeof(text) - 1, error);
	}
	expect_text_refused("a\x7f\n", "file:1: control character 0x7f");
	expect_text_refused("# \x1b\n", "file:1: control character 0x1b");
	expect_text_refused("'\x01'\n", "file:1: control character 0x01");
	expect_bytes_refused("a = 1\n\0b = 2\n", 13, "file:2: control character 0x00");
	expect_read("'\x80\xff'\n", "'\x80\xff'\n");
	EXPECT_NOTHING_LEFT();
}

Test(source, the_last_line_has_an_end)
{
	expect_text_refused("a = 1", "file:1: the last line has no end");
	expect_text_refused("a = 1\nb = 80", "file:2: the last line has no end");
	expect_text_refused("a = 1\r", "file:1: the last line has no end");
	expect_read("\n", "\n");
	EXPECT_NOTHING_LEFT();
}

Test(source, a_file_is_known_by_whatever_name)
{
	struct errors e = {0};
	struct source s[3];
	file_write("file", "#\n");
	file_write("other", "#\n");
	MUST(symlink("file", "link") == 0);
	static const char *const names[] = {"file", "link", "other"};
	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(source_read(names[i], 10, NULL, 0, &s[i], &e), 0);
		free(s[i].text);
	}
	cr_assert(s[0].inode == s[1].inode && s[0].device == s[1].device);
	cr_assert_neq(s[0].inode, s[2].inode);
	EXPECT_NOTHING_LEFT();
}
