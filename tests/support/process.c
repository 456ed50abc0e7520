#include "harness.h"
#include "observe.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGS_MAX = 32 };

static const char *const not_inherited[] = {"LISTEN_FDS",	 "LISTEN_PID",	   "LISTEN_FDNAMES",
					    "JOURNAL_STREAM",	 "WATCHDOG_PID",   "WATCHDOG_USEC",
					    "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"};

static _Noreturn void become(const char *const argv[], int out, int err)
{
	char words[1024], notify[64];
	char *args[ARGS_MAX] = {0};
	size_t n = 0;
	const char *wrap = getenv("SKELD_TEST_WRAP");
	for (size_t i = 0; argv[i]; i++)
		if (strcmp(argv[i], "-s") == 0) /* valgrind 3.19 lacks pidfd_open(2) */
			wrap = NULL;
	snprintf(words, sizeof(words), "%s", wrap ? wrap : "");
	for (char *w = strtok(words, " "); w && n < ARGS_MAX / 2; w = strtok(NULL, " "))
		args[n++] = w;
	while (*argv && n < ARGS_MAX - 1)
		args[n++] = (char *)(uintptr_t)*argv++;

	for (size_t i = 0; i < sizeof(not_inherited) / sizeof(*not_inherited); i++)
		unsetenv(not_inherited[i]);
	setenv("NOTIFY_SOCKET", path_in("notify", notify), 1);
	setenv("TMPDIR", test_dir, 1);
	int null = open("/dev/null", O_RDONLY);
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	close_range(STDERR_FILENO + 1, ~0U,
		    CLOSE_RANGE_CLOEXEC); /* prepare() may keep descriptors */
	if (daemon_uid != getuid() &&
	    (setgroups(0, NULL) < 0 || setresgid(daemon_uid, daemon_uid, daemon_uid) < 0 ||
	     setresuid(daemon_uid, daemon_uid, daemon_uid) < 0))
		_exit(126);
	/* A test under nohup(1), or in the background of a shell, has inherited ignored signals. */
	sigset_t none;
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (daemon_prepare)
		daemon_prepare();
	execvp(args[0], args);
	_exit(127);
}

static int create_output(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
	MUST(fd >= 0);
	MUST(fchmod(fd, 0666) == 0);
	return fd;
}

static pid_t start(const char *const argv[], int out, int err)
{
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid == 0)
		become(argv, out, err);
	return pid;
}

void spawn(const char *const argv[])
{
	int log = create_output("log");
	notices.size = noticed = 0;
	daemon_ended = false;
	daemon_pid = start(argv, log, daemon_stderr < 0 ? log : daemon_stderr);
	close(log);
	daemon_pidfd = (int)syscall(SYS_pidfd_open, daemon_pid, 0);
	MUST(daemon_pidfd >= 0);
}

void daemon_spawn(void)
{
	const char *const argv[] = {daemon_binary, "-c", config_path, "-r", runtime_dir, NULL};
	spawn(argv);
}

void daemon_start(const char *config)
{
	config_write("%s", config);
	daemon_spawn();
	notify_wait("READY=1");
}

void daemon_signal(int signo)
{
	MUST(kill(daemon_pid, signo) == 0);
}

void daemon_reload_and_wait(void)
{
	daemon_signal(SIGHUP);
	notify_wait("RELOADING=1");
	notify_wait("READY=1");
}

int daemon_wait_exit(void)
{
	await_fd(daemon_pidfd, POLLIN, deadline(), "the daemon's end");
	read_notices();
	int status = 0;
	MUST(waitpid(daemon_pid, &status, 0) == daemon_pid);
	close(daemon_pidfd);
	daemon_pid = 0;
	daemon_pidfd = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int daemon_stop(int signo)
{
	daemon_signal(signo);
	return daemon_wait_exit();
}

void daemon_finish(void)
{
	while (n_clients)
		close(client_fds[--n_clients]);
	int code = daemon_stop(SIGINT);
	if (code != 0)
		fail_test("exit code %d", code);
}

/* Run the program to its end. */
static int run(const char *const argv[])
{
	int out = create_output("out"), err = create_output("err");
	pid_t pid = start(argv, out, err);
	close(out);
	close(err);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	MUST(pidfd >= 0);
	await_fd(pidfd, POLLIN, deadline(), "the end of a command");
	close(pidfd);
	int status = 0;
	MUST(waitpid(pid, &status, 0) == pid);
	text_read(&command_out, "out");
	text_read(&command_err, "err");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int skeld_run(const char *argument, ...)
{
	const char *argv[ARGS_MAX] = {daemon_binary, argument};
	va_list ap;
	va_start(ap, argument);
	for (size_t i = 2; argument && i < ARGS_MAX - 1 && (argv[i] = va_arg(ap, const char *));
	     i++)
		;
	va_end(ap);
	return run(argv);
}

int shell_run(const char *format, ...)
{
	char command[4096];
	va_list ap;
	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	return run((const char *const[]){"/bin/sh", "-c", command, NULL});
}
