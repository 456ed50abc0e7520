/* skeld -s prints the outcome, and no other: killed daemons, hung files, other namespaces. */
#include "client.h"
#include "observe.h"
#include "trace.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

DAEMON_SUITE(command_outcome);

static int send_command(const char *command)
{
	return skeld_run("-r", runtime_dir, "-s", command, NULL);
}

/* Kills the daemon as soon as it drains, while the command waits. */
static pid_t start_killer(void)
{
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (strcmp(status_get("state"), "draining") != 0)
			sched_yield();
		_exit(kill(daemon_pid, SIGKILL) == 0 ? 0 : 1);
	}
	return pid;
}

Test(command_outcome, stop_of_a_daemon_that_is_killed_fails)
{
	config_write(BASE LISTEN_BUSY "limits { buffer = 1M }\ndrain_timeout = 3600\n", test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	client_connect_busy();
	pid_t killer = start_killer();
	cr_assert_eq(send_command("stop"), 1, "%s", command_out.bytes);
	cr_assert_eq(command_out.size, 0, "%s", command_out.bytes);
	cr_assert(strstr(command_err.bytes, "ended without a clean stop"), "%s", command_err.bytes);
	reap(killer);
	cr_assert_eq(daemon_wait_exit(), 128 + SIGKILL);
}

static void into_pid_namespace(void)
{
	int status;
	if (unshare(CLONE_NEWPID) < 0)
		_exit(99);
	pid_t pid = fork();
	if (pid == 0)
		return;
	_exit(waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 98);
}

Test(command_outcome, commands_report_a_daemon_in_another_pid_namespace)
{
	static const char *const commands[] = {"reload", "stats", "stop"};
	daemon_start(BASE);
	daemon_prepare = into_pid_namespace;
	int code = send_command("status");
	if (code == 99)
		cr_skip_test("only root can make a pid namespace");
	cr_assert_eq(code, 0, "%s", command_err.bytes);
	cr_assert(strstr(command_out.bytes, "state=running\n"), "%s", command_out.bytes);
	cr_assert(strstr(command_err.bytes, "another pid namespace"), "%s", command_err.bytes);
	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(send_command(commands[i]), 1, "%s", commands[i]);
		cr_assert(strstr(command_err.bytes, "another pid namespace"), "%s",
			  command_err.bytes);
	}
	daemon_finish();
	cr_assert_eq(send_command("status"), 3, "%s", command_err.bytes);
}

/*
 * Go on until COMMAND has ended, and leave each new configuration loader stopped, as if its file
 * system were hung: a child of a traced process starts stopped. Returns the status of COMMAND.
 */
static int hang_loaders_until_end_of(pid_t command)
{
	for (int64_t until = deadline() + 10000;;) {
		int status;
		pid_t pid = waitpid(-1, &status, __WALL | WNOHANG);
		if (pid == command)
			return status;
		if (pid == daemon_pid && WIFSTOPPED(status)) /* at a fork(2), or before a signal */
			ptrace(PTRACE_CONT, pid, NULL,
			       (void *)(intptr_t)(status >> 16 ? 0 : WSTOPSIG(status)));
		else if (pid <= 0)
			await_turn(until, "the end of the command");
	}
}

Test(command_outcome, reload_behind_a_hung_one_waits_for_its_own_outcome)
{
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
	daemon_start(BASE);
	MUST(kill(loader_pid(), SIGSTOP) == 0);
	daemon_signal(SIGHUP);
	notify_wait("RELOADING=1");
	pid_t command = fork();
	MUST(command >= 0);
	if (command == 0) {
		execl(daemon_binary, daemon_binary, "-r", runtime_dir, "-s", "reload", NULL);
		_exit(99);
	}
	AWAIT(log_contains("queue one more reload"));
	MUST(ptrace(PTRACE_SEIZE, daemon_pid, NULL, (void *)PTRACE_O_TRACEFORK) == 0);
	int status = hang_loaders_until_end_of(command);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 78, "exit %d\n%s", WEXITSTATUS(status), log_text());
	expect_status("reloads_rejected", "2");
	cr_assert_eq(log_count("configuration not read within"), 2, "%s", log_text());
	MUST(kill(daemon_pid, SIGKILL) == 0); /* it is traced: a signal would stop it */
}
