#include "trial.h"

#include "observe.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PORT = 7107, WRONG_MAX = 40 };

#define INJECT_NAME(name) #name,
const char *const call_names[N_CALLS] = {INJECT_CALLS(INJECT_NAME)};

static const char *const logs[] = {"log", "log.0", "log.1"};

static void preload(void)
{
	char path[64];
	setenv("SKELD_INJECT", path_in("page", path), 1);
	setenv("LD_PRELOAD", INJECT_LIBRARY, 1);
}

struct trial *trial_new(const char *phase)
{
	char path[64];
	struct trial *t = calloc(1, sizeof(*t));
	daemon_fixture_enter();
	MUST(t);
	t->phase = phase;
	if (getenv("FAULTS_DAEMON")) /* a mutant, see `mutants_found` */
		daemon_use(getenv("FAULTS_DAEMON"));
	int fd = open(path_in("page", path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	MUST(fd >= 0 && ftruncate(fd, sizeof(*t->page)) == 0);
	t->page = mmap(NULL, sizeof(*t->page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(t->page != MAP_FAILED);
	close(fd);
	daemon_prepare = preload;
	/* A separate loopback address: its ports are free. */
	char host[32];
	unsigned id = (unsigned)getpid();
	snprintf(host, sizeof(host), "127.%u.%u.%u", 1 + (id >> 16 & 63), id >> 8 & 255, id & 255);
	snprintf(t->address[MAIN], sizeof(t->address[0]), "%s:%d", host, PORT);
	snprintf(t->address[PORT_A], sizeof(t->address[0]), "%s:%d", host, PORT + 1);
	snprintf(t->address[PORT_B], sizeof(t->address[0]), "%s:%d", host, PORT + 2);
	snprintf(t->address[ADMIN], sizeof(t->address[0]), "%s:%d", host, PORT + 3);
	snprintf(t->address[SECURE], sizeof(t->address[0]), "%s:%d", host, PORT + 4);
	snprintf(t->address[LOCAL_A], sizeof(t->address[0]), "unix:%s/a", test_dir);
	snprintf(t->address[LOCAL_B], sizeof(t->address[0]), "unix:%s/b", test_dir);
	t->service[0] = t->service[1] = "echo { banner = \"\" }\n";
	return t;
}

void trial_free(struct trial *t)
{
	if (getenv("FAULTS_CALL") && !t->hits)
		trial_wrong(t, "no %s failed: was it called?", getenv("FAULTS_CALL"));
	char *wrong = t->wrong.bytes;
	size_t n = t->n_wrong;
	fprintf(stderr,
		"# %s: %zu runs, %zu calls failed: %zu as if nothing had happened, %zu reported, "
		"%zu "
		"rejected, %zu not started; %zu wrong\n",
		t->phase, t->runs, t->hits, t->as_if_nothing, t->reported, t->rejected,
		t->not_started, n);
	daemon_fixture_leave();
	munmap(t->page, sizeof(*t->page));
	free(t->before[0].bytes);
	free(t->before[1].bytes);
	free(t);
	cr_assert(n == 0, "%zu wrong:\n%s", n, wrong);
	free(wrong);
}

void trial_arm(struct trial *t, enum call call, int error, long nth)
{
	t->call = call;
	t->error = error;
	t->nth = nth;
	atomic_store(&t->page->nth, 0);
	for (size_t i = 0; i < N_CALLS; i++)
		atomic_store(&t->page->seen[i], 0);
	atomic_store(&t->page->hit, 0);
	t->page->where[0] = '\0';
	atomic_store(&t->page->call, call);
	atomic_store(&t->page->error, error == LASTING ? ENOMEM : error);
	atomic_store(&t->page->lasting, error == LASTING);
	atomic_store(&t->page->nth, nth);
	t->runs++;
}

void trial_disarm(struct trial *t)
{
	atomic_store(&t->page->lasting, 0);
	if (atomic_exchange(&t->page->nth, 0) < 0) /* it may be in progress */
		for (int64_t until = deadline(); !trial_hit(t) && !is_past(until);)
			sched_yield();
}

bool trial_hit(const struct trial *t)
{
	return atomic_load(&t->page->hit);
}

bool trial_caller(const struct trial *t, const char *part)
{
	return strstr(t->page->where, part);
}

void trial_wrong(struct trial *t, const char *format, ...)
{
	char what[512], line[2048];
	va_list ap;
	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	if (t->n_wrong++ >= WRONG_MAX)
		return;
	int n = snprintf(line, sizeof(line), "%s, %s number %ld, %s (%s): %s\n", t->phase,
			 call_names[t->call], t->nth,
			 t->error == SHORT     ? "short"
			 : t->error == LASTING ? "lasting"
					       : strerrorname_np(t->error),
			 t->page->where, what);
	fputs(line, stderr); /* print at once: the next step may hang */
	text_append(&t->wrong, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
	const char *log = trial_log();
	text_append(&t->wrong, log, strlen(log));
}

void trial_configure(struct trial *t, int side)
{
	char more[64], text[512];
	/* Options that need a restart, live options, and an included file. */
	int n = snprintf(text, sizeof(text), "limits { idle_timeout = %d buffer = 1M }\n",
			 100 + side);
	file_write_bytes(path_in("more.conf", more), text, (size_t)n);
	config_write("workers = %d\nuser = \"%s\"\ndrain_timeout = 5\nadmin { address = \"%s\" }\n"
		     "log { target = \"file\" file = \"%s/log.%d\" }\n"
		     "include(\"more.conf\")\n"
		     "listen \"main\" { address = \"%s\" backlog = %d }\n"
		     "listen \"local\" { address = \"%s\" }\n"
		     "listen \"port\" { address = \"%s\" }\n"
		     "%s",
		     2 + side, side ? "nobody" : "", t->address[ADMIN], test_dir, side,
		     t->address[MAIN], 100 + side, t->address[LOCAL_A + side],
		     t->address[PORT_A + side], t->service[side]);
}

bool trial_turn(int64_t until)
{
	struct pollfd p[] = {{.fd = notify_fd, .events = POLLIN},
			     {.fd = daemon_pidfd, .events = POLLIN}};
	poll(p, 2, 1);
	read_notices();
	return !is_past(until) && !p[1].revents;
}

int trial_end(void)
{
	struct pollfd p = {.fd = daemon_pidfd, .events = POLLIN};
	int64_t until = deadline();
	int status = 0;
	while (poll(&p, 1, 0) == 0 && !is_past(until))
		poll(&p, 1, 10);
	bool hung = poll(&p, 1, 0) == 0;
	if (hung)
		kill(daemon_pid, SIGKILL);
	MUST(waitpid(daemon_pid, &status, 0) == daemon_pid);
	read_notices();
	close(daemon_pidfd);
	daemon_pid = 0;
	daemon_pidfd = -1;
	return hung ? 256 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Check the datagrams, the status file and the log: any of them may be what failed. */
static bool is_ready(void)
{
	return (notices.size && strstr(notices.bytes, "READY=1")) ||
	       strcmp(trial_status("state"), "running") == 0 ||
	       strstr(trial_log(), "notice  ready: ");
}

bool trial_start(struct trial *t, int *code)
{
	char path[96];
	t->reloads = 0;
	snprintf(path, sizeof(path), "%s/status", runtime_dir);
	unlink(path); /* a log of a killed daemon would look as if this one were ready */
	daemon_spawn();
	if (TRY(is_ready()))
		return true;
	*code = trial_end();
	return false;
}

void trial_forget(void)
{
	char path[64];
	await_log_writer();
	for (size_t i = 0; i < sizeof(logs) / sizeof(*logs); i++)
		if (truncate(path_in(logs[i], path), 0) < 0)
			continue; /* it is not there yet */
	notices.size = noticed = 0;
	if (notices.bytes)
		notices.bytes[0] = '\0';
}

const char *trial_log(void)
{
	char path[64];
	await_log_writer();
	daemon_log.size = 0;
	text_append(&daemon_log, "", 0);
	for (size_t i = 0; i < sizeof(logs) / sizeof(*logs); i++) {
		const char *text = file_text(path_in(logs[i], path));
		if (text)
			text_append(&daemon_log, text, strlen(text));
	}
	return daemon_log.bytes;
}

bool trial_reported(void)
{
	const char *log = trial_log();
	return strstr(log, " error   ") || strstr(log, " warning ");
}

/* Compare the words and the order of the lines, without times, pids and numbers. */
char *trial_essence(void)
{
	enum { STAMP = sizeof("2026-11-22 14:21:37.610+00:00 ") - 1 };
	struct text out = {0};
	const char *log = trial_log();
	text_append(&out, "", 0);
	for (const char *line = log, *next; *line; line = next) {
		size_t n = strcspn(line, "\n");
		next = line + n + (line[n] == '\n');
		const char *news = strstr(line, " can be written again");
		if (news && news < line + n)
			continue; /* the end of an event of the previous trial */
		const char *from = strstr(line, " from pid "), *stats = strstr(line, " stats ");
		const char *does = from ? strstr(from, ": ") : NULL;
		for (const char *p = line + (n > STAMP ? STAMP : 0); p < line + n; p++) {
			if (from && p == from && does && does < line + n)
				p = does;
			if (stats && stats < line + n && p > stats && *p == ':')
				break;
			if (*p < '0' || *p > '9')
				text_append(&out, p, 1);
		}
		text_append(&out, "\n", 1);
	}
	return out.bytes;
}

size_t trial_fds(void)
{
	char dir[32];
	size_t n = 0;
	snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)daemon_pid);
	DIR *d = opendir(dir);
	if (!d)
		return 0;
	for (const struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

const char *trial_status(const char *key)
{
	char path[96];
	snprintf(path, sizeof(path), "%s/status", runtime_dir);
	const char *text = file_text(path);
	size_t n = strlen(key);
	for (const char *at = text; at && *at; at = strchr(at, '\n'), at += at != NULL)
		if (strncmp(at, key, n) == 0 && at[n] == '=') {
			snprintf(last_value, sizeof(last_value), "%.*s",
				 (int)strcspn(at + n + 1, "\n"), at + n + 1);
			return last_value;
		}
	return "";
}

void trial_reload(struct trial *t)
{
	t->reloads++;
	kill(daemon_pid, SIGHUP);
}

void trial_dump(void)
{
	char path[96];
	snprintf(path, sizeof(path), "%s/stats.prom", runtime_dir);
	unlink(path);
	kill(daemon_pid, SIGUSR1);
}

bool trial_has_reloaded(struct trial *t)
{
	long ok = atol(trial_status("reloads_ok"));
	return ok + atol(trial_status("reloads_rejected")) >= t->reloads;
}

bool trial_file(const char *name)
{
	return runtime_file_exists(name);
}
