/*
 * The files that `-s` reads. The first line of the input is the command. The rest are files,
 * separated by a line with one '%': skeld.pid, then each new content of status or stats.prom.
 *
 * A process that ignores signals holds the lock, as a daemon does. The replaced poll(2) never
 * waits: it writes the next file, and after the last one it reports that the process has ended.
 * `-s` ends with an exit code that is allowed for the command. It takes the pid from the lock,
 * never from the text of skeld.pid.
 */
/* fuzz: 8000 4096 */
/* build: WRAP poll inotify_init1 */
#include "cli/commands.h"
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
static const char *at, *end; /* the rest of the input */
static bool active;
static int watch;

static _Noreturn void hold_lock(int ready)
{
	struct runtime r;
	struct errors e = {0};
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	CHECK(runtime_open(&r, directory, NULL, &e) == 0, "%s", errors_text(&e, 0));
	if (write(ready, "", 1) == 1)
		for (;;)
			pause();
	_exit(1);
}

static void kill_holder(void)
{
	kill(holder, SIGKILL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int ready[2];
	char byte;
	(void)argc, (void)argv;
	create_private_directory(directory);
	CHECK(pipe(ready) == 0, "%m");
	holder = fork();
	if (holder == 0)
		hold_lock(ready[1]);
	atexit(kill_holder);
	CHECK(read(ready[0], &byte, 1) == 1, "%m");
	close(ready[0]);
	close(ready[1]);
	CHECK(runtime_owner(directory) == holder, "%d", (int)runtime_owner(directory));
	watch = inotify_init();
	CHECK(watch >= 0 && fcntl(watch, F_SETFL, O_NONBLOCK) == 0, "%m");
	return 0;
}

/* Write the next file of the input to NAME. Returns false after the last. */
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
	CHECK(fd >= 0 && write(fd, at, n) == (ssize_t)n, "%m");
	close(fd);
	CHECK(strcmp(name, "skeld.pid") == 0 || rename(new, path) == 0, "%m");
	at = stop ? stop + 3 : end;
	return true;
}

/* Use one instance all the time: closing the last descriptor of an inotify instance is slow. */
int __wrap_inotify_init1(int flags)
{
	char events[4096];
	CHECK(flags == (IN_CLOEXEC | IN_NONBLOCK), "%#x", (unsigned)flags);
	while (read(watch, events, sizeof(events)) > 0)
		;
	return fcntl(watch, F_DUPFD_CLOEXEC, 0);
}

/* fds[0] is the directory's watch, fds[1] the process. */
int __wrap_poll(struct pollfd *fds, nfds_t n, int ms)
{
	if (!active)
		return __real_poll(fds, n, ms);
	CHECK(n == 2 && ms >= 0, "%d ms", ms);
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
	int descriptor = lowest_free_descriptor();
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
	CHECK(runtime_owner(directory) == holder, "%d", (int)runtime_owner(directory));

	struct arguments o = {.mode = MODE_SIGNAL, .runtime_dir = directory, .argument = command};
	active = true;
	int code = command_signal(&o);
	active = false;
	if (!known)
		CHECK(code == EX_USAGE, "%d", code);
	else if (strcmp(command, "status") == 0)
		CHECK(code == 0, "%d", code);
	else if (strcmp(command, "reload") == 0)
		CHECK(code == 0 || code == 1 || code == EXIT_NOT_RUNNING || code == EX_CONFIG, "%d",
		      code);
	else if (strcmp(command, "stats") == 0)
		CHECK(code == 0 || code == EXIT_NOT_RUNNING, "%d", code);
	else
		CHECK(code == EXIT_FAILURE, "%d", code); /* it has ended and left skeld.pid */
	CHECK(kill(holder, 0) == 0, "%m");
	CHECK(lowest_free_descriptor() == descriptor, "a descriptor leaked");
	return 0;
}
