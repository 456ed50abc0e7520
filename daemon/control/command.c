#include "control/command.h"

#include "base/clock.h"
#include "base/load.h"
#include "control/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

enum { STATUS_MAX = 8192, WAIT_SECONDS = 10, LOOK_MS = 50, SECONDS_MAX = 3600 };

void command_open_standard_files(void)
{
	int fd;
	do {
		fd = open("/dev/null", O_RDWR); /* the lowest number that is free */
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* The daemon's signals are blocked since main(). Nothing handles them here: Ctrl-C ends what waits.
 */
static void unblock_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
}

int command_check(const struct options *o, const struct service *its)
{
	struct config_service schema = {its->name, its->options, its->config_size};
	struct errors e = {0};
	struct loader loader = {.file = o->config, .service = &schema, .seconds = LOAD_SECONDS};
	unblock_signals();
	struct config *c = loader_load(&loader, &e);
	loader_end(&loader);
	for (size_t i = 0; i < errors_shown(&e); i++)
		fprintf(stderr, "%s\n", errors_text(&e, i));
	errors_clear(&e);
	if (!c)
		return loader.judged ? EX_CONFIG : EXIT_FAILURE;
	if (o->mode == MODE_DUMP)
		config_print(c, stdout);
	else
		printf("%s: good\n", o->config);
	config_unref(c);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The running daemon, as the other process sees it. */
struct peer {
	const char *dir;
	pid_t pid;
	int pidfd; /* readable when it has ended */
	int watch; /* inotify: a file was replaced */
	char status[STATUS_MAX];
	/* What is waited for. */
	unsigned long long wanted; /* reloads done */
	int stats;		   /* another file than this one, -1: none */
};

static int read_file(const char *dir, const char *name, char *text, size_t size)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return n < 0 ? -1 : 0;
}

/* The value of KEY in the status file, copied to OUT; "" when it is not there. */
static const char *status_value(const char *status, const char *key, char *out, size_t size)
{
	size_t length = strlen(key);
	*out = '\0';
	for (const char *line = status; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, length) == 0 && line[length] == '=') {
			line += length + 1;
			snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
			break;
		}
	}
	return out;
}

static unsigned long long reloads_done(const struct peer *p)
{
	char ok[32], rejected[32];
	return strtoull(status_value(p->status, "reloads_ok", ok, sizeof(ok)), NULL, 10) +
	       strtoull(status_value(p->status, "reloads_rejected", rejected, sizeof(rejected)),
			NULL, 10);
}

static int status_seconds(const struct peer *p, const char *key)
{
	char text[32];
	long n = strtol(status_value(p->status, key, text, sizeof(text)), NULL, 10);
	return n < 0 ? 0 : n > SECONDS_MAX ? SECONDS_MAX : (int)n;
}

static bool in_state(const struct peer *p, const char *state)
{
	char now[32];
	return strcmp(status_value(p->status, "state", now, sizeof(now)), state) == 0;
}

static bool is_stopping(const struct peer *p)
{
	return in_state(p, "lame_duck") || in_state(p, "draining") || in_state(p, "stopped");
}

static int peer_find(struct peer *p, const char *dir)
{
	*p = (struct peer){.dir = dir, .pidfd = -1, .watch = -1, .stats = -1};
	p->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (p->watch >= 0 && inotify_add_watch(p->watch, dir, IN_MOVED_TO) < 0) {
		close(p->watch);
		p->watch = -1;
	}
	p->pid = runtime_owner(dir);
	if (p->pid < 0) {
		fprintf(stderr, "skeld: cannot read %s/skeld.pid: %s\n", dir, strerror(errno));
		return EXIT_FAILURE;
	}
	if (p->pid > 0)
		p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (p->pid > 0 && p->pidfd < 0 && errno != ESRCH) {
		fprintf(stderr, "skeld: cannot watch pid %d: %s\n", (int)p->pid, strerror(errno));
		return EXIT_FAILURE;
	}
	/* Not another process that got the same number meanwhile: ask again, now that it is held.
	 */
	if (p->pid <= 0 || p->pidfd < 0 || runtime_owner(dir) != p->pid) {
		fprintf(stderr, "skeld: not running: nobody holds %s/skeld.pid\n", dir);
		return EXIT_NOT_RUNNING;
	}
	read_file(dir, "status", p->status, sizeof(p->status));
	return 0;
}

