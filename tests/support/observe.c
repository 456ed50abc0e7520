#include "observe.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The first line of /proc/PID/task/TID/NAME, "" if there is none. */
static void read_task(const char *tid, const char *name, char line[static 256])
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/%s", (int)daemon_pid, tid, name);
	FILE *in = fopen(path, "re");
	*line = '\0';
	if (in && !fgets(line, 256, in))
		*line = '\0';
	if (in)
		fclose(in);
}

/* Is the thread running, or will it run soon? If it lingers, it is in poll(2). A stopped thread
 * does not run. */
static bool is_active(const char *tid)
{
	char call[256], stat[256];
	read_task(tid, "syscall", call); /* "running", or the number of the system call */
	read_task(tid, "stat", stat);
	const char *state = strrchr(stat, ')');
	if (state && state[2] == 'T')
		return false;
	long number = strtol(call, NULL, 10);
#ifdef SYS_poll
	if (number == SYS_poll)
		return true;
#endif
	return number == SYS_ppoll || *call == 'r' || (state && state[2] == 'R');
}

void await_log_writer(void)
{
	enum { TRIES = 200 };
	char path[32], name[256] = "";
	snprintf(path, sizeof(path), "/proc/%d/task", (int)daemon_pid);
	DIR *tasks = daemon_pid ? opendir(path) : NULL;
	for (const struct dirent *t; tasks && (t = readdir(tasks));) {
		read_task(t->d_name, "comm", name);
		if (strcmp(name, "log-writer\n") != 0)
			continue;
		for (int i = 0; i < TRIES && is_active(t->d_name); i++)
			poll(NULL, 0, 1);
		break;
	}
	if (tasks)
		closedir(tasks);
}

const char *log_text(void)
{
	await_log_writer();
	text_read(&daemon_log, "log");
	return daemon_log.bytes;
}

bool log_contains(const char *part)
{
	return strstr(log_text(), part);
}

size_t log_count(const char *part)
{
	size_t n = 0;
	for (const char *at = log_text(); (at = strstr(at, part)); at += strlen(part))
		n++;
	return n;
}

/*
 * Search backwards: a log may be long, and strstr(3) of a sanitizer measures all of it each time.
 */
const char *log_line_with(const char *part)
{
	const char *text = log_text(), *end = text + strlen(text), *begin;
	for (; end > text; end = begin > text ? begin - 1 : text) {
		for (begin = end; begin > text && begin[-1] != '\n';)
			begin--;
		if (memmem(begin, (size_t)(end - begin), part, strlen(part))) {
			snprintf(last_value, sizeof(last_value), "%.*s", (int)(end - begin), begin);
			return last_value;
		}
	}
	return NULL;
}

void log_expect_order(const char *const parts[], size_t n)
{
	const char *at = log_text();
	for (size_t i = 0; i < n; i++) {
		const char *found = strstr(at, parts[i]);
		if (!found)
			fail_test("\"%s\" (%zu) is not in the log, or not after \"%s\"", parts[i],
				  i, i ? parts[i - 1] : "");
		at = found + strlen(parts[i]);
	}
}

/* The rest of the line that begins with KEY and SEPARATOR. */
static const char *find_value(const char *text, const char *key, char separator)
{
	size_t n = strlen(key);
	for (const char *at = text; at && *at; at = strchr(at, '\n'), at += at != NULL) {
		if (strncmp(at, key, n) != 0 || at[n] != separator)
			continue;
		at += n + 1;
		snprintf(last_value, sizeof(last_value), "%.*s", (int)strcspn(at, "\n"), at);
		return last_value;
	}
	return NULL;
}

static const char *in_runtime(const char *name, char path[static 96])
{
	snprintf(path, 96, "%s/%s", runtime_dir, name);
	return path;
}

bool runtime_file_exists(const char *name)
{
	char path[96];
	return access(in_runtime(name, path), F_OK) == 0;
}

const char *status_get(const char *key)
{
	char path[96];
	const char *text = file_text(in_runtime("status", path));
	const char *value = text ? find_value(text, key, '=') : NULL;
	if (!value)
		fail_test("no %s in the status file:\n%s", key, text ? text : "(missing)");
	return value;
}

long status_number(const char *key)
{
	return strtol(status_get(key), NULL, 10);
}

void expect_status(const char *key, const char *value)
{
	const char *got = status_get(key);
	if (strcmp(got, value) != 0)
		fail_test("status: %s=%s, expected %s", key, got, value);
}

void expect_rejected(long generation, const char *part)
{
	expect_status("state", "running");
	expect_status("last_reload", "rejected");
	if (status_number("generation") != generation)
		fail_test("generation %s, expected %ld", last_value, generation);
	const char *error = status_get("last_reload_error");
	if (!strstr(error, part))
		fail_test("last_reload_error=%s, expected \"%s\" in it", error, part);
	if (!log_contains(part) || !log_contains("reload rejected: "))
		fail_test("the rejection with \"%s\" is not in the log", part);
}

static bool dump_is_new(const struct stat *old)
{
	char path[96];
	struct stat now;
	return stat(in_runtime("stats.prom", path), &now) == 0 &&
	       (now.st_ino != old->st_ino || now.st_mtim.tv_sec != old->st_mtim.tv_sec ||
		now.st_mtim.tv_nsec != old->st_mtim.tv_nsec);
}

void stats_dump(void)
{
	char path[96];
	struct stat old;
	if (stat(in_runtime("stats.prom", path), &old) < 0)
		old = (struct stat){0};
	daemon_signal(SIGUSR1);
	AWAIT(dump_is_new(&old));
}

double stats_value(const char *metric)
{
	char path[96];
	const char *text = file_text(in_runtime("stats.prom", path));
	const char *value = text ? find_value(text, metric, ' ') : NULL;
	if (!value)
		fail_test("no %s in stats.prom:\n%s", metric, text ? text : "(missing)");
	return strtod(value, NULL);
}

long proc_number(const char *key)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/%d/status", (int)daemon_pid);
	const char *text = file_text(path);
	const char *value = text ? find_value(text, key, ':') : NULL;
	if (!value)
		fail_test("no %s in %s", key, path);
	return strtol(value, NULL, 10);
}
