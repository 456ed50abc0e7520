/* Machines that lack something: newer system calls, /proc, /dev, standard descriptors, processors.
 */
/* build: SOURCES ../support/sandbox.c */
#include "client.h"
#include "observe.h"
#include "sandbox.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

DAEMON_SUITE(machine);

/* The calls since Linux 3.14 that the daemon or its libraries could use. Not clone3(2): if it fails
 * with EPERM, the C library creates no thread. */
static const long newer_calls[] = {
	SYS_sched_setattr, SYS_sched_getattr, SYS_renameat2, SYS_getrandom,
	SYS_memfd_create,  SYS_execveat,      SYS_mlock2,    SYS_pidfd_send_signal,
	SYS_pidfd_open,	   SYS_close_range,   SYS_openat2,   SYS_faccessat2,
	SYS_epoll_pwait2,  SYS_statx};

/* On a 32-bit processor, a program does not start if statx(2), the last one, fails with EPERM. */
static void fail_newer_calls(int error)
{
	size_t n = sizeof(newer_calls) / sizeof(*newer_calls);
	if (sizeof(void *) == 4 && error == EPERM)
		n--;
	sandbox_fail_calls(newer_calls, n, error);
}

static void with_old_kernel(void)
{
	fail_newer_calls(ENOSYS);
}

static void with_filter(void)
{
	fail_newer_calls(EPERM);
}

static void expect_command(const char *command, const char *part)
{
	int code = skeld_run("-r", runtime_dir, "-s", command, NULL);
	cr_assert_eq(code, 0, "-s %s: exit code %d: %s", command, code, command_err.bytes);
	cr_assert(strstr(command_out.bytes, part), "-s %s: %s", command, command_out.bytes);
}

/* As root, also change the user: that is followed by checks of permissions. */
static void expect_all_works(void)
{
	MUST(chmod(test_dir, 0755) == 0);
	MUST(rmdir(runtime_dir) == 0);
	config_write(BASE "%s", geteuid() == 0 ? "user = \"nobody\"\n" : "");
	daemon_spawn();
	notify_wait("READY=1");
	client_echo(client_connect("main"), "hello\n");
	expect_command("status", "state=running");
	expect_command("stats", "skeld_connections_open");
	expect_command("reload", "generation 2");
	cr_assert_eq(log_count_warnings(), 0, "%s", log_text());
	while (n_clients)
		client_close(client_fds[0]);
	expect_command("stop", "stopped");
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert_eq(skeld_run("-r", runtime_dir, "-s", "status", NULL), 3);
}

Test(machine, an_old_kernel_without_newer_system_calls_suffices)
{
	daemon_prepare = with_old_kernel;
	expect_all_works();
}

Test(machine, a_filter_that_rejects_newer_system_calls_changes_nothing)
{
	daemon_prepare = with_filter;
	expect_all_works();
}

static void without_proc(void)
{
	sandbox_cover("/proc");
}

static void without_proc_and_newer_calls(void)
{
	without_proc();
	with_filter();
}

static void skip_unless_mountable(void)
{
	if (!sandbox_can_mount())
		cr_skip_test("a mount namespace is not allowed here");
	if (*SKELD_SANITIZED)
		cr_skip_test("the sanitizer needs /proc");
}

Test(machine, without_proc_the_unknown_metrics_are_left_out)
{
	skip_unless_mountable();
	daemon_prepare = without_proc;
	daemon_start(BASE);
	stats_dump();
	const char *text = file_text("run/stats.prom");
	static const char *const unknown[] = {"\nprocess_resident_memory_bytes ",
					      "\nprocess_virtual_memory_bytes ",
					      "\nprocess_open_fds "};
	for (size_t i = 0; i < sizeof(unknown) / sizeof(*unknown); i++)
		cr_assert_not(strstr(text, unknown[i]), "%s", strstr(text, unknown[i]));
	cr_assert(strstr(text, "\nprocess_cpu_seconds_total "), "%s", text);
	cr_assert(strstr(text, "\nprocess_max_fds "), "%s", text);
	const char *line = log_line_with("stats process:");
	cr_assert(line && !strstr(line, " fds="), "%s", log_text());
	daemon_finish();
}