static void peer_close(struct peer *p)
{
	if (p->pidfd >= 0)
		close(p->pidfd);
	if (p->watch >= 0)
		close(p->watch);
	if (p->stats >= 0)
		close(p->stats);
}

enum waited { WAITED_NEWS, WAITED_ENDED, WAITED_TOO_LONG };

/* Until a file in the directory was replaced, the daemon ended, or UNTIL has come. */
static enum waited peer_wait(struct peer *p, double until)
{
	struct pollfd fds[] = {{p->watch, POLLIN, 0}, {p->pidfd, POLLIN, 0}};
	double left = until - clock_seconds(CLOCK_MONOTONIC);
	/* Without inotify (a user may have 128) the file is looked at every now and then. */
	int ms = p->watch >= 0 ? (int)(left * 1000) + 1 : LOOK_MS;
	if (left <= 0 || (poll(fds, 2, ms) <= 0 && p->watch >= 0))
		return WAITED_TOO_LONG;
	if (fds[1].revents)
		return WAITED_ENDED;
	char events[4096];
	while (read(p->watch, events, sizeof(events)) > 0)
		;
	read_file(p->dir, "status", p->status, sizeof(p->status));
	return WAITED_NEWS;
}

/* INFO is NULL, as for kill(2). That it has ended meanwhile is seen by who waits. */
static int peer_send(const struct peer *p, int signal, siginfo_t *info)
{
	if (syscall(SYS_pidfd_send_signal, p->pidfd, signal, info, 0) == 0 || errno == ESRCH)
		return 0;
	fprintf(stderr, "skeld: cannot signal pid %d: %s\n", (int)p->pid, strerror(errno));
	return EXIT_FAILURE;
}

/* Why the daemon may be unable to tell anything; "" when nothing speaks against it. */
static const char *obstacle(const char *dir)
{
	struct statvfs fs;
	if (statvfs(dir, &fs) < 0)
		return "";
	if (fs.f_flag & ST_RDONLY)
		return "the runtime directory is read-only, the daemon cannot write there: see its "
		       "log";
	if (fs.f_bavail == 0 || (fs.f_files && fs.f_favail == 0))
		return "the disk of the runtime directory is full, the daemon cannot write there";
	return "";
}

static int no_outcome(const struct peer *p, const char *what, int seconds)
{
	fprintf(stderr, "skeld: pid %d: no outcome of %s within %d s\n", (int)p->pid, what,
		seconds);
	if (*obstacle(p->dir))
		fprintf(stderr, "skeld: %s\n", obstacle(p->dir));
	return EX_TEMPFAIL;
}

/* Until it IS_DONE. Returns 0, or an exit code: why not, was told. */
static int wait_until(struct peer *p, bool (*is_done)(const struct peer *p), const char *what)
{
	double until = clock_seconds(CLOCK_MONOTONIC) + WAIT_SECONDS;
	while (!is_done(p))
		switch (peer_wait(p, until)) {
		case WAITED_ENDED:
			fprintf(stderr, "skeld: pid %d ended meanwhile\n", (int)p->pid);
			return EXIT_NOT_RUNNING;
		case WAITED_TOO_LONG:
			return no_outcome(p, what, WAIT_SECONDS);
		case WAITED_NEWS:
			break;
		}
	return 0;
}

static bool is_reloaded(const struct peer *p)
{
	return reloads_done(p) >= p->wanted || is_stopping(p);
}

