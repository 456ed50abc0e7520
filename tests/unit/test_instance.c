/* control/runtime, when somebody else is there, was there, or comes and goes. */
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

TestSuite(instance, .init = fixture_enter, .fini = fixture_leave);

/* Another instance: a process that has the directory until other_end(). */
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
		if (runtime_open(&r, path, &e) == 0 && runtime_announce(&r, &e) == 0 &&
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

/* The lock dies with the process, and the files stay: a crash. */
static void other_crash(struct other o)
{
	MUST(kill(o.pid, SIGKILL) == 0 && waitpid(o.pid, NULL, 0) == o.pid);
	close(o.end);
}

Test(instance, a_second_instance_is_refused_and_told_who_runs)
{
	struct other first = other_start("run");
	char error[128];
	snprintf(error, sizeof(error), "another instance runs: pid %d holds run/skeld.pid",
		 (int)first.pid);
	expect_refused("run", error);
	cr_assert_eq(runtime_owner("run"), first.pid);
	cr_assert(file_exists("run/skeld.pid"), "the refused one removed it");
	expect_refused("run", error);
	/* It does not believe what the file says. */
	int fd = open("run/skeld.pid", O_WRONLY | O_TRUNC | O_CLOEXEC);
	MUST(fd >= 0 && write(fd, "1\n", 2) == 2);
	close(fd);
	expect_refused("run", error);
	cr_assert_eq(runtime_owner("run"), first.pid);
	other_end(first);
	cr_assert_not(file_exists("run"));
	EXPECT_NOTHING_LEFT();
}

Test(instance, what_a_crash_left_is_taken_over)
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

/* Who reads the file may lock it for reading; a daemon's lock is another one. */
Test(instance, who_reads_the_pid_file_is_no_daemon)
{
	struct runtime r;
	struct errors e = {0};
	open_well(&r, "run");
	struct flock reads = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	file_write("run/skeld.pid.new", "1\n");
	MUST(rename("run/skeld.pid.new", "run/skeld.pid") == 0);
	int fd = open("run/skeld.pid", O_RDONLY | O_CLOEXEC);
	MUST(fd >= 0 && fcntl(fd, F_OFD_SETLK, &reads) == 0);
	cr_assert_eq(runtime_owner("run"), 0);
	expect_refused("run", "another instance runs: it is just starting with run, or cannot be");
	close(fd);
	cr_assert_eq(runtime_replace(&r, "status", "x\n", 2, &e), -1);
	errors_clear(&e);
	runtime_close(&r);
}

/* Somebody has removed its pid file, and another daemon runs there now: its files are its own. */
Test(instance, what_is_another_daemons_is_left_alone)
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
	char *text = file_text("run/status");
	cr_assert_str_eq(text, "its\n");
	free(text);
	runtime_close(&other);
	cr_assert_not(file_exists("run/skeld.pid"));
	EXPECT_NOTHING_LEFT();
}

/*
 * It opens the file, and before it gets the lock the other one removes it and ends. A lease on the
 * file (fcntl(2)) makes opening it wait for us.
 */
Test(instance, a_file_that_was_removed_meanwhile_is_no_lock)
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
		bool good = runtime_open(&r, "run", &e) == 0 && write(ready[1], "", 1) == 1;
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

/* Take and leave the directory N times; never while the other has it. */
static int take_turns(atomic_int *inside, int n)
{
	int bad = 0;
	while (n--) {
		struct runtime r;
		struct errors e = {0};
		if (runtime_open(&r, "run", &e) == 0) {
			bad += atomic_fetch_add(inside, 1) != 0;
			atomic_fetch_sub(inside, 1);
			runtime_close(&r);
		} else {
			bad += !strstr(errors_text(&e, 0), "another instance runs");
		}
		errors_clear(&e);
	}
	return bad;
}

Test(instance, two_that_come_and_go_never_both_have_it)
{
	MUST(mkdir("run", 0755) == 0);
	atomic_int *inside = mmap(NULL, sizeof(*inside), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(inside != MAP_FAILED);
	pid_t child = fork();
	if (child == 0)
		_exit(take_turns(inside, 1000) ? 1 : 0);
	int status, bad = take_turns(inside, 1000);
	MUST(waitpid(child, &status, 0) == child);
	cr_assert(bad == 0 && status == 0, "%d bad turns, the other exited %d", bad, status);
	MUST(munmap(inside, sizeof(*inside)) == 0);
	EXPECT_NOTHING_LEFT();
}
