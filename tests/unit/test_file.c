/* config/file: only sound text reaches the parser. */
#include "config/file.h"
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

TestSuite(file, .init = fixture_enter, .fini = fixture_leave);

static void expect_refused_within(const char *path, size_t budget, const char *error)
{
	struct errors e = {0};
	struct config_file s;
	cr_assert_eq(config_file_read(path, budget, NULL, 0, &s, &e), -1, "%s", path);
	cr_assert_eq(e.n, 1);
	cr_assert_eq(strncmp(errors_text(&e, 0), error, strlen(error)), 0, "%s\nnot: %s",
		     errors_text(&e, 0), error);
	errors_clear(&e);
}

static void expect_refused(const char *path, const char *error)
{
	expect_refused_within(path, CONFIG_SIZE_MAX, error);
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
	struct config_file s;
	file_write("file", text);
	cr_assert_eq(config_file_read("file", CONFIG_SIZE_MAX, NULL, 0, &s, &e), 0, "%s\n%s", text,
		     errors_text(&e, 0));
	cr_assert_eq(e.n, 0);
	cr_assert_eq(s.length, strlen(expected));
	cr_assert_str_eq(s.text, expected, "%s", s.text);
	free(s.text);
}

Test(file, only_regular_files_are_read)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "socket"};
	MUST(mkdir("directory", 0755) == 0 && mkfifo("fifo", 0644) == 0);
	MUST(symlink("directory", "to_directory") == 0 && symlink("loop", "loop") == 0);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	close(fd);
	expect_refused("directory", "directory is a directory: expected a regular file");
	expect_refused("to_directory", "to_directory is a directory");
	expect_refused("fifo", "fifo is a FIFO");
	expect_refused("/dev/zero", "/dev/zero is a device");
	expect_refused("/dev/tty", "/dev/tty is a device");
	expect_refused("socket", "socket is a socket");
	expect_refused("missing", "cannot read missing: No such file");
	expect_refused("loop", "cannot read loop: Too many levels");
	expect_refused("fifo/file", "cannot read fifo/file: Not a directory");
	expect_refused("", "cannot read : No such file");
	EXPECT_NOTHING_LEFT();
}

Test(file, a_fifo_is_not_opened)
{
	char event[512];
	int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	MUST(mkfifo("fifo", 0644) == 0 && watch >= 0);
	file_write("file", "#\n");
	MUST(inotify_add_watch(watch, "fifo", IN_OPEN) >= 0);
	MUST(inotify_add_watch(watch, "file", IN_OPEN) >= 0);
	expect_refused("fifo", "fifo is a FIFO");
	cr_assert_eq(read(watch, event, sizeof(event)), -1);
	expect_read("#\n", "#\n");
	cr_assert_gt(read(watch, event, sizeof(event)), 0, "the watch does not work");
	close(watch);
	EXPECT_NOTHING_LEFT();
}

Test(file, an_unreadable_file_is_rejected)
{
	file_write("file", "#\n");
	MUST(chmod("file", 0) == 0);
	if (geteuid() == 0)
		MUST(chmod(".", 0755) == 0 && seteuid(65534) == 0);
	expect_refused("file", "cannot read file: Permission denied");
	if (getuid() == 0)
		MUST(seteuid(0) == 0);
	EXPECT_NOTHING_LEFT();
}

Test(file, a_file_larger_than_its_budget_is_rejected)
{
	struct errors e = {0};
	struct config_file s;
	file_write("file", "123456789\n");
	cr_assert_eq(config_file_read("file", 10, NULL, 0, &s, &e), 0);
	cr_assert_eq(s.length, 10);
	free(s.text);
	expect_refused_within("file", 9, "file is too large: expected at most 1048576");
	expect_refused_within("file", 0, "file is too large");
	MUST(truncate("file", (off_t)1 << 40) == 0); /* a sparse file, larger than the memory */
	expect_refused("file", "file is too large");
	EXPECT_NOTHING_LEFT();
}

Test(file, errors_of_an_included_file_have_the_line_of_the_include)
{
	struct errors e = {0};
	struct config_file s;
	cr_assert_eq(config_file_read("missing", 10, "conf", 7, &s, &e), -1);
	cr_assert_eq(config_file_read("/dev/zero", 10, "conf", 8, &s, &e), -1);
	file_write("large", "123456789\n");
	cr_assert_eq(config_file_read("large", 5, "conf", 9, &s, &e), -1);
	/* Errors in its text have its own name and line. */
	file_write("large", "\n\n\x01\n");
	cr_assert_eq(config_file_read("large", 5, "conf", 9, &s, &e), -1);
	static const char *const begins[] = {"conf:7: cannot read missing",
					     "conf:8: /dev/zero is a device",
					     "conf:9: large is too large", "large:3: control"};
	cr_assert_eq(e.n, 4);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(strncmp(errors_text(&e, i), begins[i], strlen(begins[i])), 0, "%s",
			     errors_text(&e, i));
	errors_clear(&e);
	EXPECT_NOTHING_LEFT();
}

Test(file, an_empty_file_is_rejected)
{
	expect_text_refused("", "file: empty file");
	EXPECT_NOTHING_LEFT();
}

Test(file, control_characters_are_rejected_with_their_line)
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

Test(file, a_newline_that_is_missing_at_the_end_is_added)
{
	static const struct {
		const char *text, *read;
		unsigned lines;
		bool may_be_cut;
	} files[] = {{"a = 1", "a = 1\n", 1, true},
		     {"a = 1\nb = 80", "a = 1\nb = 80\n", 2, true},
		     {"# a", "# a\n", 1, true},
		     {"a { }", "a { }\n", 1, false},
		     {"a = \"1\"", "a = \"1\"\n", 1, false},
		     {"a = '1'", "a = '1'\n", 1, false},
		     {"include(\"a\")", "include(\"a\")\n", 1, false},
		     {"a = 1\n", "a = 1\n", 1, false},
		     {"\n", "\n", 1, false}};
	struct errors e = {0};
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		struct config_file f;
		file_write("file", files[i].text);
		/* The budget is exactly the length of the file. */
		cr_assert_eq(config_file_read("file", strlen(files[i].text), NULL, 0, &f, &e), 0);
		cr_assert_str_eq(f.text, files[i].read);
		cr_assert_eq(f.length, strlen(files[i].text));
		cr_assert_eq(f.lines, files[i].lines);
		cr_assert_eq(f.may_be_cut, files[i].may_be_cut, "%s", files[i].text);
		free(f.text);
	}
	expect_text_refused("a = 1\r", "file:1: carriage return");
	EXPECT_NOTHING_LEFT();
}

Test(file, a_file_is_identified_by_device_and_inode)
{
	struct errors e = {0};
	struct config_file s[3];
	file_write("file", "#\n");
	file_write("other", "#\n");
	MUST(symlink("file", "link") == 0);
	static const char *const names[] = {"file", "link", "other"};
	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(config_file_read(names[i], 10, NULL, 0, &s[i], &e), 0);
		free(s[i].text);
	}
	cr_assert(s[0].inode == s[1].inode && s[0].device == s[1].device);
	cr_assert_neq(s[0].inode, s[2].inode);
	EXPECT_NOTHING_LEFT();
}
