/* control/runtime: one instance at a time, also when processes crash or files are removed. */
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

TestSuite(single_instance, .init = fixture_enter, .fini = fixture_leave);

/* Another instance: a process that holds the lock until other_end(). */
struct other {
	pid_t pid;
	int end;
};

static struct other other_start(const char *path)
{
	int ready[2], end[2];
	char byte;
	MUST(pipe2(ready, O_CLOEXEC) == 0 && pipe2(end, O_CLOEXEC) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct runtime r;
		struct errors e = {0};
		close(end[1]);
		if (runtime_open(&r, path, NULL, &e) == 0 && runtime_announce(&r, &e) == 0 &&
		    write(ready[1], "", 1) == 1 && read(end[0], &byte, 1) == 0)
			runtime_close(&r);
		_exit(e.n ? 1 : 0);
	}
	close(ready[1]);
	close(end[0]);
	MUST(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	return (struct other){pid, end[1]};
}

static void other_end(struct other o)
{
	int status;
	close(o.end);
	MUST(waitpid(o.pid, &status, 0) == o.pid && status == 0);
}

/* A crash: the kernel releases the lock, the files stay. */
static void other_crash(struct other o)
{
	MUST(kill(o.pid, SIGKILL) == 0 && waitpid(o.pid, NULL, 0) == o.pid);
	close(o.end);
}

Test(single_instance, a_second_instance_is_rejected_and_the_first_is_named)
{
	struct other first = other_start("run");
	char error[128];
	snprintf(error, sizeof(error), "another instance is running: pid=%d holds run/skeld.pid",
		 (int)first.pid);
	expect_refused("run", error);
	cr_assert_eq(runtime_owner("run"), first.pid);
	cr_assert(file_exists("run/skeld.pid"), "the rejected instance removed it");
	expect_refused("run", error);
	/* The text of the file is not trusted. */
	int fd = open("run/skeld.pid", O_WRONLY | O_TRUNC | O_CLOEXEC);
	MUST(fd >= 0 && write(fd, "1\n", 2) == 2);
	close(fd);
	expect_refused("run", error);
	cr_assert_eq(runtime_owner("run"), first.pid);
	other_end(first);
	cr_assert_not(file_exists("run"));
	EXPECT_NOTHING_LEFT();
}

Test(single_instance, files_left_by_a_crash_are_taken_over)
{
	struct runtime r;
	struct other first = other_start("run");
	other_crash(first);
	cr_assert(file_exists("run/skeld.pid"));
	cr_assert_eq(runtime_owner("run"), 0);
	open_well(&r, "run");
	runtime_close(&r);
	cr_assert_not(file_exists("run/skeld.pid"));
	EXPECT_NOTHING_LEFT();
}

/* A process that may only read the file can take a read lock: it holds no daemon up. */
Test(single_instance, a_read_lock_on_a_readable_pid_file_changes_nothing)
{
	struct runtime r;
	struct flock reads = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	MUST(mkdir("run", 0755) == 0);
	file_write("run/skeld.pid", "1\n");
	MUST(chmod("run/skeld.pid", 0644) == 0);
	int fd = open("run/skeld.pid", O_RDONLY | O_CLOEXEC);
	MUST(fd >= 0 && fcntl(fd, F_OFD_SETLK, &reads) == 0);
	cr_assert_eq(runtime_owner("run"), RUNTIME_NO_OWNER);
	open_well(&r, "run");
	close(fd);
	runtime_close(&r);
	EXPECT_NOTHING_LEFT();
}

/* A lock that cannot be taken is reported: of this user, or of a daemon of an older version. */
Test(single_instance, a_foreign_lock_on_a_private_pid_file_is_reported)
{
	struct flock reads = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	struct flock writes = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	MUST(mkdir("run", 0755) == 0);
	file_write("run/skeld.pid", "1\n");
	MUST(chmod("run/skeld.pid", 0600) == 0);
	int fd = open("run/skeld.pid", O_RDWR | O_CLOEXEC);
	MUST(fd >= 0 && fcntl(fd, F_OFD_SETLK, &reads) == 0);
	expect_refused("run", "another instance is running: run/skeld.pid is locked, perhaps from");
	MUST(fcntl(fd, F_OFD_SETLK, &writes) == 0 && fchmod(fd, 0644) == 0);
	expect_refused("run", "another instance is running: run/skeld.pid is locked, perhaps from");
	cr_assert_eq(runtime_owner("run"), RUNTIME_ELSEWHERE);
	close(fd);
	EXPECT_NOTHING_LEFT();
}

/* An operator removed the pid file, and a second daemon was started in the directory. */
Test(single_instance, files_of_a_second_daemon_are_not_touched_after_the_pid_file_was_replaced)
{
	static const char *const files[] = {"run/skeld.pid", "run/status", "run/stats.prom"};
	struct runtime r, other;
	struct errors e = {0};
	open_well(&r, "run");
	MUST(unlink("run/skeld.pid") == 0);
	open_well(&other, "run");
	cr_assert_eq(runtime_replace(&other, "status", "its\n", 4, &e), 0);
	cr_assert_eq(runtime_replace(&other, "stats.prom", "its\n", 4, &e), 0);
	cr_assert_eq(runtime_replace(&r, "status", "mine\n", 5, &e), -1);
	cr_assert(strstr(errors_text(&e, 0), "cannot write run/status: skeld.pid was removed"),
		  "%s", errors_text(&e, 0));
	errors_clear(&e);
	runtime_close(&r);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		cr_assert(file_exists(files[i]), "%s", files[i]);
	cr_assert_str_eq(file_text("run/status"), "its\n");
	runtime_close(&other);
	cr_assert_not(file_exists("run/skeld.pid"));
	EXPECT_NOTHING_LEFT();
}

/*
 * The child opens the file, which is removed before the child takes the lock. A lease on the file,
 * fcntl(2), holds the child back in open(2).
 */
Test(single_instance, a_pid_file_removed_before_it_is_locked_is_created_again)
{
	struct runtime r;
	struct errors e = {0};
	sigset_t broken;
	int ready[2], status;
	char byte;
	MUST(mkdir("run", 0755) == 0 && pipe2(ready, O_CLOEXEC) == 0);
	file_write("run/skeld.pid", "");
	int fd = open("run/skeld.pid", O_RDONLY | O_CLOEXEC);
	sigemptyset(&broken);
	sigaddset(&broken, SIGIO);
	MUST(fd >= 0 && sigprocmask(SIG_BLOCK, &broken, NULL) == 0);
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		cr_skip_test("this file system has no leases");
	pid_t child = fork();
	if (child == 0) {
		bool good = runtime_open(&r, "run", NULL, &e) == 0 && write(ready[1], "", 1) == 1;
		if (good)
			pause();
		_exit(1);
	}
	MUST(sigwaitinfo(&broken, NULL) == SIGIO && unlink("run/skeld.pid") == 0);
	MUST(fcntl(fd, F_SETLEASE, F_UNLCK) == 0 && read(ready[0], &byte, 1) == 1);
	cr_assert_eq(runtime_owner("run"), child);
	MUST(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
	close(fd);
	close(ready[0]);
	close(ready[1]);
	EXPECT_NOTHING_LEFT();
}

/* Open and close the directory N times. Returns how often two processes held it at once. */
static int lock_in_turns(atomic_int *inside, int n)
{
	int bad = 0;
	while (n--) {
		struct runtime r;
		struct errors e = {0};
		if (runtime_open(&r, "run", NULL, &e) == 0) {
			bad += atomic_fetch_add(inside, 1) != 0;
			atomic_fetch_sub(inside, 1);
			runtime_close(&r);
		} else {
			bad += !strstr(errors_text(&e, 0), "another instance is running");
		}
		errors_clear(&e);
	}
	return bad;
}

Test(single_instance, two_instances_in_a_race_never_both_hold_the_lock)
{
	MUST(mkdir("run", 0755) == 0);
	atomic_int *inside = mmap(NULL, sizeof(*inside), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(inside != MAP_FAILED);
	pid_t child = fork();
	if (child == 0)
		_exit(lock_in_turns(inside, 1000) ? 1 : 0);
	int status, bad = lock_in_turns(inside, 1000);
	MUST(waitpid(child, &status, 0) == child);
	cr_assert(bad == 0 && status == 0, "%d bad turns, the other exited %d", bad, status);
	MUST(munmap(inside, sizeof(*inside)) == 0);
	EXPECT_NOTHING_LEFT();
}
