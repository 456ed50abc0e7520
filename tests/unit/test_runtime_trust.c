/* control/runtime: files and links of other users change nothing outside of the directory. */
#include "control/runtime.h"
#include "fixture.h"
#include "runtime_open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { USER = 65534, OTHER = 65533 };
static const struct account user = {USER, USER, ""};

static void setup(void)
{
	fixture_enter();
	if (geteuid() != 0)
		cr_skip_test("only root can make files of other users");
	umask(022);
}

TestSuite(runtime_trust, .init = setup, .fini = fixture_leave);

static void make_directory(const char *path, uid_t uid)
{
	MUST(mkdir(path, 0755) == 0 && chown(path, uid, uid) == 0);
}

static void expect_refused_for_user(const char *path, const char *error)
{
	struct runtime r;
	struct errors e = {0};
	cr_assert_eq(runtime_open(&r, path, &user, &e), -1);
	cr_assert(strstr(errors_text(&e, 0), error), "%s", errors_text(&e, 0));
	errors_clear(&e);
}

/* A directory of root with files of the names that a start removes. */
static void make_precious(const char *path, const char *status)
{
	make_directory(path, 0);
	file_write(status, "precious\n");
}

static void expect_precious(const char *path, const char *status)
{
	struct stat st;
	MUST(stat(path, &st) == 0);
	cr_assert(st.st_uid == 0 && file_exists(status), "root's directory was changed");
}

Test(runtime_trust, link_of_another_user_to_the_directory_is_not_followed)
{
	make_precious("precious", "precious/status");
	make_directory("home", USER);
	MUST(symlink("../precious", "home/run") == 0);
	expect_refused_for_user("home/run", "the runtime directory home/run: Too many levels");
	expect_refused_for_user("home/run/", "the runtime directory home/run/: Too many levels");
	expect_precious("precious", "precious/status");
	EXPECT_NOTHING_LEFT();
}

Test(runtime_trust, link_of_another_user_above_the_directory_is_not_followed)
{
	make_directory("precious", 0);
	make_precious("precious/run", "precious/run/status");
	make_directory("home", USER);
	MUST(symlink("../precious", "home/link") == 0);
	expect_refused_for_user("home/link/run", "home/link/run: Too many levels");
	expect_precious("precious/run", "precious/run/status");
	EXPECT_NOTHING_LEFT();
}

Test(runtime_trust, a_link_in_place_of_a_new_file_is_not_written_through)
{
	struct runtime r;
	struct errors e = {0};
	file_write("precious", "precious\n");
	cr_assert_eq(runtime_open(&r, "run", NULL, &e), 0, "%s", errors_text(&e, 0));
	MUST(link("precious", "run/.new") == 0);
	cr_assert_eq(runtime_replace(&r, "status", "state=running\n", 14, &e), 0);
	cr_assert_str_eq(file_text("precious"), "precious\n");
	cr_assert_str_eq(file_text("run/status"), "state=running\n");
	runtime_close(&r);
	EXPECT_NOTHING_LEFT();
}

Test(runtime_trust, link_in_a_directory_that_everyone_can_write_is_not_followed)
{
	make_precious("precious", "precious/status");
	make_directory("tmp", 0);
	MUST(chmod("tmp", 01777) == 0 && symlink("../precious", "tmp/run") == 0);
	expect_refused_for_user("tmp/run", "the runtime directory tmp/run: Too many levels");
	expect_precious("precious", "precious/status");
	EXPECT_NOTHING_LEFT();
}

Test(runtime_trust, link_of_root_is_followed)
{
	struct runtime r;
	make_directory("run", 0);
	make_directory("run/skeld", 0);
	MUST(symlink("run", "var") == 0 && symlink("skeld", "run/link") == 0);
	open_well(&r, "var/skeld");
	runtime_close(&r);
	open_well(&r, "run/link");
	runtime_close(&r);
	EXPECT_NOTHING_LEFT();
}

Test(runtime_trust, directory_of_a_third_user_is_rejected)
{
	make_directory("run", OTHER);
	expect_refused_for_user("run", "the runtime directory run belongs to uid 65533");
	cr_assert_not(file_exists("run/skeld.pid"));
	MUST(chown("run", USER, USER) == 0);
	expect_refused("run", "the runtime directory run belongs to uid 65534");
	EXPECT_NOTHING_LEFT();
}

Test(runtime_trust, created_files_belong_to_the_owner_and_no_other_user_can_open_the_pid_file)
{
	struct runtime r;
	struct errors e = {0};
	struct stat st;
	cr_assert_eq(runtime_open(&r, "run", &user, &e), 0, "%s", errors_text(&e, 0));
	MUST(stat("run", &st) == 0);
	cr_assert_eq(st.st_uid, USER);
	MUST(stat("run/skeld.pid", &st) == 0);
	cr_assert_eq(st.st_uid, USER);
	cr_assert_eq(st.st_mode & 07777, 0600);
	runtime_close(&r);
	EXPECT_NOTHING_LEFT();
}

/* The owner of the directory may move a file of root into it. */
Test(runtime_trust, pid_file_of_another_owner_is_replaced_and_not_handed_over)
{
	struct runtime r;
	struct errors e = {0};
	struct stat st;
	make_directory("run", USER);
	file_write("run/skeld.pid", "precious\n");
	MUST(chmod("run/skeld.pid", 0600) == 0);
	int fd = open("run/skeld.pid", O_RDONLY | O_CLOEXEC);
	cr_assert_eq(runtime_open(&r, "run", &user, &e), 0, "%s", errors_text(&e, 0));
	cr_assert_eq(runtime_announce(&r, &e), 0);
	MUST(fstat(fd, &st) == 0);
	cr_assert_eq(st.st_uid, 0);
	char *text = fd_text(fd);
	cr_assert_str_eq(text, "precious\n");
	free(text);
	close(fd);
	runtime_close(&r);
	EXPECT_NOTHING_LEFT();
}

Test(runtime_trust, pid_file_of_the_owner_is_taken_over)
{
	struct runtime r;
	struct errors e = {0};
	struct stat before, after;
	make_directory("run", USER);
	file_write("run/skeld.pid", "1\n");
	MUST(chmod("run/skeld.pid", 0600) == 0 && chown("run/skeld.pid", USER, USER) == 0);
	MUST(stat("run/skeld.pid", &before) == 0);
	cr_assert_eq(runtime_open(&r, "run", &user, &e), 0, "%s", errors_text(&e, 0));
	MUST(stat("run/skeld.pid", &after) == 0);
	cr_assert_eq(before.st_ino, after.st_ino);
	runtime_close(&r);
	EXPECT_NOTHING_LEFT();
}

Test(runtime_trust, impossible_paths_are_rejected)
{
	static char longest[8192];
	memset(longest, 'a', sizeof(longest) - 1);
	expect_refused(longest, "cannot create the runtime directory");
	file_write("file", "");
	expect_refused("file/run", "cannot create the runtime directory file/run: Not a directory");
	MUST(symlink("nowhere", "dangling") == 0);
	expect_refused("dangling", "the runtime directory dangling: ");
	EXPECT_NOTHING_LEFT();
}
