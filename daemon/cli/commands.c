#include "cli/commands.h"

#include "base/clock.h"
#include "cli/instances.h"
#include "config/loader.h"
#include "config/service_schema.h"
#include "control/runtime.h"
#include "control/signals.h"
#include "data/load.h"

#include <confuse.h>
#include <errno.h>
#include <event2/event.h>
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

enum {
	STATUS_MAX = 32768,
	WAIT_SECONDS = 10,
	POLL_MS = 50,
	PROGRESS_MS = 1000,
	SECONDS_MAX = 3600
};

/* A reload may have to wait for the one that is running, and the file system may hang for both,
 * while the configuration is read or while the service loads. */
enum { RELOAD_WAIT_SECONDS = 25 };
_Static_assert((int)RELOAD_WAIT_SECONDS > 2 * (2 * LOADER_TIMEOUT_SECONDS + 1),
	       "the outcome of two reloads is known earlier");

void command_open_standard_files(void)
{
	int fd;
	do {
		fd = open("/dev/null", O_RDWR); /* the lowest number that is free */
		if (fd < 0) /* there is no /dev: reads and writes fail, but harm no other file */
			fd = open("/", O_PATH);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* main() has blocked the daemon's signals. A command does not handle them: Ctrl-C must end it. */
static void unblock_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
}

static int read_config(const char *file, const struct service_schema *schema, struct config **c,
		       struct errors *e)
{
	struct loader loader = {file, schema, .timeout_seconds = LOADER_TIMEOUT_SECONDS};
	*c = loader_load(&loader, e);
	loader_stop(&loader);
	return *c ? 0 : loader.conclusive ? EX_CONFIG : EXIT_FAILURE;
}

static int check_load(struct load *l, struct config *c, struct errors *e)
{
	struct loaded *loaded = load_wait(l, c, NULL, e);
	const struct errors *warnings = loaded_warnings(loaded);
	if (!loaded)
		return l->conclusive ? EX_CONFIG : EXIT_FAILURE;
	for (size_t i = 0; i < errors_stored(warnings); i++)
		fprintf(stderr, "warning: %s\n", errors_text(warnings, i));
	loaded_unref(loaded);
	return 0;
}

/* -T does not load: it also describes a configuration for another machine. */
int command_check(const struct arguments *a, const struct service *svc)
{
	struct service_schema schema = service_schema_of(svc);
	struct load load = {svc, a->config_file, .timeout_seconds = LOADER_TIMEOUT_SECONDS};
	struct errors e = {0};
	struct config *c;
	unblock_signals();
	signals_protect_children(); /* of `load`; a failure matters only if the check hangs */
	int code = read_config(a->config_file, &schema, &c, &e);
	if (code == 0 && a->mode == MODE_CHECK && load_is_needed(svc, c))
		code = check_load(&load, c, &e);
	for (size_t i = 0; i < errors_stored(&e); i++)
		fprintf(stderr, "%s\n", errors_text(&e, i));
	errors_clear(&e);
	for (size_t i = 0; code == 0 && i < errors_stored(&c->warnings); i++)
		fprintf(stderr, "warning: %s\n", errors_text(&c->warnings, i));
	if (code == 0 && a->mode == MODE_DUMP)
		config_print(c, stdout);
	else if (code == 0)
		printf("%s: good\n", a->config_file);
	config_unref(c);
	if (fflush(stdout) != 0)
		code = EXIT_FAILURE;
	if (!load_end(&load, 0))
		_exit(code); /* exit(3) would free what the load still uses */
	return code;
}

static void print_library(const char *name, const char *loaded, const char *built)
{
	printf("%s: %s", name, loaded);
	if (strcmp(loaded, built) != 0)
		printf(" (built with %s)", built);
	putchar('\n');
}

int command_version(const struct service *svc)
{
	printf("skeld " SKELD_VERSION "\nservice: %s\n", svc->name);
	print_library("libevent", event_get_version(), LIBEVENT_VERSION);
	print_library("libconfuse", confuse_version, SKELD_LIBCONFUSE_VERSION);
#if SKELD_TLS
	print_library("openssl", tls_library(), SKELD_OPENSSL_VERSION);
#endif
	printf("build: " SKELD_BUILD "\n");
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The daemon that a command is for. */
struct target {
	const char *dir;
	pid_t pid;
	int pidfd; /* readable when the process has ended; -1: an old kernel or a filter has none */
	int watch; /* inotify: a file in the runtime directory was replaced; -1: none */
	int pid_file; /* opened with O_PATH: a clean end removes the file */
	char status[STATUS_MAX];
	unsigned long long wanted; /* -s reload: wait until the daemon has done so many reloads */
	int stats;		   /* -s stats: the old stats.prom, -1: none */
	bool on_terminal;	   /* show the progress */
	int progress_width;	   /* of the line on the terminal, 0: none */
};

/* Open a file in the runtime directory. */
static int open_file(const char *dir, const char *name, int flags)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, flags | O_NOFOLLOW | O_CLOEXEC);
}

