/* The destination of the log is stalled, missing or renamed: clients, reloads and stops go on. */
/* build: LINK util */
#include "client.h"
#include "observe.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pty.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

DAEMON_SUITE(log_stalled);

/* Listen on an address that is known without the log. */
#define QUIET                                                                                      \
	"workers = 2\nadmin { address = \"\" }\nlisten \"main\" { address = \"unix:%s/sock\" }\n"
#define TO_FILE QUIET "log { target = \"file\" file = \"%s\" }\n"

static void start(int stderr_fd)
{
	daemon_stderr = stderr_fd;
	daemon_spawn();
	notify_wait("READY=1");
}

static bool log_file_has(const char *path, const char *part)
{
	await_log_writer();
	const char *text = file_text(path);
	return text && strstr(text, part);
}

static void expect_all_well(void)
{
	int client = client_unix("sock");
	client_echo(client, "served\n");
	stats_dump();
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	client_echo(client, "served on\n");
	client_close(client);
}

Test(log_stalled, a_terminal_that_is_not_read_blocks_nothing)
{
	enum { CLIENTS = 300 }; /* each logs some lines: more than a terminal takes */
	int reader, terminal;
	MUST(openpty(&reader, &terminal, NULL, NULL, NULL) == 0);
	config_write(QUIET "log { level = \"debug\" }\n", test_dir);
	start(terminal);
	close(terminal);
	for (int i = 0; i < CLIENTS; i++) {
		int client = client_unix("sock");
		client_echo(client, "hello\n");
		client_close(client);
	}
	expect_all_well();
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	close(reader);
}

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *format, ...)
{
	char command[512];
	va_list ap;
	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	if (system(command) != 0)
		cr_skip_test("cannot run: %s", command);
}

/* A directory on a separate file system, in a mount namespace of this test. */
static const char *mount_disk(char path[static 64])
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		cr_skip_test("no private mount namespace: %s", strerror(errno));
	path_in("disk", path);
	MUST(mkdir(path, 0755) == 0);
	run("truncate -s 16M %s/image && mkfs.ext4 -q -F %s/image 2>/dev/null", test_dir, test_dir);
	run("mount -o loop %s/image %s 2>/dev/null", test_dir, path);
	return path;
}

/* Freeze the file system of PATH until the returned descriptor is closed, also by a crash. The
 * process that thaws it is no descendant, so that nothing kills it with this test. */
static int freeze(const char *path)
{
	int ends[2], disk = open(path, O_RDONLY | O_CLOEXEC);
	char byte;
	MUST(disk >= 0 && pipe2(ends, O_CLOEXEC) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		if (fork() != 0)
			_exit(0);
		close(ends[1]);
		while (read(ends[0], &byte, 1) < 0)
			;
		ioctl(disk, FITHAW, 0);
		_exit(0);
	}
	close(ends[0]);
	waitpid(pid, NULL, 0);
	if (ioctl(disk, FIFREEZE, 0) < 0)
		cr_skip_test("FIFREEZE: %s", strerror(errno));
	close(disk);
	return ends[1];
}

Test(log_stalled, a_frozen_file_system_blocks_nothing)
{
	char disk[64], path[96], other[96];
	snprintf(path, sizeof(path), "%s/log", mount_disk(disk));
	snprintf(other, sizeof(other), "%s/other", disk);
	config_write(TO_FILE, test_dir, path);
	start(-1);
	int frozen = freeze(disk);
	for (int i = 0; i < 10; i++)
		expect_all_well();
	config_write(TO_FILE, test_dir, other);
	daemon_reload_and_wait();
	expect_status("last_reload", "rejected");
	cr_assert(strstr(status_get("last_reload_error"), "not opened within"), "%s", last_value);
	daemon_signal(SIGTERM);
	notify_wait("STOPPING=1");
	/* The kernel keeps the process until the file system thaws, but a new daemon can start. */
	AWAIT(!runtime_file_exists("skeld.pid"));
	close(frozen);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_file_has(path, " notice  ready: "), "%s", file_text(path));
	MUST(umount2(disk, MNT_DETACH) == 0);
}

Test(log_stalled, a_log_file_is_reopened_although_the_configuration_is_rejected)
{
	char path[64], old[64];
	path_in("skeld.log", path);
	config_write(TO_FILE, test_dir, path);
	start(-1);
	MUST(rename(path, path_in("log.1", old)) == 0);
	config_write("nonsense\n");
	daemon_reload_and_wait();
	expect_status("last_reload", "rejected");
	AWAIT(access(path, F_OK) == 0);
	stats_dump();
	AWAIT(log_file_has(path, "stats signals: received_sighup=1"));
	cr_assert(log_file_has(old, "reload rejected: "), "%s", file_text(old));
	daemon_finish();
}

