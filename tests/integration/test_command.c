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

DAEMON_SUITE(command);

static bool out_contains(const char *part)
{
	return strstr(command_out.bytes, part);
}

static bool err_contains(const char *part)
{
	return strstr(command_err.bytes, part);
}

static int send_command(const char *command)
{
	return skeld_run("-r", runtime_dir, "-s", command, NULL);
}

Test(command, check_exits_with_0_or_with_78_and_the_line)
{
	config_write("%s", BASE);
	cr_assert_eq(skeld_run("-t", "-c", config_path, NULL), 0);
	cr_assert_eq(skeld_run("--check", "--config", config_path, NULL), 0);
	config_write(BASE "nonsense = 1\ndrain_timeout = -1\n");
	cr_assert_eq(skeld_run("-t", "-c", config_path, NULL), 78);
	cr_assert(err_contains("skeld.conf:4: ") && err_contains("skeld.conf:5: "), "%s",
		  command_err.bytes);
	config_write("admin { address = \"127.0.0.1:7007\" }\n"); /* the default of listen, too */
	cr_assert_eq(skeld_run("-t", "-c", config_path, NULL), 78);
	cr_assert_eq(skeld_run("-t", "-c", "/nonexistent.conf", NULL), 78);
	cr_assert(err_contains("/nonexistent.conf"), "%s", command_err.bytes);
}

Test(command, check_reports_the_errors_of_a_reload)
{
	static const char *const bad[] = {"limits {\n", "workers =", "", "include(\"x.conf\")\n"};
	daemon_start(BASE);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		config_write("%s", bad[i]);
		cr_assert_eq(skeld_run("-t", "-c", config_path, NULL), 78);
		daemon_reload_and_wait();
		expect_status("last_reload", "rejected");
		cr_assert(err_contains(status_get("last_reload_error")), "%s\n%s",
			  command_err.bytes, last_value);
	}
	daemon_finish();
}

Test(command, a_dumped_configuration_loads_to_the_same)
{
	char first[16384];
	config_write(BASE "listen \"b\" { address = \"unix:/tmp/\\\"q\\\" ${x:-} \\\\ b\" }\n"
			  "echo { banner = \"tab\\t, nl\\n, $ and \\\"\" }\n"
			  "log { level = warning file = '/var/log/x' }\n");
	cr_assert_eq(skeld_run("-T", "-c", config_path, NULL), 0);
	cr_assert_lt(command_out.size, sizeof(first));
	strcpy(first, command_out.bytes);
	cr_assert(out_contains("level = \"warning\"") && out_contains("workers = 1\n"), "%s",
		  first);
	config_write("%s", first);
	cr_assert_eq(skeld_run("--dump-config", "-c", config_path, NULL), 0, "%s",
		     command_err.bytes);
	cr_assert_str_eq(command_out.bytes, first);
	config_write("nonsense\n");
	cr_assert_eq(skeld_run("-T", "-c", config_path, NULL), 78);
	cr_assert_eq(command_out.size, 0, "%s", command_out.bytes);
}

Test(command, wrong_usage_exits_with_64)
{
	cr_assert_eq(skeld_run("--nonsense", NULL), 64);
	cr_assert_gt(command_err.size, 0);
	cr_assert_eq(skeld_run("-c", NULL), 64);
	cr_assert_eq(skeld_run("argument", NULL), 64);
	cr_assert_eq(send_command("dance"), 64);
	cr_assert(err_contains("reload"), "the accepted commands are not listed: %s",
		  command_err.bytes);
	cr_assert_eq(skeld_run("--self-test=dance", NULL), 64);
}

Test(command, help_and_version_exit_with_0)
{
	static const char *const options[] = {"--config",      "--runtime-dir", "--check",
					      "--dump-config", "--signal",	"--self-test",
					      "--help",	       "--version"};
	cr_assert_eq(skeld_run("--help", NULL), 0);
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
		cr_assert(out_contains(options[i]), "%s is not in\n%s", options[i],
			  command_out.bytes);
	cr_assert_eq(skeld_run("-h", NULL), 0);
	cr_assert_eq(skeld_run("--version", NULL), 0);
}

Test(command, version_prints_the_service_the_libraries_and_the_build)
{
	static const char *const lines[] = {"skeld ", "\nservice: ", "\nlibevent: 2.",
					    "\nlibconfuse: 3.", "\nbuild: "};
	cr_assert_eq(skeld_run("-V", NULL), 0);
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		cr_assert(out_contains(lines[i]), "no \"%s\" in:\n%s", lines[i], command_out.bytes);
	cr_assert(out_contains("SKELD_ADMIN=") && out_contains("SKELD_SOCKETS="), "%s",
		  command_out.bytes);
	cr_assert_eq(command_err.size, 0);
}

