/* The configuration loader: it starts and ends with the daemon, and its failure costs one reload
 * at most. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

DAEMON_SUITE(loader);

static pid_t loader(void)
{
	pid_t pid = loader_pid();
	cr_assert_neq(pid, 0, "there is no loader");
	return pid;
}

static int open_pidfd(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	MUST(fd >= 0);
	return fd;
}

static bool has_ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	return poll(&p, 1, 0) == 1;
}

/* Signals as from pkill, or from a service manager that signals all processes of a unit. */
Test(loader, the_loader_ignores_signals)
{
	static const int signals[] = {SIGHUP,  SIGUSR1, SIGUSR2, SIGINT,
				      SIGTERM, SIGQUIT, SIGPIPE, SIGCHLD};
	daemon_start(BASE);
	pid_t pid = loader();
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		MUST(kill(pid, signals[i]) == 0);
	daemon_reload_and_wait();
	expect_status("reloads_ok", "1");
	cr_assert_eq(loader(), pid);
	daemon_signal(SIGTERM);
	cr_assert_eq(daemon_wait_exit(), 0);
	expect_signals_logged();
	cr_assert_eq(stats_logged("received", "SIGHUP"), 1);
	cr_assert_eq(stats_logged("received", "SIGTERM"), 1);
}

/* The command line of a process, as one text: the NULs between arguments become "|". */
static const char *command_line(pid_t pid)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	static struct text line;
	text_read(&line, path);
	MUST(line.size > 0);
	for (size_t i = 0; i < line.size - 1; i++)
		if (!line.bytes[i])
			line.bytes[i] = '|';
	return line.bytes;
}

/* pgrep -x matches the first name, pidof the second one. */
Test(loader, the_loader_has_its_own_process_name)
{
	char path[32];
	daemon_start(BASE);
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)loader());
	cr_assert_str_eq(file_text(path), "config-loader\n");
	cr_assert_str_eq(command_line(loader()), "skeld: configuration loader");
	daemon_finish();
}

static void with_short_arguments(void)
{
	MUST(chdir(test_dir) == 0);
	execl(daemon_binary, "d", "-cskeld.conf", "-rrun", (char *)NULL);
}

Test(loader, the_loader_keeps_the_command_line_if_its_name_does_not_fit)
{
	daemon_prepare = with_short_arguments;
	daemon_start(BASE);
	cr_assert_str_eq(command_line(daemon_pid), "d|-cskeld.conf|-rrun");
	cr_assert_str_eq(command_line(loader()), "loader");
	daemon_finish();
}

static int find_interpreter(struct dl_phdr_info *program, size_t size, void *path)
{
	(void)size;
	for (size_t i = 0; i < program->dlpi_phnum; i++)
		if (program->dlpi_phdr[i].p_type == PT_INTERP)
			*(const char **)path =
				(const char *)(program->dlpi_addr + program->dlpi_phdr[i].p_vaddr);
	return 1; /* only the first one, which is this program */
}

/* As the launchers of some bundles start a program. */
static void by_the_dynamic_linker(void)
{
	const char *linker = NULL;
	char path[64];
	dl_iterate_phdr(find_interpreter, &linker);
	if (!linker || clearenv() != 0 || setenv("FIRST", "7", 1) != 0)
		_exit(99);
	execl(linker, linker, daemon_binary, "-T", "-c", path_in("skeld.conf", path), (char *)NULL);
}

/* Its path is longer than the first variable, which follows the arguments in memory. */
Test(loader, the_name_of_the_loader_overwrites_no_environment)
{
	config_write("drain_timeout = ${FIRST}\n");
	daemon_prepare = by_the_dynamic_linker;
	cr_assert_eq(skeld_run("-T", NULL), 0, "%s", command_err.bytes);
	cr_assert(strstr(command_out.bytes, "drain_timeout = 7\n"), "%s", command_out.bytes);
}

/* An inherited descriptor would keep a port, a connection or a lock in use. */
Test(loader, the_loader_has_no_descriptor_of_the_daemon)
{
	char path[64], what[256];
	int sockets = 0, pipes = 0;
	daemon_start(BASE);
	/* The next loader is forked when there are descriptors to inherit. */
	int pidfd = open_pidfd(loader());
	MUST(kill(loader(), SIGKILL) == 0);
	AWAIT(has_ended(pidfd));
	close(pidfd);
	daemon_reload_and_wait();
	for (int fd = STDERR_FILENO + 1; fd < 256; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)loader(), fd);
		ssize_t n = readlink(path, what, sizeof(what) - 1);
		if (n < 0)
			continue;
		what[n] = '\0';
		sockets += strncmp(what, "socket:", 7) == 0;
		pipes += strncmp(what, "pipe:", 5) == 0;
		cr_assert(sockets <= 1 && pipes <= 1, "it has %s", what);
	}
	cr_assert(sockets == 1 && pipes == 1, "to be asked, and to answer");
	daemon_finish();
}

