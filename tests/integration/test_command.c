/* The command line, and its exit codes. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

FIXTURE_SUITE(command);

static bool out_contains(const char *part)
{
	return strstr(f->out.bytes, part);
}

static bool err_contains(const char *part)
{
	return strstr(f->err.bytes, part);
}

static int send_command(const char *command)
{
	return skeld_run(f, "-r", f->runtime, "-s", command, NULL);
}

Test(command, check_exits_with_0_or_with_78_and_the_line)
{
	config_write(f, "%s", BASE);
	cr_assert_eq(skeld_run(f, "-t", "-c", f->config, NULL), 0);
	cr_assert_eq(skeld_run(f, "--check", "--config", f->config, NULL), 0);
	config_write(f, BASE "nonsense = 1\ndrain_timeout = -1\n");
	cr_assert_eq(skeld_run(f, "-t", "-c", f->config, NULL), 78);
	cr_assert(err_contains("skeld.conf:4: ") && err_contains("skeld.conf:5: "), "%s",
		  f->err.bytes);
	config_write(f,
		     "admin { address = \"127.0.0.1:7007\" }\n"); /* the default of listen, too */
	cr_assert_eq(skeld_run(f, "-t", "-c", f->config, NULL), 78);
	cr_assert_eq(skeld_run(f, "-t", "-c", "/nonexistent.conf", NULL), 78);
	cr_assert(err_contains("/nonexistent.conf"), "%s", f->err.bytes);
}

Test(command, check_reports_the_errors_of_a_reload)
{
	static const char *const bad[] = {"limits {\n", "workers = 1", "", "include(\"x.conf\")\n"};
	daemon_start(f, BASE);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		config_write(f, "%s", bad[i]);
		cr_assert_eq(skeld_run(f, "-t", "-c", f->config, NULL), 78);
		daemon_reload_and_wait(f);
		expect_status(f, "last_reload", "rejected");
		cr_assert(err_contains(status_get(f, "last_reload_error")), "%s\n%s", f->err.bytes,
			  f->value);
	}
	daemon_finish(f);
}

Test(command, a_dumped_configuration_loads_to_the_same)
{
	char first[16384];
	config_write(f, BASE "listen \"b\" { address = \"unix:/tmp/\\\"q\\\" ${x} \\\\ b\" }\n"
			     "echo { banner = \"tab\\t, nl\\n, $ and \\\"\" }\n"
			     "log { level = warning file = '/var/log/x' }\n");
	cr_assert_eq(skeld_run(f, "-T", "-c", f->config, NULL), 0);
	cr_assert_lt(f->out.size, sizeof(first));
	strcpy(first, f->out.bytes);
	cr_assert(out_contains("level = \"warning\"") && out_contains("workers = 1\n"), "%s",
		  first);
	config_write(f, "%s", first);
	cr_assert_eq(skeld_run(f, "--dump-config", "-c", f->config, NULL), 0, "%s", f->err.bytes);
	cr_assert_str_eq(f->out.bytes, first);
	config_write(f, "nonsense\n");
	cr_assert_eq(skeld_run(f, "-T", "-c", f->config, NULL), 78);
	cr_assert_eq(f->out.size, 0, "%s", f->out.bytes);
}

Test(command, wrong_usage_exits_with_64)
{
	cr_assert_eq(skeld_run(f, "--nonsense", NULL), 64);
	cr_assert_gt(f->err.size, 0);
	cr_assert_eq(skeld_run(f, "-c", NULL), 64);
	cr_assert_eq(skeld_run(f, "argument", NULL), 64);
	cr_assert_eq(send_command("dance"), 64);
	cr_assert(err_contains("reload"), "the accepted commands are not listed: %s", f->err.bytes);
	cr_assert_eq(skeld_run(f, "--self-test=dance", NULL), 64);
}