Test(command, usage_errors_begin_with_the_name_of_the_program)
{
	static const char *const wrong[] = {"--nonsense", "-x",	 "-c",
					    "--signal",	  "--s", "argument"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		cr_assert_eq(skeld_run(wrong[i], NULL), 64);
		cr_assert_eq(strncmp(command_err.bytes, "skeld: ", 7), 0, "%s", command_err.bytes);
	}
}

Test(command, a_likely_mistake_is_a_warning_of_check_and_dump)
{
	config_write(BASE "log { file = \"/tmp/x\" }\n");
	cr_assert_eq(skeld_run("-t", "-c", config_path, NULL), 0);
	cr_assert(err_contains("warning: ") && err_contains("skeld.conf:4: log.file"), "%s",
		  command_err.bytes);
	cr_assert_eq(skeld_run("-T", "-c", config_path, NULL), 0);
	cr_assert(err_contains("skeld.conf:4: log.file"), "%s", command_err.bytes);
	cr_assert(!out_contains("has no effect"), "%s", command_out.bytes);
}

Test(command, signal_commands_exit_with_3_if_no_daemon_runs)
{
	static const char *const commands[] = {"reload", "stats", "stop", "status"};
	for (size_t i = 0; i < 4; i++) {
		cr_assert_eq(send_command(commands[i]), 3, "%s", commands[i]);
		cr_assert_gt(command_err.size, 0);
	}
	cr_assert_eq(skeld_run("-r", "/nonexistent", "-s", "status", NULL), 3);
}

Test(command, a_daemon_that_runs_elsewhere_is_named)
{
	char hint[256], path[64];
	static const char *const commands[] = {"reload", "stats", "stop", "status"};
	daemon_start(BASE);
	snprintf(hint, sizeof(hint), "pid %d runs in %s, use -r %s\n", (int)daemon_pid, runtime_dir,
		 runtime_dir);
	for (size_t i = 0; i < 4; i++) {
		cr_assert_eq(skeld_run("-r", path_in("other", path), "-s", commands[i], NULL), 3);
		cr_assert(err_contains(hint), "%s", command_err.bytes);
	}
	daemon_finish();
	cr_assert_eq(skeld_run("-r", path_in("other", path), "-s", "status", NULL), 3);
	cr_assert(!err_contains(runtime_dir), "%s", command_err.bytes);
}

Test(command, status_prints_the_state)
{
	char pid[32];
	daemon_start(BASE);
	snprintf(pid, sizeof(pid), "%d", (int)daemon_pid);
	cr_assert_eq(send_command("status"), 0);
	cr_assert(out_contains("running") && out_contains(pid), "%s", command_out.bytes);
	daemon_finish();
}

Test(command, status_has_the_addresses_as_bound)
{
	char line[256], main[64];
	daemon_start(BASE);
	snprintf(main, sizeof(main), "%s", listener_address("main"));
	snprintf(line, sizeof(line), "\nlistening=main %s\n", main);
	cr_assert_eq(send_command("status"), 0);
	cr_assert(out_contains(line), "%s", command_out.bytes);
	config_write(BASE "listen \"b\" { address = \"unix:%s/b\" }\n", test_dir);
	daemon_reload_and_wait();
	snprintf(line, sizeof(line), "main %s, b unix:%s/b", main, test_dir);
	expect_status("listening", line);
	daemon_finish();
}

Test(command, reload_waits_for_the_outcome)
{
	daemon_start(BASE);
	config_write(BASE "drain_timeout = 7\n");
	cr_assert_eq(send_command("reload"), 0, "%s", command_err.bytes);
	expect_status("generation", "2"); /* the daemon has ended already */
	config_write(BASE "drain_timeout = never\n");
	cr_assert_eq(send_command("reload"), 78);
	cr_assert(err_contains("skeld.conf:4: "), "%s", command_err.bytes);
	expect_status("generation", "2");
	config_write(BASE);
	cr_assert_eq(send_command("reload"), 0, "%s", command_err.bytes);
	expect_status("generation", "3");
	daemon_finish();
}

Test(command, stats_prints_the_metrics)
{
	daemon_start(BASE);
	client_echo(client_connect("main"), "hello\n");
	cr_assert_eq(send_command("stats"), 0);
	cr_assert(out_contains("skeld_config_generation 1\n"), "%s", command_out.bytes);
	cr_assert(out_contains("skeld_connections_accepted_total 1\n"), "%s", command_out.bytes);
	daemon_finish();
}

