/*
 * The process that reads the configuration: it is nobody's business but the daemon's, comes and
 * goes with it, and whatever becomes of it costs a reload at most.
 */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

FIXTURE_SUITE(loader);

static pid_t loader(void)
{
	pid_t pid = loader_pid(f);
	cr_assert_neq(pid, 0, "there is no loader");
	return pid;
}

static int watch(pid_t pid)
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

/* As those of `pkill`, and of a service manager that stops all of a unit at once. */
Test(loader, takes_no_signal)
{
	static const int signals[] = {SIGHUP,  SIGUSR1, SIGUSR2, SIGINT,
				      SIGTERM, SIGQUIT, SIGPIPE, SIGCHLD};
	daemon_start(f, BASE);
	pid_t pid = loader();
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		MUST(kill(pid, signals[i]) == 0);
	daemon_reload_and_wait(f);
	expect_status(f, "reloads_ok", "1");
	cr_assert_eq(loader(), pid);
	daemon_signal(f, SIGTERM);
	cr_assert_eq(daemon_wait_exit(f), 0);
	expect_signals_told(f);
	cr_assert_eq(stats_told(f, "received", "SIGHUP"), 1);
	cr_assert_eq(stats_told(f, "received", "SIGTERM"), 1);
}

/* Nor is it found by who looks for the daemon, to kill it, by its name. */
Test(loader, has_a_name_of_its_own)
{
	char path[32];
	daemon_start(f, BASE);
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)loader());
	cr_assert_str_eq(file_text(f, path), "config-loader\n");
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)loader());
	cr_assert_str_eq(file_text(f, path), "loader");
	daemon_finish(f);
}

/* Nor does it have what would keep a port, a client or a lock from being free. */
Test(loader, has_no_descriptor_of_the_daemon)
{
	char path[64], what[256];
	int sockets = 0, pipes = 0;
	daemon_start(f, BASE);
	int pidfd = watch(loader()); /* the next one is made when there is something to inherit */
	MUST(kill(loader(), SIGKILL) == 0);
	await(f, has_ended(pidfd));
	close(pidfd);
	daemon_reload_and_wait(f);
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
	daemon_finish(f);
}

Test(loader, another_one_is_made_when_it_is_killed)
{
	daemon_start(f, BASE);
	pid_t first = loader();
	int pidfd = watch(first);
	MUST(kill(first, SIGKILL) == 0);
	await(f, has_ended(pidfd));
	config_write(f, "%s", BASE "limits { idle_timeout = 77 }\n");
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "ok");
	expect_status(f, "generation", "2");
	cr_assert_neq(loader(), first);
	close(pidfd);
	daemon_finish(f);
}

/* As one does for which the file system does not answer: clients are served, and it is rejected. */
Test(loader, is_waited_for_five_seconds)
{
	daemon_start(f, BASE);
	int client = client_connect(f, "main"), pidfd = watch(loader());
	MUST(kill(loader(), SIGSTOP) == 0);
	daemon_signal(f, SIGHUP);
	notify_wait(f, "RELOADING=1");
	for (size_t i = 0; i < 20; i++)
		client_echo(f, client, "still here\n");
	daemon_signal(f, SIGHUP); /* it may answer now: another one is asked */
	notify_wait(f, "READY=1");
	notify_wait(f, "RELOADING=1");
	notify_wait(f, "READY=1");
	static const char *const told[] = {"skeld.conf: cannot be read within 5 s",
					   "reload rejected", "reloaded: generation 2"};
	log_expect_order(f, told, sizeof(told) / sizeof(*told));
	cr_assert(has_ended(pidfd));
	close(pidfd);
	daemon_finish(f);
}

/* One that does not answer, as if its file system did not; it is asked. */
static pid_t ask_in_vain(void)
{
	pid_t pid = loader();
	MUST(kill(pid, SIGSTOP) == 0);
	daemon_signal(f, SIGHUP);
	notify_wait(f, "RELOADING=1");
	stats_dump(f); /* and then it is asked */
	return pid;
}

static void expect_still_waiting(void)
{
	expect_status(f, "state", "reloading");
	cr_assert_not(log_contains(f, "cannot be read"));
}

Test(loader, nobody_waits_with_the_reload)
{
	daemon_start(f, BASE);
	pid_t pid = ask_in_vain();
	cr_assert_eq(stats_value(f, "skeld_state{state=\"reloading\"}"), 1);
	daemon_signal(f, SIGUSR2);
	await(f, log_contains(f, "debug logging is on"));
	daemon_signal(f, SIGHUP);
	await(f, log_contains(f, "reload once more after this one"));
	expect_still_waiting();
	MUST(kill(pid, SIGCONT) == 0);
	notify_wait(f, "READY=1");
	notify_wait(f, "READY=1");
	expect_status(f, "reloads_ok", "2");
	expect_signals_accounted(f);
	daemon_finish(f);
}

/* However it is to stop, and whatever else was asked for. */
Test(loader, a_stop_does_not_wait_for_it)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGQUIT};
	static const char *const told[] = {"the reload is dropped",
					   "the reload that was asked for meanwhile is dropped",
					   "stopped after"};
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		daemon_start(f, BASE);
		int pidfd = watch(ask_in_vain());
		daemon_signal(f, SIGHUP);
		await(f, log_contains(f, "reload once more after this one"));
		expect_still_waiting();
		daemon_signal(f, signals[i]);
		cr_assert_eq(daemon_wait_exit(f), signals[i] == SIGQUIT);
		log_expect_order(f, told, sizeof(told) / sizeof(*told));
		cr_assert_not(log_contains(f, "cannot be read"));
		expect_signals_told(f);
		await(f, has_ended(pidfd));
		close(pidfd);
	}
}

/* Nor is it left to its file system while the daemon drains. */
Test(loader, a_stop_ends_it)
{
	daemon_start(f, BASE "lame_duck = 3600\n");
	int pidfd = watch(ask_in_vain());
	daemon_signal(f, SIGTERM);
	await(f, strcmp(status_get(f, "state"), "lame_duck") == 0);
	cr_assert(has_ended(pidfd));
	close(pidfd);
	cr_assert_eq(daemon_stop(f, SIGQUIT), 1);
}

Test(loader, when_it_is_killed_nobody_waits_any_more)
{
	daemon_start(f, BASE);
	MUST(kill(ask_in_vain(), SIGKILL) == 0);
	notify_wait(f, "READY=1");
	expect_rejected(f, 1, "no answer of the process that reads it");
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "ok");
	daemon_finish(f);
}

static void with_watchdog(struct fixture *g)
{
	(void)g;
	setenv("WATCHDOG_USEC", "3000000", 1);
}

/* It takes longer than the manager waits for a sign of life. */
Test(loader, the_service_manager_hears_of_us_meanwhile)
{
	f->prepare = with_watchdog;
	daemon_start(f, BASE);
	ask_in_vain();
	for (int i = 0; i < 3; i++)
		notify_wait(f, "WATCHDOG=1");
	expect_still_waiting();
	notify_wait(f, "READY=1");
	expect_rejected(f, 1, "skeld.conf: cannot be read within 5 s");
	daemon_finish(f);
}

Test(loader, ends_with_the_daemon)
{
	static const int signals[] = {SIGTERM, SIGQUIT, SIGKILL};
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		daemon_start(f, BASE);
		int pidfd = watch(loader());
		daemon_signal(f, signals[i]);
		daemon_wait_exit(f);
		await(f, has_ended(pidfd));
		close(pidfd);
	}
}
