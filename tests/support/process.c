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

static _Noreturn void become(struct fixture *f, const char *const argv[], int out, int err)
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
	setenv("NOTIFY_SOCKET", path_in(f, "notify", notify), 1);
	setenv("TMPDIR", f->dir, 1);
	int null = open("/dev/null", O_RDONLY);
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	close_range(STDERR_FILENO + 1, ~0U,
		    CLOSE_RANGE_CLOEXEC); /* prepare() may keep descriptors */
	if (f->uid != getuid() &&
	    (setgroups(0, NULL) < 0 || setresgid(f->uid, f->uid, f->uid) < 0 ||
	     setresuid(f->uid, f->uid, f->uid) < 0))
		_exit(126);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (f->prepare)
		f->prepare(f);
	execvp(args[0], args);
	_exit(127);
}

static int create_output(struct fixture *f, const char *name)
{
	char path[64];
	int fd = open(path_in(f, name, path), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC,
		      0666);
	MUST(fd >= 0);
	MUST(fchmod(fd, 0666) == 0);
	return fd;
}

static pid_t start(struct fixture *f, const char *const argv[], int out, int err)
{
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid == 0)
		become(f, argv, out, err);
	return pid;
}

void spawn(struct fixture *f, const char *const argv[])
{
	int log = create_output(f, "log");
	f->notices.size = f->noticed = 0;
	f->ended = false;
	f->pid = start(f, argv, log, f->stderr_fd < 0 ? log : f->stderr_fd);
	close(log);
	f->pidfd = (int)syscall(SYS_pidfd_open, f->pid, 0);
	MUST(f->pidfd >= 0);
}

void daemon_spawn(struct fixture *f)
{
	const char *const argv[] = {f->binary, "-c", f->config, "-r", f->runtime, NULL};
	spawn(f, argv);
}

void daemon_start(struct fixture *f, const char *config)
{
	config_write(f, "%s", config);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
}

void daemon_signal(struct fixture *f, int signo)
{
	MUST(kill(f->pid, signo) == 0);
}

void daemon_reload_and_wait(struct fixture *f)
{
	daemon_signal(f, SIGHUP);
	notify_wait(f, "RELOADING=1");
	notify_wait(f, "READY=1");
}

int daemon_wait_exit(struct fixture *f)
{
	await_fd(f, f->pidfd, POLLIN, deadline(), "the daemon's end");
	read_notices(f);
	int status = 0;
	MUST(waitpid(f->pid, &status, 0) == f->pid);
	close(f->pidfd);
	f->pid = 0;
	f->pidfd = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int daemon_stop(struct fixture *f, int signo)
{
	daemon_signal(f, signo);
	return daemon_wait_exit(f);
}

void daemon_finish(struct fixture *f)
{
	while (f->n_clients)
		close(f->client[--f->n_clients]);
	int code = daemon_stop(f, SIGINT);
	if (code != 0)
		fail_test(f, "exit code %d", code);
}

static void keep_output(struct fixture *f, const char *name, struct text *into)
{
	char path[64];
	file_text(f, path_in(f, name, path));
	struct text got = f->scratch;
	f->scratch = *into;
	*into = got;
}

int skeld_run(struct fixture *f, ...)
{
	const char *argv[ARGS_MAX] = {f->binary};
	va_list ap;
	va_start(ap, f);
	for (size_t i = 1; i < ARGS_MAX - 1 && (argv[i] = va_arg(ap, const char *)); i++)
		;
	va_end(ap);
	int out = create_output(f, "out"), err = create_output(f, "err");
	pid_t pid = start(f, argv, out, err);
	close(out);
	close(err);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	MUST(pidfd >= 0);
	await_fd(f, pidfd, POLLIN, deadline(), "the end of a command");
	close(pidfd);
	int status = 0;
	MUST(waitpid(pid, &status, 0) == pid);
	keep_output(f, "out", &f->out);
	keep_output(f, "err", &f->err);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

pid_t storm(struct fixture *f, int signo, long n)
{
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (n-- > 0)
			kill(f->pid, signo);
		_exit(0);
	}
	return pid;
}

void reap(struct fixture *f, pid_t pid)
{
	int status = 0, pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	MUST(pidfd >= 0);
	await_fd(f, pidfd, POLLIN, deadline(), "the end of a helper");
	close(pidfd);
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
}