Test(command, stop_waits_for_the_end)
{
	daemon_start(BASE);
	cr_assert_eq(send_command("stop"), 0, "%s", command_err.bytes);
	cr_assert(!runtime_file_exists("skeld.pid"));
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert_eq(send_command("stop"), 3);
}

/* Two stop commands do not cut off the connections that the drain waits for. */
Test(command, a_second_stop_waits_with_the_first)
{
	daemon_start(BASE "drain_timeout = 2\nlame_duck = 1\n");
	client_echo(client_connect("main"), "hello\n");
	daemon_signal(SIGTERM);
	AWAIT(strcmp(status_get("state"), "lame_duck") == 0);
	cr_assert_eq(send_command("stop"), 0, "%s", command_err.bytes);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(!log_contains("stopping now"), "%s", log_text());
}

/* The same without a status file at first, as on a full disk or during a start. The lame duck is
 * longer than the command would wait without a status. */
Test(command, a_stop_without_status_file_cuts_off_no_connection)
{
	char path[64];
	daemon_start(BASE "drain_timeout = 2\nlame_duck = 11\n");
	daemon_signal(SIGTERM);
	AWAIT(strcmp(status_get("state"), "lame_duck") == 0);
	MUST(unlink(path_in("run/status", path)) == 0);
	cr_assert_eq(send_command("stop"), 0, "%s", command_err.bytes);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("not verified: ignored, already stopping"), "%s", log_text());
	expect_signals_logged();
}

static void into_a_full_disk(void)
{
	if (dup2(open("/dev/full", O_WRONLY | O_CLOEXEC), STDOUT_FILENO) < 0)
		_exit(99);
}

Test(command, output_that_cannot_be_written_exits_with_1)
{
	config_write("%s", BASE);
	daemon_prepare = into_a_full_disk;
	cr_assert_eq(skeld_run("--help", NULL), 1);
	cr_assert_eq(skeld_run("--version", NULL), 1);
	cr_assert_eq(skeld_run("-c", config_path, "-t", NULL), 1);
	cr_assert_eq(skeld_run("-c", config_path, "-T", NULL), 1);
	cr_assert_eq(skeld_run("-c", config_path, "--self-test=burst", NULL), 1);
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

static void without_inotify(void)
{
	set_limit("/proc/sys/user/max_inotify_instances");
	if (inotify_init1(0) >= 0)
		_exit(99);
}

static void without_watches(void)
{
	set_limit("/proc/sys/user/max_inotify_watches");
	int fd = inotify_init1(IN_CLOEXEC);
	if (fd < 0 || inotify_add_watch(fd, "/", IN_MOVED_TO) >= 0)
		_exit(99);
}

static void check_waiting(void (*prepare)(void))
{
	daemon_start(BASE);
	daemon_prepare = prepare;
	if (send_command("status") == 99)
		cr_skip_test("user namespaces are not allowed here");
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(send_command("stats"), 0, "%s", command_err.bytes);
		cr_assert(out_contains("skeld_config_generation 1\n"), "%s", command_out.bytes);
	}
	cr_assert_eq(send_command("reload"), 0, "%s", command_err.bytes);
	expect_status("generation", "2");
	cr_assert_eq(send_command("stop"), 0, "%s", command_err.bytes);
	cr_assert_eq(daemon_wait_exit(), 0);
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
	daemon_start(BASE);
	daemon_run_as(65534);
	int code = send_command("reload");
	cr_assert(code != 0 && code != 3, "exit %d", code);
	cr_assert_gt(command_err.size, 0);
	cr_assert(err_contains("Permission denied"), "%s", command_err.bytes);
	cr_assert_eq(send_command("status"), 0, "%s", command_err.bytes);
	cr_assert(out_contains("state=running\n"), "%s", command_out.bytes);
	cr_assert(err_contains("cannot verify that the daemon runs: "), "%s", command_err.bytes);
	cr_assert_eq(daemon_stop(SIGKILL), 128 + SIGKILL);
	cr_assert_eq(send_command("status"), 3, "%s", command_out.bytes);
}

/* The time that -s stop waits is bounded, also if the status file has an impossible value. */
Test(command, stop_ignores_an_impossible_drain_timeout)
{
	static const char *const wrong[] = {"2147483647", "99999999999999999999", "-2147483648"};
	char path[96], text[128];
	snprintf(path, sizeof(path), "%s/status", runtime_dir);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		daemon_start(BASE);
		int n = snprintf(text, sizeof(text), "drain_timeout=%s\nlame_duck=%s\n", wrong[i],
				 wrong[i]);
		file_write_bytes(path, text, (size_t)n);
		cr_assert_eq(send_command("stop"), 0, "%s: %s", wrong[i], command_err.bytes);
		cr_assert_eq(daemon_wait_exit(), 0);
	}
}
