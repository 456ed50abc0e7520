/*
 * Disks that are full, and a runtime directory that becomes read-only: file systems of our own, in
 * a mount namespace of the test's own.
 */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static struct fixture *f;

/* The runtime directory becomes a file system of 64 KiB. */
static void setup(void)
{
	f = fixture_new();
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", f->runtime, "tmpfs", 0, "size=64k,nr_inodes=32") < 0)
		cr_skip_test("a mount namespace cannot be had here: %s", strerror(errno));
	/* A command waits for 10 s when nobody tells it anything. */
	setenv("SKELD_TEST_SLOW", SANITIZED("") ? "3" : "6", 1);
}

static void teardown(void)
{
	fixture_free(f);
}

TestSuite(storm_disk, .init = setup, .fini = teardown);

#define SAYS(it) (f->err.bytes && strstr(f->err.bytes, it))

static void in_runtime(const char *name, char path[static 128])
{
	snprintf(path, 128, "%s/%s", f->runtime, name);
}

/* To the last byte. */
static void fill(void)
{
	char path[128], bytes[1024] = {0};
	in_runtime("filler", path);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	MUST(fd >= 0);
	for (size_t n = sizeof(bytes); n; n = write(fd, bytes, n) < 0 ? n / 2 : n)
		;
	MUST(errno == ENOSPC);
	close(fd);
}

static void make_room(void)
{
	char path[128];
	in_runtime("filler", path);
	MUST(unlink(path) == 0);
}

/* Reload N times, and see that it is told of every one. */
static void reload_times(int n, const char *last)
{
	char told[64];
	for (int i = 0; i < n; i++)
		daemon_reload_and_wait(f);
	snprintf(told, sizeof(told), "STATUS=running, generation %s,", last);
	cr_assert(strstr(f->value, told), "%s", f->value);
}

static int command(const char *what)
{
	return skeld_run(f, "-r", f->runtime, "-s", what, NULL);
}

static bool file_contains(const char *path, const char *part)
{
	const char *text = file_text(f, path);
	return text && strstr(text, part);
}

Test(storm_disk, that_is_full_costs_lines_and_files_and_nothing_else)
{
	char log[128];
	in_runtime("skeld.log", log);
	daemon_start(f, BASE);
	int client = client_connect(f, "main");
	config_write(f, BASE "log { target = \"file\" file = \"%s\" }\n", log);
	daemon_reload_and_wait(f);
	fill();
	reload_times(60, "62");
	client_echo(f, client, "served all the same\n");
	expect_status(f, "generation", "2"); /* what was there stays, and is said to be old */
	cr_assert_eq(command("status"), 0);
	cr_assert(strstr(f->out.bytes, "generation=2\n") && SAYS("out of date") && SAYS("full"),
		  "%s%s", f->out.bytes, f->err.bytes);
	cr_assert_eq(command("stats"), 75);
	cr_assert(SAYS("no outcome of stats") && SAYS("full"), "%s", f->err.bytes);

	make_room();
	await(f, status_number(f, "generation") == 62); /* by itself */
	stats_dump(f);
	cr_assert_gt(stats_value(f, "skeld_log_lines_lost_total"), 0);
	await(f, file_contains(log, "log lines before this one were lost"));
	cr_assert(file_contains(log, "the status file can be written again"));
	cr_assert(file_contains(log, "status: No space left on device"));
	config_write(f, "nonsense\n");
	cr_assert_eq(command("reload"), 78); /* not the outcome of those that could not be told */
	expect_signals_accounted(f);

	fill();
	cr_assert_eq(daemon_stop(f, SIGINT), 0);
	client_expect_eof(f, client);
	cr_assert(!runtime_file_exists(f, "skeld.pid") && !runtime_file_exists(f, "status") &&
		  !runtime_file_exists(f, "stats.prom") && !runtime_file_exists(f, ".new"));
}

static void mount_read_only(bool read_only)
{
	unsigned long flags = MS_REMOUNT | MS_BIND | (read_only ? MS_RDONLY : 0);
	MUST(mount(NULL, f->runtime, NULL, flags, NULL) == 0);
}

/*
 * A file system with a file that is open for writing cannot be remounted; the kernel does it on its
 * own, after an error of the disk. Here the pid file is a mount of its own.
 */
static void start_on_two_mounts(void)
{
	char path[128];
	in_runtime("skeld.pid", path);
	file_write(f, path, "", 0);
	MUST(mount(path, path, NULL, MS_BIND, NULL) == 0);
	daemon_start(f, BASE "drain_timeout = 2\n");
}

Test(storm_disk, that_is_read_only_costs_files_and_nothing_else)
{
	start_on_two_mounts();
	int client = client_connect(f, "main");
	mount_read_only(true);
	reload_times(20, "21");
	cr_assert_eq(log_count(f, "status: Read-only file system"), 1, "%s", log_text(f));
	daemon_signal(f, SIGUSR1);
	await(f, log_contains(f, "stats.prom: Read-only file system"));
	expect_status(f, "generation", "1"); /* what was there stays, and is said to be old */
	cr_assert_eq(command("status"), 0);
	cr_assert(strstr(f->out.bytes, "generation=1\n") && SAYS("out of date") &&
			  SAYS("read-only"),
		  "%s%s", f->out.bytes, f->err.bytes);
	cr_assert_eq(command("reload"), 75);
	cr_assert(SAYS("no outcome of reload") && SAYS("read-only"), "%s", f->err.bytes);
	notify_wait(f, "READY=1"); /* it did reload */
	client_echo(f, client, "served all the same\n");

	mount_read_only(false);
	await(f, status_number(f, "generation") == 22); /* by itself */
	await(f, log_contains(f, "the status file can be written again"));
	cr_assert_eq(command("reload"), 0, "%s", f->err.bytes);
	mount_read_only(true);
	cr_assert_eq(command("stop"), 0, "%s", f->err.bytes);
	cr_assert_eq(daemon_wait_exit(f), 0);
	cr_assert(log_contains(f, "drained: every connection was finished"));
	cr_assert_eq(command("status"), 3);

	mount_read_only(false); /* what it could not remove is nobody's, and in nobody's way */
	cr_assert_eq(command("status"), 3);
	daemon_start(f, BASE);
	expect_status(f, "generation", "1");
	daemon_finish(f);
}