static int command_reload(struct peer *p)
{
	char text[2048];
	/* A reload that is running may have read the file before now: ours is the one after it. */
	p->wanted = reloads_done(p) + (in_state(p, "reloading") ? 2 : 1);
	int failed = peer_send(p, SIGHUP, NULL);
	if (!failed)
		failed = wait_until(p, is_reloaded, "reload");
	if (failed)
		return failed;
	if (reloads_done(p) < p->wanted) {
		fprintf(stderr, "skeld: pid %d is stopping and does not reload any more\n",
			(int)p->pid);
		return EXIT_FAILURE;
	}
	if (strcmp(status_value(p->status, "last_reload", text, sizeof(text)), "rejected") == 0) {
		fprintf(stderr, "%s\n",
			status_value(p->status, "last_reload_error", text, sizeof(text)));
		fprintf(stderr, "skeld: reload rejected, pid %d goes on with generation %s\n",
			(int)p->pid, status_value(p->status, "generation", text, sizeof(text)));
		return EX_CONFIG;
	}
	printf("reloaded: pid %d serves generation %s\n", (int)p->pid,
	       status_value(p->status, "generation", text, sizeof(text)));
	return EXIT_SUCCESS;
}

static int command_stop(struct peer *p)
{
	/*
	 * A second signal would cut off who is still waited for. So it is sent as by sigqueue(3),
	 * which does not insist: see dispatch() in control/signals.c. And not at all where it is
	 * known, for the kernel may drop INFO.
	 */
	siginfo_t info = {.si_signo = SIGTERM, .si_code = SI_QUEUE};
	info.si_pid = getpid();
	info.si_uid = getuid();
	int failed = is_stopping(p) ? 0 : peer_send(p, SIGTERM, &info);
	if (failed)
		return failed;
	int seconds =
		status_seconds(p, "lame_duck") + status_seconds(p, "drain_timeout") + WAIT_SECONDS;
	double until = clock_seconds(CLOCK_MONOTONIC) + seconds;
	enum waited waited;
	while ((waited = peer_wait(p, until)) == WAITED_NEWS)
		;
	if (waited == WAITED_TOO_LONG)
		return no_outcome(p, "stop", seconds);
	printf("stopped: pid %d\n", (int)p->pid);
	return EXIT_SUCCESS;
}

static const char *path_of_stats(const struct peer *p, char path[4096])
{
	snprintf(path, 4096, "%s/stats.prom", p->dir);
	return path;
}

static bool is_dumped(const struct peer *p)
{
	char path[4096];
	struct stat now, before;
	return lstat(path_of_stats(p, path), &now) == 0 &&
	       (p->stats < 0 || fstat(p->stats, &before) < 0 || now.st_ino != before.st_ino);
}

/* Whichever dump comes first after the signal has it all. */
static int command_stats(struct peer *p)
{
	static char text[1 << 20];
	char path[4096];
	/* As long as it is held no other file gets its number. */
	p->stats = open(path_of_stats(p, path), O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int failed = peer_send(p, SIGUSR1, NULL);
	if (!failed)
		failed = wait_until(p, is_dumped, "stats");
	if (failed)
		return failed;
	if (read_file(p->dir, "stats.prom", text, sizeof(text)) < 0)
		return EXIT_FAILURE;
	fputs(text, stdout);
	return EXIT_SUCCESS;
}

int command_signal(const struct options *o)
{
	static const char *const commands[] = {"reload", "stats", "stop", "status"};
	size_t i = 0;
	while (i < 4 && strcmp(o->argument, commands[i]) != 0)
		i++;
	if (i == 4) {
		fprintf(stderr, "skeld: -s %s: expected reload, stats, stop or status\n",
			o->argument);
		return EX_USAGE;
	}
	struct peer p;
	unblock_signals();
	int code = peer_find(&p, o->runtime_dir);
	if (code == 0 && i == 3 && *obstacle(p.dir))
		fprintf(stderr, "skeld: may be out of date: %s\n", obstacle(p.dir));
	if (code == 0 && i == 3)
		fputs(*p.status ? p.status : "state=starting\n", stdout);
	else if (code == 0)
		code = i == 0 ? command_reload(&p) : i == 1 ? command_stats(&p) : command_stop(&p);
	peer_close(&p);
	return fflush(stdout) == 0 ? code : EXIT_FAILURE;
}