Test(machine, without_proc_and_newer_system_calls_a_reload_works)
{
	skip_unless_mountable();
	daemon_prepare = without_proc_and_newer_calls;
	daemon_start(BASE);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	daemon_finish();
}

static void without_dev_and_standard_files(void)
{
	sandbox_cover("/dev");
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		close(fd);
}

static void expect_placeholders(pid_t pid)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		char path[64], target[256] = "";
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
		cr_assert_gt(readlink(path, target, sizeof(target) - 1), 0, "%s: %s", path,
			     strerror(errno));
		cr_assert_str_eq(target, "/", "%s is %s", path, target);
	}
}

Test(machine, without_dev_null_no_descriptor_becomes_a_standard_one)
{
	skip_unless_mountable();
	daemon_prepare = without_dev_and_standard_files;
	daemon_start(BASE);
	expect_placeholders(daemon_pid);
	expect_placeholders(loader_pid());
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	daemon_finish();
}

static void with_quota(void)
{
	sandbox_cover("/sys/fs/cgroup");
	int fd = open("/sys/fs/cgroup/cpu.max", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, "50000 100000\n", 13) != 13)
		_exit(125);
	close(fd);
}

Test(machine, a_quota_of_half_a_processor_gives_one_worker)
{
	skip_unless_mountable();
	daemon_prepare = with_quota;
	daemon_start("admin { address = \"\" }\n" LISTEN_MAIN);
	AWAIT(log_contains(" quota=0.50)"));
	const char *line = log_line_with("ready: ");
	cr_assert(strstr(line, "workers=1 (processors="), "%s", line);
	daemon_finish();
}

Test(machine, the_number_of_workers_is_explained)
{
	daemon_start(BASE);
	AWAIT(log_contains("workers=1 (configured)"));
	daemon_finish();
	daemon_start("admin { address = \"\" }\n" LISTEN_MAIN);
	AWAIT(log_contains(" (processors="));
	daemon_finish();
}

static void with_watchdog(void)
{
	setenv("WATCHDOG_USEC", "400000", 1);
}

/* Each tick sends WATCHDOG=1, every 100 ms. */
Test(machine, the_service_manager_does_not_receive_every_number_of_connections)
{
	enum { TICKS = 12 };
	daemon_prepare = with_watchdog;
	daemon_start(BASE);
	size_t begin = noticed, sent = 0;
	for (int i = 0; i < TICKS; i++) {
		client_echo(client_connect("main"), "one more\n");
		notify_wait("WATCHDOG=1");
	}
	for (const char *at = notices.bytes + begin; (at = strstr(at, "STATUS=")); at++)
		sent++;
	cr_assert_leq(sent, TICKS / 2, "%s", notices.bytes + begin);
	notify_wait("STATUS=running, generation 1, 12 connections");
	daemon_finish();
}

static void in_its_directory(void)
{
	if (chdir(test_dir) < 0)
		_exit(125);
}

static void write_release(const char *name)
{
	char dir[64], text[512], path[128];
	MUST(mkdir(path_in(name, dir), 0755) == 0);
	snprintf(path, sizeof(path), "%s/skeld.conf", dir);
	snprintf(text, sizeof(text), BASE "# %s\n", name);
	file_write(path, text);
}

static void expect_logged_path(const char *event, const char *release)
{
	char path[64], real[4096], part[8192];
	MUST(realpath(path_in(release, path), real));
	snprintf(part, sizeof(part), "config=\"%s/skeld.conf\"", real);
	const char *line = log_line_with(event);
	cr_assert(line && strstr(line, part), "no %s in:\n%s", part, log_text());
}

Test(machine, the_path_that_was_read_is_logged_without_links)
{
	char current[64];
	write_release("one");
	write_release("two");
	MUST(symlink("one", path_in("current", current)) == 0);
	snprintf(config_path, sizeof(config_path), "current/skeld.conf");
	daemon_prepare = in_its_directory;
	daemon_spawn();
	notify_wait("READY=1");
	expect_logged_path("starting: ", "one");
	MUST(unlink(current) == 0 && symlink("two", current) == 0);
	daemon_reload_and_wait();
	expect_logged_path("reloaded: ", "two");
	daemon_finish();
}