Test(command, help_and_version_exit_with_0)
{
	static const char *const options[] = {"--config",      "--runtime-dir", "--check",
					      "--dump-config", "--signal",	"--self-test",
					      "--help",	       "--version"};
	cr_assert_eq(skeld_run(f, "--help", NULL), 0);
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
		cr_assert(out_contains(options[i]), "%s is not in\n%s", options[i], f->out.bytes);
	cr_assert_eq(skeld_run(f, "-h", NULL), 0);
	cr_assert_eq(skeld_run(f, "-V", NULL), 0);
	cr_assert(out_contains("skeld "), "%s", f->out.bytes);
	cr_assert_eq(skeld_run(f, "--version", NULL), 0);
}

Test(command, signal_commands_exit_with_3_if_no_daemon_runs)
{
	static const char *const commands[] = {"reload", "stats", "stop", "status"};
	for (size_t i = 0; i < 4; i++) {
		cr_assert_eq(send_command(commands[i]), 3, "%s", commands[i]);
		cr_assert_gt(f->err.size, 0);
	}
	cr_assert_eq(skeld_run(f, "-r", "/nonexistent", "-s", "status", NULL), 3);
}

Test(command, status_prints_the_state)
{
	char pid[32];
	daemon_start(f, BASE);
	snprintf(pid, sizeof(pid), "%d", (int)f->pid);
	cr_assert_eq(send_command("status"), 0);
	cr_assert(out_contains("running") && out_contains(pid), "%s", f->out.bytes);
	daemon_finish(f);
}

Test(command, reload_waits_for_the_outcome)
{
	daemon_start(f, BASE);
	config_write(f, BASE "drain_timeout = 7\n");
	cr_assert_eq(send_command("reload"), 0, "%s", f->err.bytes);
	expect_status(f, "generation", "2"); /* the daemon has ended already */
	config_write(f, BASE "drain_timeout = never\n");
	cr_assert_eq(send_command("reload"), 78);
	cr_assert(err_contains("skeld.conf:4: "), "%s", f->err.bytes);
	expect_status(f, "generation", "2");
	config_write(f, BASE);
	cr_assert_eq(send_command("reload"), 0, "%s", f->err.bytes);
	expect_status(f, "generation", "3");
	daemon_finish(f);
}

Test(command, stats_prints_the_metrics)
{
	daemon_start(f, BASE);
	client_echo(f, client_connect(f, "main"), "hello\n");
	cr_assert_eq(send_command("stats"), 0);
	cr_assert(out_contains("skeld_config_generation 1\n"), "%s", f->out.bytes);
	cr_assert(out_contains("skeld_connections_accepted_total 1\n"), "%s", f->out.bytes);
	daemon_finish(f);
}

Test(command, stop_waits_for_the_end)
{
	daemon_start(f, BASE);
	cr_assert_eq(send_command("stop"), 0, "%s", f->err.bytes);
	cr_assert(!runtime_file_exists(f, "skeld.pid"));
	cr_assert_eq(daemon_wait_exit(f), 0);
	cr_assert_eq(send_command("stop"), 3);
}

/* Two stop commands do not cut off the connections that the drain waits for. */
Test(command, a_second_stop_waits_with_the_first)
{
	daemon_start(f, BASE "drain_timeout = 2\nlame_duck = 1\n");
	client_echo(f, client_connect(f, "main"), "hello\n");
	daemon_signal(f, SIGTERM);
	await(f, strcmp(status_get(f, "state"), "lame_duck") == 0);
	cr_assert_eq(send_command("stop"), 0, "%s", f->err.bytes);
	cr_assert_eq(daemon_wait_exit(f), 0);
	cr_assert(!log_contains(f, "stopping now"), "%s", log_text(f));
}

/* The same without a status file, as on a full disk. */
Test(command, a_stop_without_status_file_cuts_off_no_connection)
{
	char path[64];
	daemon_start(f, BASE "drain_timeout = 2\nlame_duck = 5\n");
	daemon_signal(f, SIGTERM);
	await(f, strcmp(status_get(f, "state"), "lame_duck") == 0);
	MUST(unlink(path_in(f, "run/status", path)) == 0);
	cr_assert_eq(send_command("stop"), 0, "%s", f->err.bytes);
	cr_assert_eq(daemon_wait_exit(f), 0);
	cr_assert(log_contains(f, "not verified: ignored, already stopping"), "%s", log_text(f));
	expect_signals_logged(f);
}

