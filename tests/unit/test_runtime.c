/* control/runtime: the directory, atomic replacement of its files, and their removal. */
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

Test(runtime, a_missing_directory_is_created_and_removed_at_the_end)
{
	struct runtime r;
	umask(022);
	open_well(&r, "run");
	cr_assert(r.made);
	cr_assert_eq(mode_of("run"), S_IFDIR | 0755);
	cr_assert_eq(mode_of("run/skeld.pid"), S_IFREG | 0600);
	runtime_close(&r);
	cr_assert_not(file_exists("run"));
	EXPECT_NOTHING_LEFT();
}

Test(runtime, an_existing_directory_is_kept_at_the_end)
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

/* An operator removes the directory, and systemd-tmpfiles(8) creates it again. */
Test(runtime, a_directory_of_the_same_name_is_kept_at_the_end)
{
	struct runtime r;
	open_well(&r, "run");
	MUST(unlink("run/skeld.pid") == 0 && rmdir("run") == 0 && mkdir("run", 0700) == 0);
	runtime_close(&r);
	cr_assert_eq(mode_of("run"), S_IFDIR | 0700);
	EXPECT_NOTHING_LEFT();
}

Test(runtime, close_removes_the_daemons_files_and_no_others)
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

Test(runtime, announce_writes_the_pid_into_the_pid_file)
{
	char expected[32];
	struct runtime r;
	struct errors e = {0};
	MUST(mkdir("run", 0755) == 0);
	file_write("run/skeld.pid", "a longer text than any pid has\n");
	open_well(&r, "run");
	cr_assert_eq(runtime_announce(&r, &e), 0);
	snprintf(expected, sizeof(expected), "%d\n", (int)getpid());
	/* Closing the file releases the lock, fcntl(2). */
	cr_assert_str_eq(file_text("run/skeld.pid"), expected);
	runtime_close(&r);
	EXPECT_NOTHING_LEFT();
}

Test(runtime, a_symbolic_link_as_pid_file_is_rejected)
{
	MUST(mkdir("run", 0755) == 0);
	file_write("precious", "keep me\n");
	MUST(symlink("../precious", "run/skeld.pid") == 0);
	expect_refused("run", "cannot open run/skeld.pid: Too many levels of symbolic links");
	cr_assert_eq(runtime_owner("run"), 0);
	cr_assert_str_eq(file_text("precious"), "keep me\n");
	EXPECT_NOTHING_LEFT();
}

Test(runtime, a_pid_file_with_a_second_link_is_replaced)
{
	struct runtime r;
	struct errors e = {0};
	MUST(mkdir("run", 0755) == 0);
	file_write("precious", "keep me\n");
	MUST(chmod("precious", 0600) == 0 && link("precious", "run/skeld.pid") == 0);
	open_well(&r, "run");
	cr_assert_eq(runtime_announce(&r, &e), 0);
	cr_assert_str_eq(file_text("precious"), "keep me\n");
	runtime_close(&r);
	EXPECT_NOTHING_LEFT();
}

Test(runtime, a_path_that_is_no_directory_is_rejected)
{
	file_write("file", "");
	expect_refused("file", "cannot open the runtime directory file: Not a directory");
	expect_refused("missing/run",
		       "cannot create the runtime directory missing/run: No such file");
	MUST(mkdir("run", 0755) == 0 && mkdir("run/skeld.pid", 0755) == 0);
	expect_refused("run", "cannot open run/skeld.pid: Is a directory");
	EXPECT_NOTHING_LEFT();
}

/* Nor in a directory that was removed after it was opened: each open(2) fails with ENOENT. */
Test(runtime, a_directory_in_which_no_file_can_be_created_is_rejected)
{
	if (access("/proc/self", F_OK) < 0)
		cr_skip_test("/proc is not mounted");
	expect_refused("/proc", "cannot open /proc/skeld.pid: ");
	EXPECT_NOTHING_LEFT();
}

/* The kernel lets no process make a directory there: EPERM, or EROFS in a container. */
Test(runtime, a_directory_that_cannot_be_created_is_reported_with_the_reason)
{
	struct runtime r;
	struct errors e = {0};
	if (access("/sys", F_OK) < 0)
		cr_skip_test("/sys is not mounted");
	cr_assert_eq(runtime_open(&r, "/sys/skeld-test", NULL, &e), -1);
	cr_assert(strstr(errors_text(&e, 0), "cannot create the runtime directory /sys/skeld-test"),
		  "%s", errors_text(&e, 0));
	cr_assert_null(strstr(errors_text(&e, 0), strerror(ENOENT)));
	errors_clear(&e);
	EXPECT_NOTHING_LEFT();
}

Test(runtime, an_unlocked_pid_file_has_no_owner)
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

Test(runtime, replace_is_atomic_for_readers)
{
	struct runtime r;
	struct errors e = {0};
	open_well(&r, "run");
	cr_assert_eq(runtime_replace(&r, "status", "old\n", 4, &e), 0);
	int fd = open("run/status", O_RDONLY | O_CLOEXEC);
	file_write("run/.new", "the longer half of one that was never finished");
	cr_assert_eq(runtime_replace(&r, "status", "new, and longer\n", 16, &e), 0);
	char *old = fd_text(fd);
	cr_assert_str_eq(old, "old\n");
	cr_assert_str_eq(file_text("run/status"), "new, and longer\n");
	cr_assert_not(file_exists("run/.new"));
	cr_assert_eq(runtime_replace(&r, "status", "", 0, &e), 0);
	cr_assert_str_eq(file_text("run/status"), "");
	close(fd);
	free(old);
	runtime_close(&r);
	EXPECT_NOTHING_LEFT();
}

Test(runtime, a_failed_replace_keeps_the_previous_file)
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
	cr_assert_eq(runtime_replace(&r, "status", "new\n", 4, &e), 0); /* not through the link */
	cr_assert_eq(e.n, 2);
	cr_assert(strstr(errors_text(&e, 0), "cannot write run/status: Is a directory"));
	cr_assert_str_eq(file_text("run/status"), "new\n");
	cr_assert_str_eq(file_text("precious"), "keep me\n");
	errors_clear(&e);
	runtime_close(&r);
	cr_assert_not(file_exists("run"));
	EXPECT_NOTHING_LEFT();
}
