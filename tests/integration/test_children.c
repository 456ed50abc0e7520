/* Child processes of a service, see services/children.c, and orphans that the daemon inherits. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

DAEMON_SUITE(children, daemon_use(CHILDREN_BINARY));

static void expect_output(const char *how, const char *command, const char *expected)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "%s %s\n", how, command);
	int client = client_connect("main");
	client_send_bytes(client, line, (size_t)n);
	client_expect(client, expected);
	client_close(client);
}

/* kill(1) works on the child. glibc ignores its internal signals 32 and 33 in a spawned one. */
#define SIGNALS "grep -cE '^Sig(Blk:.0{16}|Ign:.*[08]0{7})$' /proc/self/status"
#define DEFAULT "2\nstatus 0\n"

Test(children, child_of_fork_has_default_signal_handling)
{
	daemon_start(BASE);
	expect_output("fork", SIGNALS, DEFAULT);
	daemon_reload_and_wait();
	daemon_finish();
}

Test(children, spawned_child_has_default_signal_handling)
{
	daemon_start(BASE);
	expect_output("spawn", SIGNALS, DEFAULT);
	expect_output("spawn", "kill -TERM $$; echo alive", "status 15\n");
	daemon_finish();
}

/* As a service manager, and a parent that ignores the ends of its children. */
static void as_a_service(void)
{
	static const char *const names[] = {"WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		setenv(names[i], "0", 1);
	signal(SIGCHLD, SIG_IGN);
}

Test(children, spawned_child_has_no_variable_of_the_service_manager_and_its_end_is_known)
{
	daemon_prepare = as_a_service;
	daemon_start(BASE);
	expect_output("spawn", "env | grep -E '^(NOTIFY|WATCHDOG|FDSTORE)'; exit 3",
		      "status 768\n");
	daemon_finish();
}

Test(children, spawned_child_has_the_standard_descriptors_only)
{
	daemon_start(BASE);
	expect_output("spawn", "echo /proc/self/fd/*; read x; echo $?",
		      "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n1\n"
		      "status 0\n"); /* 3 is the directory */
	daemon_finish();
}

Test(children, child_of_fork_inherits_no_descriptor_across_exec)
{
	daemon_start(BASE);
	expect_output("fork", "echo /proc/self/fd/*",
		      "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n"
		      "status 0\n");
	daemon_finish();
}

Test(children, child_that_outlives_the_daemon_does_not_block_the_next_start)
{
	char line[32] = "";
	daemon_start(BASE);
	int client = client_connect("main");
	client_send(client, "keep\n");
	await_fd(client, POLLIN, deadline(), "the pid of the child");
	MUST(read(client, line, sizeof(line) - 1) > 0);
	pid_t child = (pid_t)strtol(line, NULL, 10);
	client_close(client);
	cr_assert_eq(daemon_stop(SIGKILL), 128 + SIGKILL);
	cr_assert_eq(kill(child, 0), 0);
	daemon_start(BASE);
	daemon_finish();
	MUST(kill(child, SIGTERM) == 0);
	AWAIT(kill(child, 0) < 0 && errno == ESRCH);
}

/* The children of the only child of daemon_pid: the daemon, which is PID 1 in its namespace. */
static pid_t inner_pid(void)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)daemon_pid, (int)daemon_pid);
	const char *text = file_text(path);
	return text ? (pid_t)strtol(text, NULL, 10) : 0;
}

static size_t count_children(pid_t pid)
{
	char path[64];
	size_t n = 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	for (const char *at = file_text(path); at && *at; at++)
		n += *at == ' ';
	return n;
}

static void into_pid_namespace(void)
{
	int status;
	if (unshare(CLONE_NEWPID) < 0)
		_exit(99);
	pid_t pid = fork();
	if (pid == 0)
		return;
	if (waitpid(pid, &status, 0) != pid)
		_exit(98);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 97);
}

/* A process of the namespace ends before its child: the child becomes one of PID 1. */
static void leave_orphan(void)
{
	int done[2];
	char byte;
	MUST(pipe2(done, O_CLOEXEC) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		pid_t parent = getpid();
		if (fork() == 0) {
			while (getppid() == parent)
				sched_yield();
			_exit(getppid() == 1 && write(done[1], "", 1) == 1 ? 0 : 1);
		}
		_exit(0);
	}
	close(done[1]);
	MUST(waitpid(pid, NULL, 0) == pid);
	MUST(read(done[0], &byte, 1) == 1);
	close(done[0]);
}

Test(children, orphans_are_reaped_by_pid_1_and_reloads_go_on)
{
	char path[64];
	if (getuid() != 0)
		cr_skip_test("only root can make a pid namespace");
	daemon_prepare = into_pid_namespace;
	daemon_start(BASE);
	pid_t daemon = inner_pid();
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)daemon);
	int ns = open(path, O_RDONLY | O_CLOEXEC);
	MUST(ns >= 0 && setns(ns, CLONE_NEWPID) == 0);
	for (int i = 0; i < 5; i++)
		leave_orphan();
	AWAIT(count_children(daemon) == 1); /* the configuration loader */
	expect_output("spawn", "exit 3", "status 768\n");
	MUST(kill(daemon, SIGHUP) == 0);
	notify_wait("RELOADING=1");
	notify_wait("READY=1");
	expect_status("last_reload", "ok");
	MUST(kill(daemon, SIGINT) == 0);
	cr_assert_eq(daemon_wait_exit(), 0, "%s", log_text());
}

/* Its end is noticed by the wait for orphans: the next reload starts another one. */
Test(children, configuration_loader_of_pid_1_is_replaced_when_it_is_killed)
{
	if (getuid() != 0)
		cr_skip_test("only root can make a pid namespace");
	daemon_prepare = into_pid_namespace;
	daemon_start(BASE);
	pid_t daemon = inner_pid();
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)daemon, (int)daemon);
	MUST(kill((pid_t)strtol(file_text(path), NULL, 10), SIGKILL) == 0);
	AWAIT(count_children(daemon) == 0);
	MUST(kill(daemon, SIGHUP) == 0);
	notify_wait("RELOADING=1");
	notify_wait("READY=1");
	expect_status("last_reload", "ok");
	MUST(kill(daemon, SIGINT) == 0);
	cr_assert_eq(daemon_wait_exit(), 0, "%s", log_text());
}
