/*
 * A full disk, and a runtime directory that becomes read-only. The test mounts its own file systems
 * in its own mount namespace.
 */
/* test: COST 25 TIMEOUT 300 LABELS all */
/* test: NAME long ENV SKELD_LONG=1 TIMEOUT 3600 LABELS long */
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
#include <sys/stat.h>
#include <unistd.h>

/* Mount a file system of 64 KiB on the runtime directory. */
static void setup(void)
{
	daemon_fixture_enter();
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", runtime_dir, "tmpfs", 0, "size=64k,nr_inodes=32") < 0)
		cr_skip_test("cannot mount in a private mount namespace: %s", strerror(errno));
}

TestSuite(storm_disk, .init = setup, .fini = daemon_fixture_leave);

#define STDERR_CONTAINS(part) (command_err.bytes && strstr(command_err.bytes, part))

static void path_in_runtime(const char *name, char path[static 128])
{
	snprintf(path, 128, "%s/%s", runtime_dir, name);
}

/* Leave no byte free. */
static void fill_disk(void)
{
	char path[128], bytes[1024] = {0};
	path_in_runtime("filler", path);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	MUST(fd >= 0);
	for (size_t n = sizeof(bytes); n; n = write(fd, bytes, n) < 0 ? n / 2 : n)
		;
	MUST(errno == ENOSPC);
	close(fd);
}

static void free_disk(void)
{
	char path[128];
	path_in_runtime("filler", path);
	MUST(unlink(path) == 0);
}

/* Reload N times. Expect that the service manager is notified of each, and of generation LAST. */
static void reload_times(int n, const char *last)
{
	char status[64];
	for (int i = 0; i < n; i++)
		daemon_reload_and_wait();
	snprintf(status, sizeof(status), "STATUS=running, generation %s,", last);
	cr_assert(strstr(last_value, status), "%s", last_value);
}

static int run_command(const char *what)
{
	return skeld_run("-r", runtime_dir, "-s", what, NULL);
}

static bool file_contains(const char *path, const char *part)
{
	await_log_writer();
	const char *text = file_text(path);
	return text && strstr(text, part);
}

Test(storm_disk, full_disk_costs_log_lines_and_status_files_but_no_reload_or_client)
{
	char log[128];
	path_in_runtime("skeld.log", log);
	daemon_start(BASE);
	int client = client_connect("main");
	config_write(BASE "log { target = \"file\" file = \"%s\" }\n", log);
	daemon_reload_and_wait();
	fill_disk();
	reload_times(60, "62");
	client_echo(client, "still served\n");
	expect_status("generation", "2"); /* the previous file; `status` warns that it is old */
	cr_assert_eq(run_command("status"), 0);
	cr_assert(strstr(command_out.bytes, "generation=2\n") && STDERR_CONTAINS("out of date") &&
			  STDERR_CONTAINS("full"),
		  "%s%s", command_out.bytes, command_err.bytes);
	cr_assert_eq(run_command("stats"), 75);
	cr_assert(STDERR_CONTAINS("no outcome of stats") && STDERR_CONTAINS("full"), "%s",
		  command_err.bytes);

	free_disk();
	AWAIT(status_number("generation") == 62); /* without a signal */
	stats_dump();
	cr_assert_gt(stats_value("skeld_log_lost_total"), 0);
	AWAIT(file_contains(log, "log lines lost:"));
	cr_assert(file_contains(log, "status file written again"));
	cr_assert(file_contains(log, "/status: No space left on device"));
	config_write("nonsense\n");
	cr_assert_eq(run_command("reload"), 78); /* not the outcome of an earlier reload */
	expect_signals_accounted();

	fill_disk();
	cr_assert_eq(daemon_stop(SIGINT), 0);
	client_expect_eof(client);
	cr_assert(!runtime_file_exists("skeld.pid") && !runtime_file_exists("status") &&
		  !runtime_file_exists("stats.prom") && !runtime_file_exists(".new"));
}

static void mount_read_only(bool read_only)
{
	unsigned long flags = MS_REMOUNT | MS_BIND | (read_only ? MS_RDONLY : 0);
	MUST(mount(NULL, runtime_dir, NULL, flags, NULL) == 0);
}

/*
 * mount(2) does not remount a file system read-only while a file in it is open for writing; the
 * kernel itself does so after a disk error. So skeld.pid, which the daemon holds open, gets its own
 * mount.
 */
static void start_on_two_mounts(void)
{
	char path[128];
	path_in_runtime("skeld.pid", path);
	file_write_bytes(path, "", 0);
	MUST(chmod(path, 0600) == 0); /* else the daemon would replace it */
	MUST(mount(path, path, NULL, MS_BIND, NULL) == 0);
	daemon_start(BASE "drain_timeout = 2\n");
}

Test(storm_disk, read_only_runtime_directory_costs_files_but_no_reload_client_or_stop)
{
	start_on_two_mounts();
	int client = client_connect("main");
	mount_read_only(true);
	reload_times(20, "21");
	cr_assert_eq(log_count("/status: Read-only file system"), 1, "%s", log_text());
	daemon_signal(SIGUSR1);
	AWAIT(log_contains("/stats.prom: Read-only file system"));
	expect_status("generation", "1"); /* the previous file; `status` warns that it is old */
	cr_assert_eq(run_command("status"), 0);
	cr_assert(strstr(command_out.bytes, "generation=1\n") && STDERR_CONTAINS("out of date") &&
			  STDERR_CONTAINS("read-only"),
		  "%s%s", command_out.bytes, command_err.bytes);
	cr_assert_eq(run_command("reload"), 75);
	cr_assert(STDERR_CONTAINS("no outcome of reload") && STDERR_CONTAINS("read-only"), "%s",
		  command_err.bytes);
	notify_wait("READY=1"); /* the reload itself succeeded */
	client_echo(client, "still served\n");

	mount_read_only(false);
	AWAIT(status_number("generation") == 22); /* without a signal */
	AWAIT(log_contains("status file written again"));
	cr_assert_eq(run_command("reload"), 0, "%s", command_err.bytes);
	mount_read_only(true);
	cr_assert_eq(run_command("stop"), 0, "%s", command_err.bytes);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("drained: cut_off=0"));
	cr_assert_eq(run_command("status"), 3);

	/* The daemon could not remove its files. They do not disturb the next start. */
	mount_read_only(false);
	cr_assert_eq(run_command("status"), 3);
	daemon_start(BASE);
	expect_status("generation", "1");
	daemon_finish();
}