static void expect_reopened_while_stopping(const char *option, const char *state)
{
	char path[64], old[64];
	path_in("log", path); /* where client_connect_busy() looks for the address */
	config_write(TO_FILE LISTEN_BUSY "limits { buffer = 1M }\n%s", test_dir, path, test_dir,
		     option);
	start(-1);
	int client = client_connect_busy();
	daemon_signal(SIGTERM);
	notify_wait("STOPPING=1");
	AWAIT(strcmp(status_get("state"), state) == 0);
	MUST(rename(path, path_in("log.1", old)) == 0);
	daemon_signal(SIGHUP);
	AWAIT(access(path, F_OK) == 0);
	cr_assert(log_file_has(old, "SIGHUP from pid"), "%s", file_text(old));
	client_close(client);
	daemon_stop(SIGTERM);
	cr_assert(log_file_has(path, "SIGTERM from pid"), "%s", file_text(path));
}

Test(log_stalled, a_log_file_is_reopened_during_lame_duck)
{
	expect_reopened_while_stopping("lame_duck = 3600\n", "lame_duck");
}

Test(log_stalled, a_log_file_is_reopened_while_draining)
{
	expect_reopened_while_stopping("drain_timeout = 3600\n", "draining");
}

/* An unchanged log is no part of the new configuration: the lines go to the previous file. */
Test(log_stalled, a_log_file_that_cannot_be_reopened_does_not_reject_a_reload)
{
	char path[64], moved[64];
	path_in("skeld.log", path);
	config_write(TO_FILE, test_dir, path);
	start(-1);
	/* A FIFO that no process reads. A directory would be an error of the configuration. */
	MUST(rename(path, path_in("moved.log", moved)) == 0 && mkfifo(path, 0600) == 0);
	expect_all_well();
	AWAIT(log_file_has(moved, " warning cannot reopen the log "));
	daemon_finish();
	cr_assert(log_file_has(moved, "stopped: "), "%s", file_text(moved));
}

/* A /dev without log, for the daemon alone. */
static void hide_syslog(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("dev", "/dev", "tmpfs", 0, NULL) < 0 ||
	    mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)) < 0)
		_exit(77);
}

Test(log_stalled, a_missing_syslog_is_a_warning_and_lines_go_to_stderr)
{
	if (geteuid() != 0)
		cr_skip_test("needs root for a private /dev");
	daemon_prepare = hide_syslog;
	config_write(QUIET "log { target = \"syslog\" }\n", test_dir);
	start(-1);
	expect_all_well();
	daemon_finish();
	cr_assert(log_contains(" warning cannot reach syslog: /dev/log: No such file"), "%s",
		  log_text());
	cr_assert(log_contains(" notice  ready: ") && log_contains(" notice  stopped: "), "%s",
		  log_text());
}

/* A file of tzfile(5), version 2, of a zone that is always SECONDS east of UTC. */
static void write_time_zone(int seconds)
{
	static const unsigned char header[44] = {'T', 'Z', 'i', 'f', '2', [39] = 1, [43] = 4};
	char bytes[256], path[64];
	uint32_t offset = htonl((uint32_t)seconds);
	size_t n = 0;
	for (int i = 0; i < 2; i++) {
		memcpy(bytes + n, header, sizeof(header));
		n += sizeof(header);
		memcpy(bytes + n, &offset, sizeof(offset));
		memcpy(bytes + n + sizeof(offset), "\0\0XXX", 6); /* one type, and its name */
		n += sizeof(offset) + 6;
	}
	memcpy(bytes + n, "\n\n", 2);
	int fd = open(path_in("zone", path), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	MUST(fd >= 0 && pwrite(fd, bytes, n + 2, 0) == (ssize_t)n + 2);
	/* libc notices another inode, or another second. */
	MUST(futimens(fd, (struct timespec[]){{.tv_sec = 0}, {.tv_sec = 86400 + seconds}}) == 0);
	close(fd);
}

static void replace_local_time(void)
{
	char path[64];
	unsetenv("TZ");
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(path_in("zone", path), "/etc/localtime", NULL, MS_BIND, NULL) < 0)
		_exit(77);
}

Test(log_stalled, a_reload_reads_the_time_zone_again)
{
	if (geteuid() != 0 || access("/etc/localtime", F_OK) < 0)
		cr_skip_test("needs root and /etc/localtime");
	write_time_zone(3600);
	daemon_prepare = replace_local_time;
	config_write(QUIET, test_dir);
	start(-1);
	cr_assert(strstr(log_line_with("starting: "), "+01:00 notice "), "%s", log_text());
	write_time_zone(-12600);
	daemon_reload_and_wait();
	stats_dump();
	cr_assert(strstr(log_line_with("stats signals: "), "-03:30 "), "%s", log_text());
	daemon_finish();
}
