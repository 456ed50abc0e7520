/* The runtime directory: the locked pid file, the status file, one instance at a time. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

DAEMON_SUITE(runtime);

static const char *runtime_path(const char *name)
{
	static char path[128];
	snprintf(path, sizeof(path), "%s/%s", runtime_dir, name);
	return path;
}

Test(runtime, a_second_instance_fails_to_start)
{
	char pid[32];
	daemon_start(BASE);
	cr_assert_eq(skeld_run("-c", config_path, "-r", runtime_dir, NULL), 1);
	snprintf(pid, sizeof(pid), "%d", (int)daemon_pid);
	cr_assert_not_null(strstr(command_err.bytes, pid), "no %s in: %s", pid, command_err.bytes);
	client_echo(client_connect("main"), "unharmed\n");
	expect_status("pid", pid);
	expect_status("state", "running");
	daemon_reload_and_wait();
	cr_assert_eq(skeld_run("-c", config_path, "-r", runtime_dir, NULL), 1);
	daemon_finish();
}

/* The reason is also printed on the standard error, not only in the log file. */
Test(runtime, a_second_instance_prints_the_reason)
{
	char path[64];
	daemon_start(BASE);
	config_write(BASE "log { target = file file = \"%s\" }\n", path_in("log", path));
	cr_assert_eq(skeld_run("-c", config_path, "-r", runtime_dir, NULL), 1);
	const char *logged = file_text(path);
	cr_assert(logged && strstr(logged, "start failed: exit=1"), "%s", logged);
	cr_assert(strstr(command_err.bytes, "another instance is running") &&
			  strstr(command_err.bytes, "start failed: exit=1"),
		  "%s", command_err.bytes);
	daemon_finish();
}

Test(runtime, runtime_files_have_their_content_until_they_are_removed_at_exit)
{
	static const char *const names[] = {"skeld.pid", "status", "stats.prom"};
	daemon_start(BASE);
	stats_dump();
	for (size_t i = 0; i < 3; i++)
		cr_assert(runtime_file_exists(names[i]), "%s", names[i]);
	cr_assert_eq(strtol(file_text(runtime_path("skeld.pid")), NULL, 10), daemon_pid);
	daemon_finish();
	/* Also no temporary file: the directory can be removed. */
	cr_assert_eq(rmdir(runtime_dir), 0, "something is left in %s", runtime_dir);
}

Test(runtime, a_crash_does_not_prevent_the_next_start)
{
	daemon_start(BASE);
	stats_dump();
	cr_assert_eq(daemon_stop(SIGKILL), 128 + SIGKILL);
	cr_assert(runtime_file_exists("skeld.pid"));
	cr_assert_eq(skeld_run("-r", runtime_dir, "-s", "status", NULL), 3);
	daemon_start(BASE);
	expect_status("generation", "1");
	daemon_finish();
}

Test(runtime, a_missing_runtime_directory_is_created)
{
	struct stat st;
	MUST(rmdir(runtime_dir) == 0);
	daemon_start(BASE);
	MUST(stat(runtime_dir, &st) == 0);
	cr_assert_eq(st.st_mode & 07777, 0755);
	daemon_finish();
}

Test(runtime, an_unusable_runtime_directory_exits_with_1)
{
	MUST(rmdir(runtime_dir) == 0);
	file_write_bytes(runtime_dir, "", 0);
	config_write("%s", BASE);
	daemon_spawn();
	cr_assert_eq(daemon_wait_exit(), 1);
	cr_assert(log_contains(runtime_dir), "%s", log_text());
	MUST(unlink(runtime_dir) == 0);
}

Test(runtime, the_status_file_has_the_state)
{
	static const char *const keys[] = {
		"pid",	       "state",	  "generation",	       "reloads_ok", "reloads_rejected",
		"last_reload", "started", "last_reload_error", "service"};
	char pid[32];
	daemon_start(BASE);
	snprintf(pid, sizeof(pid), "%d", (int)daemon_pid);
	expect_status("pid", pid);
	expect_status("state", "running");
	expect_status("generation", "1");
	expect_status("last_reload", "none");
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		status_get(keys[i]);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	expect_status("last_reload_error", "");
	config_write(BASE "nonsense\n");
	daemon_reload_and_wait();
	expect_rejected(2, "skeld.conf:4: ");
	config_write(BASE);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	expect_status("last_reload_error", "");
	expect_status("reloads_ok", "2");
	expect_status("reloads_rejected", "1");
	daemon_finish();
}

Test(runtime, stats_count_events)
{
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	int first = client_connect("main"), second = client_connect("main");
	client_echo(first, "0123456789");
	client_echo(second, "01234");
	client_close(second);
	daemon_reload_and_wait();
	config_write("nonsense\n");
	daemon_reload_and_wait();
	do /* until the worker has noticed that the second client left */
		stats_dump();
	while (stats_value("skeld_connections_open") != 1);
	AWAIT(!strstr(proc_fds(), "stats.prom")); /* renamed, and not closed yet */
	size_t fds = 0;
	for (const char *at = proc_fds(); (at = strchr(at, '\n')); at++)
		fds++;
	cr_assert_eq(stats_value("process_open_fds"), (double)fds, "%s", last_value);
	cr_assert_eq(stats_value("skeld_connections_accepted_total"), 2);
	cr_assert_eq(stats_value("skeld_connections_closed_total{reason=\"peer\"}"), 1);
	cr_assert_eq(stats_value("skeld_received_bytes_total"), 15);
	cr_assert_eq(stats_value("skeld_sent_bytes_total"), 15);
	cr_assert_eq(stats_value("skeld_echo_messages_total"), 2);
	cr_assert_eq(stats_value("skeld_signals_received_total{signal=\"SIGHUP\"}"), 2);
	cr_assert_eq(stats_value("skeld_signals_handled_total{signal=\"SIGHUP\"}"), 2);
	cr_assert_eq(stats_value("skeld_signals_coalesced_total{signal=\"SIGHUP\"}"), 0);
	cr_assert_geq(stats_value("skeld_signal_latency_seconds_count"), 3);
	cr_assert_geq(stats_value("skeld_worker_lag_seconds{worker=\"1\"}"), 0);
	cr_assert_gt(stats_value("process_resident_memory_bytes"), 0);
	cr_assert_eq(stats_value("skeld_config_generation"), 2);
	cr_assert_eq(stats_value("skeld_config_reloads_total{result=\"ok\"}"), 1);
	cr_assert_eq(stats_value("skeld_config_reloads_total{result=\"rejected\"}"), 1);
	cr_assert_eq(stats_value("skeld_config_last_reload_successful"), 0);
	cr_assert_gt(stats_value("skeld_config_last_reload_success_timestamp_seconds"),
		     (double)time(NULL) - 600);
	client_echo(first, "on");
	daemon_finish();
}
