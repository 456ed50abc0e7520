/* control/runtime: one instance at a time, files that are never half written, nothing left. */
#include "control/runtime.h"
#include "fixture.h"
#include "runtime_open.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(runtime, .init = fixture_enter, .fini = fixture_leave);

static mode_t mode_of(const char *name)
{
	struct stat st;
	MUST(lstat(name, &st) == 0);
	return st.st_mode;
}

Test(runtime, a_missing_directory_is_made_and_removed)
{
	struct runtime r;
	umask(022);
	open_well(&r, "run");
	cr_assert(r.made);
	cr_assert_eq(mode_of("run"), S_IFDIR | 0755);
	cr_assert_eq(mode_of("run/skeld.pid"), S_IFREG | 0644);
	runtime_close(&r);
	cr_assert_not(file_exists("run"));
	EXPECT_NOTHING_LEFT();
}

Test(runtime, a_directory_that_was_there_stays)
{
	struct runtime r;
	MUST(mkdir("run", 0700) == 0);
	file_write("run/other", "stays\n");
	open_well(&r, "run");
	cr_assert_not(r.made);
	runtime_close(&r);
	cr_assert_eq(mode_of("run"), S_IFDIR | 0700);
	cr_assert(file_exists("run/other") && !file_exists("run/skeld.pid"));
	EXPECT_NOTHING_LEFT();
}

Test(runtime, close_removes_its_files_and_no_other)
{
	static const char *const files[] = {"skeld.pid", "status", "stats.prom"};
	struct runtime r;
	struct errors e = {0};
	open_well(&r, "run");
	for (size_t i = 1; i < 3; i++)
		cr_assert_eq(runtime_replace(&r, files[i], "x\n", 2, &e), 0);
	file_write("run/.new", "half of a file");
	file_write("run/other", "stays\n");
	runtime_close(&r);
	for (size_t i = 0; i < 3; i++) {
		char path[PATH_IN_MAX];
		snprintf(path, sizeof(path), "run/%s", files[i]);
		cr_assert_not(file_exists(path), "%s", path);
	}
	cr_assert_not(file_exists("run/.new"));
	cr_assert(file_exists("run/other"));
	EXPECT_NOTHING_LEFT();
}

Test(runtime, announce_writes_the_pid)
{
	char expected[32];
	struct runtime r;
	struct errors e = {0};
	MUST(mkdir("run", 0755) == 0);
	file_write("run/skeld.pid", "a longer text than any pid has\n");
	open_well(&r, "run");
	cr_assert_eq(runtime_announce(&r, &e), 0);
	snprintf(expected, sizeof(expected), "%d\n", (int)getpid());
	char *text = file_text("run/skeld.pid"); /* closing it lets go of the lock: POSIX */
	cr_assert_str_eq(text, expected);
	free(text);
	runtime_close(&r);
	EXPECT_NOTHING_LEFT();
}

Test(runtime, the_pid_file_is_not_followed)
{
	MUST(mkdir("run", 0755) == 0);
	file_write("precious", "keep me\n");
	MUST(symlink("../precious", "run/skeld.pid") == 0);
	expect_refused("run", "cannot open run/skeld.pid: Too many levels of symbolic links");
	cr_assert_eq(runtime_owner("run"), 0);
	char *text = file_text("precious");
	cr_assert_str_eq(text, "keep me\n");
	free(text);
	EXPECT_NOTHING_LEFT();
}

Test(runtime, a_file_that_has_another_name_is_not_ours)
{
	MUST(mkdir("run", 0755) == 0);
	file_write("precious", "keep me\n");
	MUST(link("precious", "run/skeld.pid") == 0);
	expect_refused("run", "cannot use run/skeld.pid: the file has another name, too");
	char *text = file_text("precious");
	cr_assert_str_eq(text, "keep me\n");
	free(text);
	EXPECT_NOTHING_LEFT();
}

Test(runtime, what_is_no_directory_is_refused)
{
	file_write("file", "");
	expect_refused("file", "cannot use the runtime directory file: Not a directory");
	expect_refused("missing/run", "cannot use the runtime directory missing/run: No such file");
	MUST(mkdir("run", 0755) == 0 && mkdir("run/skeld.pid", 0755) == 0);
	expect_refused("run", "cannot open run/skeld.pid: Is a directory");
	EXPECT_NOTHING_LEFT();
}

Test(runtime, nobody_owns_what_is_not_there)
{
	cr_assert_eq(runtime_owner("missing"), 0);
	MUST(mkdir("run", 0755) == 0);
	cr_assert_eq(runtime_owner("run"), 0);
	file_write("run/skeld.pid", "1\n");
	cr_assert_eq(runtime_owner("run"), 0);
	MUST(unlink("run/skeld.pid") == 0 && mkfifo("run/skeld.pid", 0644) == 0);
	cr_assert_eq(runtime_owner("run"), 0);
	EXPECT_NOTHING_LEFT();
}

Test(runtime, a_reader_sees_the_old_file_or_the_new_one)
{
	struct runtime r;
	struct errors e = {0};
	open_well(&r, "run");
	cr_assert_eq(runtime_replace(&r, "status", "old\n", 4, &e), 0);
	int fd = open("run/status", O_RDONLY | O_CLOEXEC);
	file_write("run/.new", "the longer half of one that was never finished");
	cr_assert_eq(runtime_replace(&r, "status", "new, and longer\n", 16, &e), 0);
	char *old = fd_text(fd), *new = file_text("run/status");
	cr_assert_str_eq(old, "old\n");
	cr_assert_str_eq(new, "new, and longer\n");
	cr_assert_not(file_exists("run/.new"));
	cr_assert_eq(runtime_replace(&r, "status", "", 0, &e), 0);
	free(new);
	new = file_text("run/status");
	cr_assert_str_eq(new, "");
	close(fd);
	free(old);
	free(new);
	runtime_close(&r);
	EXPECT_NOTHING_LEFT();
}

Test(runtime, a_file_that_cannot_be_replaced_stays)
{
	struct runtime r;
	struct errors e = {0};
	open_well(&r, "run");
	MUST(mkdir("run/status", 0755) == 0);
	cr_assert_eq(runtime_replace(&r, "status", "x\n", 2, &e), -1);
	cr_assert_eq(runtime_replace(&r, "missing/status", "x\n", 2, &e), -1);
	file_write("precious", "keep me\n");
	MUST(rmdir("run/status") == 0 && (unlink("run/.new") == 0 || errno == ENOENT));
	cr_assert_eq(runtime_replace(&r, "status", "old\n", 4, &e), 0);
	MUST(symlink("../precious", "run/.new") == 0);
	cr_assert_eq(runtime_replace(&r, "status", "new\n", 4, &e), -1);
	cr_assert_eq(e.n, 3);
	cr_assert(strstr(errors_text(&e, 0), "cannot write run/status: Is a directory"));
	char *status = file_text("run/status"), *precious = file_text("precious");
	cr_assert_str_eq(status, "old\n");
	cr_assert_str_eq(precious, "keep me\n");
	free(status);
	free(precious);
	errors_clear(&e);
	runtime_close(&r);
	cr_assert_not(file_exists("run"));
	EXPECT_NOTHING_LEFT();
}
