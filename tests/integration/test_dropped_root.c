/* A daemon that root starts with `user`: the access of this user to it, and the privileges that
 * remain. Root only. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534 };
#define AS_NOBODY "user = \"nobody\"\n"

static void as_root(void);
DAEMON_SUITE(dropped_root, as_root());

static void as_root(void)
{
	if (geteuid() != 0)
		cr_skip_test("only root can change the user");
	MUST(chmod(test_dir, 0755) == 0);
	MUST(rmdir(runtime_dir) == 0 || errno == ENOENT); /* the daemon creates it */
}

Test(dropped_root, no_privilege_can_be_gained_after_the_drop)
{
	daemon_start(BASE AS_NOBODY);
	cr_assert_eq(proc_number("NoNewPrivs"), 1);
	daemon_finish();
}

/* Else the kernel writes no core dump, and files in /proc belong to root. */
Test(dropped_root, process_can_dump_core_after_the_drop)
{
	char path[64];
	struct stat st;
	daemon_start(BASE AS_NOBODY);
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)daemon_pid);
	MUST(stat(path, &st) == 0);
	cr_assert_eq(st.st_uid, NOBODY);
	daemon_finish();
}

/* Run CALL as another user. Returns its result. */
static int as_other_user(int (*call)(const char *path), const char *path)
{
	int status = -1;
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid == 0)
		_exit(setresgid(NOBODY - 1, NOBODY - 1, NOBODY - 1) == 0 &&
				      setresuid(NOBODY - 1, NOBODY - 1, NOBODY - 1) == 0
			      ? call(path)
			      : 99);
	MUST(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int lock_for_reading(const char *path)
{
	struct flock reads = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? errno : fcntl(fd, F_OFD_SETLK, &reads) < 0 ? 98 : 0;
}

Test(dropped_root, other_users_cannot_lock_the_pid_file)
{
	char path[128];
	daemon_start(BASE AS_NOBODY);
	snprintf(path, sizeof(path), "%s/skeld.pid", runtime_dir);
	cr_assert_eq(as_other_user(lock_for_reading, path), EACCES);
	cr_assert_eq(daemon_stop(SIGKILL), 128 + SIGKILL);
	cr_assert_eq(as_other_user(lock_for_reading, path), EACCES);
	daemon_start(BASE AS_NOBODY);
	daemon_finish();
}

Test(dropped_root, runtime_directory_behind_a_link_of_the_user_is_rejected)
{
	char home[64], link[64], precious[64], status[96];
	path_in("home", home);
	path_in("home/run", link);
	path_in("precious", precious);
	snprintf(status, sizeof(status), "%s/status", precious);
	MUST(mkdir(home, 0755) == 0 && chown(home, NOBODY, NOBODY) == 0);
	MUST(mkdir(precious, 0755) == 0 && symlink(precious, link) == 0);
	file_write(status, "keep me\n");
	config_write("%s", BASE AS_NOBODY);
	const char *const argv[] = {daemon_binary, "-c", config_path, "-r", link, NULL};
	spawn(argv);
	cr_assert_eq(daemon_wait_exit(), 1);
	cr_assert(log_line_with("the runtime directory"), "%s", log_text());
	cr_assert_str_eq(file_text(status), "keep me\n");
}