static int read_file(const char *dir, const char *name, char *text, size_t size)
{
	int fd = open_file(dir, name, O_RDONLY | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return n < 0 ? -1 : 0;
}

static int read_status(struct target *t)
{
	return read_file(t->dir, "status", t->status, sizeof(t->status));
}

/* Copy the value of KEY in the status file to OUT, "" if there is none. Returns OUT. */
static const char *status_value(const struct target *t, const char *key, char *out, size_t size)
{
	size_t length = strlen(key);
	*out = '\0';
	for (const char *line = t->status; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, length) == 0 && line[length] == '=') {
			line += length + 1;
			snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
			break;
		}
	}
	return out;
}

static unsigned long long status_number(const struct target *t, const char *key)
{
	char text[32];
	return strtoull(status_value(t, key, text, sizeof(text)), NULL, 10);
}

static unsigned long long reloads_done(const struct target *t)
{
	return status_number(t, "reloads_ok") + status_number(t, "reloads_rejected");
}

static int status_seconds(const struct target *t, const char *key)
{
	unsigned long long n = status_number(t, key);
	return n > SECONDS_MAX ? SECONDS_MAX : (int)n;
}

static bool in_state(const struct target *t, const char *state)
{
	char now[32];
	return strcmp(status_value(t, "state", now, sizeof(now)), state) == 0;
}

static bool is_stopping(const struct target *t)
{
	return in_state(t, "lame_duck") || in_state(t, "draining") || in_state(t, "stopped");
}

/* For lack of a pidfd, too. The end of a process releases its lock. */
static bool has_ended(const struct target *t)
{
	return runtime_owner(t->dir) != t->pid;
}

static int not_running(const char *dir)
{
	fprintf(stderr, "skeld: not running: no process holds %s/skeld.pid\n", dir);
	instances_report(dir);
	return EXIT_NOT_RUNNING;
}

/* OWNER is the pid of the daemon, or the reason why it is not known. */
static int no_pid(const char *dir, pid_t owner)
{
	if (owner == RUNTIME_NO_OWNER)
		return not_running(dir);
	if (owner == RUNTIME_UNREADABLE)
		fprintf(stderr, "skeld: cannot read %s/skeld.pid: %s\n", dir, strerror(EACCES));
	else
		fprintf(stderr,
			"skeld: the daemon runs in another pid namespace, where this command must "
			"run, see nsenter(1)\n");
	return EXIT_FAILURE;
}

static int find_daemon(struct target *t)
{
	t->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (t->watch >= 0 && inotify_add_watch(t->watch, t->dir, IN_MOVED_TO) < 0) {
		close(t->watch);
		t->watch = -1;
	}
	t->pid_file = open_file(t->dir, "skeld.pid", O_PATH);
	t->pid = runtime_owner(t->dir);
	if (t->pid <= 0)
		return no_pid(t->dir, t->pid);
	t->pidfd = (int)syscall(SYS_pidfd_open, t->pid, 0);
	/* The pid may have been reused before pidfd_open(2): read the owner again. */
	if (has_ended(t))
		return not_running(t->dir);
	read_status(t);
	return 0;
}

static void close_target(struct target *t)
{
	if (t->pidfd >= 0)
		close(t->pidfd);
	if (t->watch >= 0)
		close(t->watch);
	if (t->pid_file >= 0)
		close(t->pid_file);
	if (t->stats >= 0)
		close(t->stats);
}

/* One line, which hide_progress() erases. GIVES_UP: seconds until the command does. */
static void show_progress(struct target *t, double gives_up)
{
	char state[32], open[32], left[32];
	if (!t->on_terminal)
		return;
	status_value(t, "state", state, sizeof(state));
	status_value(t, "connections", open, sizeof(open));
	if (*status_value(t, "seconds_left", left, sizeof(left)))
		t->progress_width =
			fprintf(stderr, "pid %d: %s, %s connection%s open, %s s left", (int)t->pid,
				state, open, strcmp(open, "1") == 0 ? "" : "s", left);
	else
		t->progress_width = fprintf(stderr, "pid %d: %s, giving up in %.0f s", (int)t->pid,
					    *state ? state : "starting", gives_up);
}

static void hide_progress(struct target *t)
{
	if (t->progress_width > 0)
		fprintf(stderr, "\r%*s\r", t->progress_width, "");
	t->progress_width = 0;
}

enum wait_result { WAIT_CHANGED, WAIT_ENDED, WAIT_TIMEOUT };

/* Wait until a file in the directory is replaced, the daemon ends, or DEADLINE (monotonic seconds).
 */