Test(loader, a_killed_loader_is_replaced_at_the_next_reload)
{
	daemon_start(BASE);
	pid_t first = loader();
	int pidfd = open_pidfd(first);
	MUST(kill(first, SIGKILL) == 0);
	AWAIT(has_ended(pidfd));
	config_write("%s", BASE "limits { idle_timeout = 77 }\n");
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	expect_status("generation", "2");
	cr_assert_neq(loader(), first);
	close(pidfd);
	daemon_finish();
}

/* The loader is stopped, as if its file system hung: clients are served, and the reload is
 * rejected. */
Test(loader, a_reload_that_hangs_is_rejected_after_five_seconds)
{
	daemon_start(BASE);
	int client = client_connect("main"), pidfd = open_pidfd(loader());
	MUST(kill(loader(), SIGSTOP) == 0);
	daemon_signal(SIGHUP);
	notify_wait("RELOADING=1");
	for (size_t i = 0; i < 20; i++)
		client_echo(client, "still here\n");
	daemon_signal(SIGHUP); /* the old loader may continue: another one is used */
	notify_wait("READY=1");
	notify_wait("RELOADING=1");
	notify_wait("READY=1");
	static const char *const lines[] = {"skeld.conf: configuration not read within 5 s",
					    "reload rejected", "reloaded: generation=2"};
	log_expect_order(lines, sizeof(lines) / sizeof(*lines));
	cr_assert(has_ended(pidfd));
	close(pidfd);
	daemon_finish();
}

/* Stop the loader, as if its file system hung, and request a reload. */
static pid_t start_command_that_waits(void)
{
	pid_t pid = loader();
	MUST(kill(pid, SIGSTOP) == 0);
	daemon_signal(SIGHUP);
	notify_wait("RELOADING=1");
	stats_dump(); /* then a reload is requested */
	return pid;
}

static void expect_command_waits(void)
{
	expect_status("state", "reloading");
	cr_assert_not(log_contains("cannot be read"));
}

Test(loader, a_hung_reload_delays_no_signal_and_no_client)
{
	daemon_start(BASE);
	pid_t pid = start_command_that_waits();
	cr_assert_eq(stats_value("skeld_state{state=\"reloading\"}"), 1);
	daemon_signal(SIGUSR2);
	AWAIT(log_contains("debug logging on"));
	daemon_signal(SIGHUP);
	AWAIT(log_contains("queue one more reload"));
	expect_command_waits();
	MUST(kill(pid, SIGCONT) == 0);
	notify_wait("READY=1");
	notify_wait("READY=1");
	expect_status("reloads_ok", "2");
	expect_signals_accounted();
	daemon_finish();
}

/* Every stop signal, also with a queued reload. */
Test(loader, a_stop_does_not_wait_for_a_hung_reload)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGQUIT};
	static const char *const lines[] = {
		"reload dropped: ", "queued reload dropped: ", "stopped: seconds="};
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		daemon_start(BASE);
		int pidfd = open_pidfd(start_command_that_waits());
		daemon_signal(SIGHUP);
		AWAIT(log_contains("queue one more reload"));
		expect_command_waits();
		daemon_signal(signals[i]);
		cr_assert_eq(daemon_wait_exit(), signals[i] == SIGQUIT);
		log_expect_order(lines, sizeof(lines) / sizeof(*lines));
		cr_assert_not(log_contains("cannot be read"));
		expect_signals_logged();
		AWAIT(has_ended(pidfd));
		close(pidfd);
	}
}

/* A hung loader is ended when the drain begins. */
Test(loader, a_stop_ends_the_loader)
{
	daemon_start(BASE "lame_duck = 3600\n");
	int pidfd = open_pidfd(start_command_that_waits());
	daemon_signal(SIGTERM);
	AWAIT(strcmp(status_get("state"), "lame_duck") == 0);
	cr_assert(has_ended(pidfd));
	close(pidfd);
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
}

Test(loader, killing_a_hung_loader_ends_the_reload)
{
	daemon_start(BASE);
	MUST(kill(start_command_that_waits(), SIGKILL) == 0);
	notify_wait("READY=1");
	expect_rejected(1, "the configuration loader does not answer");
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	daemon_finish();
}

static void with_watchdog(void)
{
	setenv("WATCHDOG_USEC", "3000000", 1);
}

/* The load takes longer than the watchdog interval. */
Test(loader, the_watchdog_is_fed_during_a_hung_reload)
{
	daemon_prepare = with_watchdog;
	daemon_start(BASE);
	start_command_that_waits();
	for (int i = 0; i < 3; i++)
		notify_wait("WATCHDOG=1");
	expect_command_waits();
	notify_wait("READY=1");
	expect_rejected(1, "skeld.conf: configuration not read within 5 s");
	daemon_finish();
}

Test(loader, the_loader_ends_with_the_daemon)
{
	static const int signals[] = {SIGTERM, SIGQUIT, SIGKILL};
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		daemon_start(BASE);
		int pidfd = open_pidfd(loader());
		daemon_signal(signals[i]);
		daemon_wait_exit();
		AWAIT(has_ended(pidfd));
		close(pidfd);
	}
}