static void into_a_full_disk(struct fixture *of)
{
	(void)of;
	if (dup2(open("/dev/full", O_WRONLY | O_CLOEXEC), STDOUT_FILENO) < 0)
		_exit(99);
}

Test(command, output_that_cannot_be_written_exits_with_1)
{
	config_write(f, "%s", BASE);
	f->prepare = into_a_full_disk;
	cr_assert_eq(skeld_run(f, "--help", NULL), 1);
	cr_assert_eq(skeld_run(f, "--version", NULL), 1);
	cr_assert_eq(skeld_run(f, "-c", f->config, "-t", NULL), 1);
	cr_assert_eq(skeld_run(f, "-c", f->config, "-T", NULL), 1);
}

static bool write_all(const char *path, const char *text)
{
	FILE *out = fopen(path, "we");
	return out && fputs(text, out) >= 0 && fclose(out) == 0;
}

/* In a user namespace without a quota for inotify. */
static void set_limit(const char *path)
{
	char map[64];
	snprintf(map, sizeof(map), "0 %d 1", (int)getuid());
	if (unshare(CLONE_NEWUSER) < 0 || !write_all("/proc/self/uid_map", map) ||
	    !write_all(path, "0"))
		_exit(99);
}

static void without_inotify(struct fixture *of)
{
	(void)of;
	set_limit("/proc/sys/user/max_inotify_instances");
	if (inotify_init1(0) >= 0)
		_exit(99);
}

static void without_watches(struct fixture *of)
{
	(void)of;
	set_limit("/proc/sys/user/max_inotify_watches");
	int fd = inotify_init1(IN_CLOEXEC);
	if (fd < 0 || inotify_add_watch(fd, "/", IN_MOVED_TO) >= 0)
		_exit(99);
}

static void check_waiting(void (*prepare)(struct fixture *of))
{
	daemon_start(f, BASE);
	f->prepare = prepare;
	if (send_command("status") == 99)
		cr_skip_test("user namespaces are not allowed here");
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(send_command("stats"), 0, "%s", f->err.bytes);
		cr_assert(out_contains("skeld_config_generation 1\n"), "%s", f->out.bytes);
	}
	cr_assert_eq(send_command("reload"), 0, "%s", f->err.bytes);
	expect_status(f, "generation", "2");
	cr_assert_eq(send_command("stop"), 0, "%s", f->err.bytes);
	cr_assert_eq(daemon_wait_exit(f), 0);
}

Test(command, commands_work_without_inotify)
{
	check_waiting(without_inotify);
}

Test(command, commands_work_without_inotify_watches)
{
	check_waiting(without_watches);
}

Test(command, other_users_cannot_signal_the_daemon)
{
	if (getuid() != 0)
		cr_skip_test("needs root");
	daemon_start(f, BASE);
	fixture_run_as(f, 65534);
	int code = send_command("reload");
	cr_assert(code != 0 && code != 3, "exit %d", code);
	cr_assert_gt(f->err.size, 0);
	cr_assert_eq(send_command("status"), 0, "%s", f->err.bytes);
	char path[128];
	snprintf(path, sizeof(path), "%s/skeld.pid", f->runtime);
	MUST(chmod(path, 0600) == 0);
	cr_assert_eq(send_command("status"), 1);
	cr_assert(err_contains("Permission denied"), "%s", f->err.bytes);
	daemon_finish(f);
}

/* The time that -s stop waits is bounded, also if the status file has an impossible value. */
Test(command, stop_ignores_an_impossible_drain_timeout)
{
	static const char *const wrong[] = {"2147483647", "99999999999999999999", "-2147483648"};
	char path[96], text[128];
	snprintf(path, sizeof(path), "%s/status", f->runtime);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		daemon_start(f, BASE);
		int n = snprintf(text, sizeof(text), "drain_timeout=%s\nlame_duck=%s\n", wrong[i],
				 wrong[i]);
		file_write(f, path, text, (size_t)n);
		cr_assert_eq(send_command("stop"), 0, "%s: %s", wrong[i], f->err.bytes);
		cr_assert_eq(daemon_wait_exit(f), 0);
	}
}