static enum wait_result wait_for_change(struct target *t, double deadline)
{
	struct pollfd fds[] = {{t->watch, POLLIN, 0}, {t->pidfd, POLLIN, 0}};
	double left = deadline - clock_seconds(CLOCK_MONOTONIC);
	/* Without inotify (a user has a limited number of instances), poll the file. */
	bool is_polling = t->watch < 0 || t->pidfd < 0;
	int ms = is_polling ? POLL_MS : t->on_terminal ? PROGRESS_MS : (int)(left * 1000) + 1;
	if (left <= 0)
		return WAIT_TIMEOUT;
	show_progress(t, left);
	int n = poll(fds, 2, ms);
	hide_progress(t);
	if (n <= 0 && !is_polling && !t->on_terminal)
		return WAIT_TIMEOUT;
	if (fds[1].revents || (t->pidfd < 0 && has_ended(t)))
		return WAIT_ENDED;
	char events[4096];
	while (read(t->watch, events, sizeof(events)) > 0)
		;
	read_status(t);
	return WAIT_CHANGED;
}

/* QUEUED: as sigqueue(3) does, else as kill(2). If the daemon has ended, wait_for_change() reports
 * it. */
static int send_signal(const struct target *t, int signal, bool queued)
{
	siginfo_t info = {.si_signo = signal, .si_code = SI_QUEUE};
	info.si_pid = getpid();
	info.si_uid = getuid();
	int result = -1;
	if (t->pidfd >= 0)
		result = (int)syscall(SYS_pidfd_send_signal, t->pidfd, signal,
				      queued ? &info : NULL, 0);
	if (result < 0 && (t->pidfd < 0 || errno == ENOSYS || errno == EPERM))
		result = queued ? sigqueue(t->pid, signal, info.si_value) : kill(t->pid, signal);
	if (result == 0 || errno == ESRCH)
		return 0;
	fprintf(stderr, "skeld: cannot signal pid %d: %s\n", (int)t->pid, strerror(errno));
	return EXIT_FAILURE;
}

/* Why the daemon may be unable to write its status, or "". */
static const char *obstacle(const char *dir)
{
	struct statvfs fs;
	if (statvfs(dir, &fs) < 0)
		return "";
	if (fs.f_flag & ST_RDONLY)
		return "the runtime directory is read-only and the daemon cannot write to it, see "
		       "its "
		       "log";
	if (fs.f_bavail == 0 || (fs.f_files && fs.f_favail == 0))
		return "the disk of the runtime directory is full and the daemon cannot write to "
		       "it";
	return "";
}

static int no_outcome(const struct target *t, const char *what, int seconds)
{
	fprintf(stderr, "skeld: pid %d: no outcome of %s within %d s\n", (int)t->pid, what,
		seconds);
	if (*obstacle(t->dir))
		fprintf(stderr, "skeld: %s\n", obstacle(t->dir));
	return EX_TEMPFAIL;
}

/* Wait until IS_DONE. Returns 0, or an exit code after an error message. */
static int wait_until(struct target *t, bool (*is_done)(const struct target *t), const char *what,
		      int seconds)
{
	double deadline = clock_seconds(CLOCK_MONOTONIC) + seconds;
	while (!is_done(t))
		switch (wait_for_change(t, deadline)) {
		case WAIT_ENDED:
			fprintf(stderr, "skeld: pid %d ended before the outcome was known\n",
				(int)t->pid);
			return EXIT_NOT_RUNNING;
		case WAIT_TIMEOUT:
			return no_outcome(t, what, seconds);
		case WAIT_CHANGED:
			break;
		}
	return 0;
}

static bool is_reloaded(const struct target *t)
{
	return reloads_done(t) >= t->wanted || is_stopping(t);
}

static int command_reload(struct target *t)
{
	char text[2048];
	/* A running reload may have read the old file: wait for the one after it. */
	t->wanted = reloads_done(t) + (in_state(t, "reloading") ? 2 : 1);
	int failed = send_signal(t, SIGHUP, false);
	if (!failed)
		failed = wait_until(t, is_reloaded, "reload", RELOAD_WAIT_SECONDS);
	if (failed)
		return failed;
	if (reloads_done(t) < t->wanted) {
		fprintf(stderr, "skeld: pid %d is stopping: not reloaded\n", (int)t->pid);
		return EXIT_FAILURE;
	}
	if (strcmp(status_value(t, "last_reload", text, sizeof(text)), "rejected") == 0) {
		fprintf(stderr, "%s\n", status_value(t, "last_reload_error", text, sizeof(text)));
		fprintf(stderr, "skeld: reload rejected: pid %d keeps generation %s\n", (int)t->pid,
			status_value(t, "generation", text, sizeof(text)));
		return EX_CONFIG;
	}
	printf("reloaded: pid %d serves generation %s\n", (int)t->pid,
	       status_value(t, "generation", text, sizeof(text)));
	return EXIT_SUCCESS;
}

