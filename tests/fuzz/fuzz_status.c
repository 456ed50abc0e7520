/*
 * What `-s` reads. The first line of the input is the command, the rest files, separated by lines
 * of one '%': the pid file's text, then what the status file and stats.prom are from time to time.
 * A process that ignores signals holds the lock. poll(2) is ours (see --wrap in CMakeLists.txt):
 * nobody waits, the next file is there, and after the last one the daemon has ended. `-s` says
 * something that it may say, and never believes the pid file's text.
 */
#include "control/command.h"
#include "control/runtime.h"
#include "fuzz.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

int __real_poll(struct pollfd *fds, nfds_t n, int ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int ms);
int __wrap_inotify_init1(int flags);

static char directory[64];
static pid_t holder;
static const char *at, *end; /* the files that are still to come */
static bool active;
static int watch;

static _Noreturn void hold(const struct runtime *r, int told)
{
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	runtime_hold(r);
	if (write(told, "", 1) == 1)
		for (;;)
			pause();
	_exit(1);
}

static void end_holder(void)
{
	kill(holder, SIGKILL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct runtime r;
	struct errors e = {0};
	int told[2];
	char byte;
	(void)argc, (void)argv;
	private_directory(directory);
	HOLDS(runtime_open(&r, directory, &e) == 0, "%s", errors_text(&e, 0));
	HOLDS(pipe(told) == 0, "%m");
	/* The lock goes with the first descriptor of the file that this process closes. */
	close(r.pid);
	holder = fork();
	if (holder == 0) {
		r.pid = openat(r.dir, "skeld.pid", O_RDWR | O_CLOEXEC);
		hold(&r, told[1]);
	}
	atexit(end_holder);
	HOLDS(read(told[0], &byte, 1) == 1, "%m");
	close(told[0]);
	close(told[1]);
	close(r.dir);
	HOLDS(runtime_owner(directory) == holder, "%d", (int)runtime_owner(directory));
	watch = inotify_init();
	HOLDS(watch >= 0 && fcntl(watch, F_SETFL, O_NONBLOCK) == 0, "%m");
	return 0;
}

/* The next file of the input, into NAME; false after the last. */
static bool write_next(const char *name)
{
	char new[96], path[96];
	if (at >= end)
		return false;
	const char *stop = memmem(at, (size_t)(end - at), "\n%\n", 3);
	size_t n = (size_t)((stop ? stop + 1 : end) - at);
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	snprintf(new, sizeof(new), "%s/.new", directory);
	int fd = open(strcmp(name, "skeld.pid") == 0 ? path : new,
		      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	HOLDS(fd >= 0 && write(fd, at, n) == (ssize_t)n, "%m");
	close(fd);
	HOLDS(strcmp(name, "skeld.pid") == 0 || rename(new, path) == 0, "%m");
	at = stop ? stop + 3 : end;
	return true;
}

/* Always the same one: to close the last descriptor of an inotify instance takes a long time. */
int __wrap_inotify_init1(int flags)
{
	char events[4096];
	HOLDS(flags == (IN_CLOEXEC | IN_NONBLOCK), "%#x", (unsigned)flags);
	while (read(watch, events, sizeof(events)) > 0)
		;
	return fcntl(watch, F_DUPFD_CLOEXEC, 0);
}

/* fds[0] is the directory's watch, fds[1] the process. */
int __wrap_poll(struct pollfd *fds, nfds_t n, int ms)
{
	if (!active)
		return __real_poll(fds, n, ms);
	HOLDS(n == 2 && ms >= 0, "%d ms", ms);
	bool stats = memchr(at, '#', (size_t)(end - at)) != NULL;
	bool more = write_next(stats ? "stats.prom" : "status");
	fds[0].revents = more ? POLLIN : 0;
	fds[1].revents = more ? 0 : POLLIN;
	return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const commands[] = {"reload", "stop", "stats", "status"};
	char command[16] = "";
	int descriptor = free_descriptor();
	at = (const char *)data;
	end = at + n;
	const char *line = memchr(at, '\n', n);
	size_t length = line ? (size_t)(line - at) : n;
	bool known = false;
	snprintf(command, sizeof(command), "%.*s", (int)(length < 15 ? length : 15), at);
	for (size_t i = 0; i < 4; i++)
		known = known || strcmp(command, commands[i]) == 0;
	at = line ? line + 1 : end;
	if (!write_next("skeld.pid") || !write_next("status"))
		return 0;
	HOLDS(runtime_owner(directory) == holder, "%d", (int)runtime_owner(directory));

	struct options o = {.mode = MODE_SIGNAL, .runtime_dir = directory, .argument = command};
	active = true;
	int code = command_signal(&o);
	active = false;
	if (!known)
		HOLDS(code == EX_USAGE, "%d", code);
	else if (strcmp(command, "status") == 0)
		HOLDS(code == 0, "%d", code);
	else if (strcmp(command, "reload") == 0)
		HOLDS(code == 0 || code == 1 || code == EXIT_NOT_RUNNING || code == EX_CONFIG, "%d",
		      code);
	else if (strcmp(command, "stats") == 0)
		HOLDS(code == 0 || code == EXIT_NOT_RUNNING, "%d", code);
	else
		HOLDS(code == 0, "%d", code); /* the process is gone, and so it has stopped */
	HOLDS(kill(holder, 0) == 0, "%m");
	HOLDS(free_descriptor() == descriptor, "a descriptor was left open");
	return 0;
}