static int command_stop(struct target *t)
{
	/*
	 * A second SIGTERM would close the connections that a drain waits for. So send it as
	 * sigqueue(3) does: the daemon ignores a queued one while it drains (control/signals.c).
	 * And send none if the daemon is known to be stopping, because the kernel may drop the
	 * mark.
	 */
	int failed = is_stopping(t) ? 0 : send_signal(t, SIGTERM, true);
	if (failed)
		return failed;
	double began = clock_seconds(CLOCK_MONOTONIC);
	enum wait_result result;
	int seconds = 0;
	do { /* there is no status before the start is complete, and none at the end */
		int longest = status_seconds(t, "lame_duck") + status_seconds(t, "drain_timeout") +
			      WAIT_SECONDS;
		seconds = longest > seconds ? longest : seconds;
		result = wait_for_change(t, began + seconds);
	} while (result == WAIT_CHANGED);
	if (result == WAIT_TIMEOUT)
		return no_outcome(t, "stop", seconds);
	struct stat st;
	bool left = t->pid_file >= 0 && fstat(t->pid_file, &st) == 0 && st.st_nlink > 0;
	if (left && !*obstacle(t->dir)) { /* else the daemon could not remove it */
		fprintf(stderr,
			"skeld: pid %d ended without a clean stop: it left %s/skeld.pid behind, it "
			"may have been killed\n",
			(int)t->pid, t->dir);
		return EXIT_FAILURE;
	}
	printf("stopped: pid %d\n", (int)t->pid);
	return EXIT_SUCCESS;
}

static bool is_dumped(const struct target *t)
{
	struct stat now, before;
	int fd = open_file(t->dir, "stats.prom", O_PATH);
	bool exists = fd >= 0 && fstat(fd, &now) == 0;
	if (fd >= 0)
		close(fd);
	return exists &&
	       (t->stats < 0 || fstat(t->stats, &before) < 0 || now.st_ino != before.st_ino);
}

/* The first dump after the signal is complete. */
static int command_stats(struct target *t)
{
	static char text[1 << 20];
	/* While it is open, no new file can get its inode number. */
	t->stats = open_file(t->dir, "stats.prom", O_PATH);
	int failed = send_signal(t, SIGUSR1, false);
	if (!failed)
		failed = wait_until(t, is_dumped, "stats", WAIT_SECONDS);
	if (failed)
		return failed;
	if (read_file(t->dir, "stats.prom", text, sizeof(text)) < 0)
		return EXIT_FAILURE;
	fputs(text, stdout);
	return EXIT_SUCCESS;
}

/* Needs only the permission to read the file. Prints to stderr what it cannot verify. */
static int command_status(struct target *t)
{
	const char *dir = t->dir;
	pid_t owner = runtime_owner(dir);
	int error = read_status(t);
	if (owner == RUNTIME_NO_OWNER || (error && owner < 0))
		return no_pid(dir, owner);
	if (owner == RUNTIME_UNREADABLE) {
		if (kill((pid_t)status_number(t, "pid"), 0) < 0 && errno == ESRCH)
			return not_running(dir);
		fprintf(stderr,
			"skeld: cannot verify that the daemon runs: cannot read %s/skeld.pid: %s\n",
			dir, strerror(EACCES));
	} else if (owner == RUNTIME_ELSEWHERE) {
		fprintf(stderr, "skeld: the daemon runs in another pid namespace\n");
	}
	if (*obstacle(dir))
		fprintf(stderr, "skeld: status may be out of date: %s\n", obstacle(dir));
	fputs(*t->status ? t->status : "state=starting\n", stdout);
	return EXIT_SUCCESS;
}

int command_signal(const struct arguments *a)
{
	static int (*const run[])(struct target * t) = {command_reload, command_stats,
							command_stop};
	static const char *const commands[] = {"reload", "stats", "stop", "status"};
	size_t i = 0;
	while (i < 4 && strcmp(a->argument, commands[i]) != 0)
		i++;
	if (i == 4) {
		fprintf(stderr, "skeld: -s %s: expected reload, stats, stop or status\n",
			a->argument);
		return EX_USAGE;
	}
	unblock_signals();
	struct target t = {
		.dir = a->runtime_dir, .pidfd = -1, .watch = -1, .pid_file = -1, .stats = -1};
	t.on_terminal = isatty(STDOUT_FILENO) && isatty(STDERR_FILENO);
	int code = i == 3 ? command_status(&t) : find_daemon(&t);
	if (code == 0 && i < 3)
		code = run[i](&t);
	close_target(&t);
	return fflush(stdout) == 0 ? code : EXIT_FAILURE;
}
