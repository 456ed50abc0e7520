#include "observe.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *read_whole(struct fixture *f, const char *path, struct text *t)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	t->size = 0;
	if (fd < 0) {
		if (t->bytes)
			*t->bytes = '\0';
		return NULL;
	}
	for (;;) {
		if (t->room < t->size + 2) {
			t->room = t->room ? t->room * 2 : 65536;
			t->bytes = realloc(t->bytes, t->room);
			MUST(t->bytes);
		}
		ssize_t n = read(fd, t->bytes + t->size, t->room - t->size - 1);
		if (n <= 0)
			break;
		t->size += (size_t)n;
	}
	close(fd);
	t->bytes[t->size] = '\0';
	return t->bytes;
}

const char *file_text(struct fixture *f, const char *path)
{
	return read_whole(f, path, &f->scratch);
}

const char *log_text(struct fixture *f)
{
	char path[64];
	const char *text = read_whole(f, path_in(f, "log", path), &f->log);
	return text ? text : "";
}

bool log_contains(struct fixture *f, const char *part)
{
	return strstr(log_text(f), part);
}

size_t log_count(struct fixture *f, const char *part)
{
	size_t n = 0;
	for (const char *at = log_text(f); (at = strstr(at, part)); at += strlen(part))
		n++;
	return n;
}

size_t log_count_warnings(struct fixture *f)
{
	return log_count(f, " warning ") - log_count(f, " did not take it over within ") -
	       log_count(f, "worker not responding: ");
}

/*
 * Search backwards: a log may be long, and strstr(3) of a sanitizer measures all of it each time.
 */
const char *log_line_with(struct fixture *f, const char *part)
{
	const char *text = log_text(f), *end = text + strlen(text), *begin;
	for (; end > text; end = begin > text ? begin - 1 : text) {
		for (begin = end; begin > text && begin[-1] != '\n';)
			begin--;
		if (memmem(begin, (size_t)(end - begin), part, strlen(part))) {
			snprintf(f->value, sizeof(f->value), "%.*s", (int)(end - begin), begin);
			return f->value;
		}
	}
	return NULL;
}

void log_expect_order(struct fixture *f, const char *const parts[], size_t n)
{
	const char *at = log_text(f);
	for (size_t i = 0; i < n; i++) {
		const char *found = strstr(at, parts[i]);
		if (!found)
			fail_test(f, "\"%s\" (%zu) is not in the log, or not after \"%s\"",
				  parts[i], i, i ? parts[i - 1] : "");
		at = found + strlen(parts[i]);
	}
}

/* The rest of the line that begins with KEY and SEPARATOR. */
static const char *find_value(struct fixture *f, const char *text, const char *key, char separator)
{
	size_t n = strlen(key);
	for (const char *at = text; at && *at; at = strchr(at, '\n'), at += at != NULL) {
		if (strncmp(at, key, n) != 0 || at[n] != separator)
			continue;
		at += n + 1;
		snprintf(f->value, sizeof(f->value), "%.*s", (int)strcspn(at, "\n"), at);
		return f->value;
	}
	return NULL;
}

static const char *in_runtime(struct fixture *f, const char *name, char path[static 96])
{
	snprintf(path, 96, "%s/%s", f->runtime, name);
	return path;
}

bool runtime_file_exists(struct fixture *f, const char *name)
{
	char path[96];
	return access(in_runtime(f, name, path), F_OK) == 0;
}

const char *status_get(struct fixture *f, const char *key)
{
	char path[96];
	const char *text = file_text(f, in_runtime(f, "status", path));
	const char *value = text ? find_value(f, text, key, '=') : NULL;
	if (!value)
		fail_test(f, "no %s in the status file:\n%s", key, text ? text : "(missing)");
	return value;
}

long status_number(struct fixture *f, const char *key)
{
	return strtol(status_get(f, key), NULL, 10);
}

void expect_status(struct fixture *f, const char *key, const char *value)
{
	const char *got = status_get(f, key);
	if (strcmp(got, value) != 0)
		fail_test(f, "status: %s=%s, expected %s", key, got, value);
}

void expect_rejected(struct fixture *f, long generation, const char *part)
{
	expect_status(f, "state", "running");
	expect_status(f, "last_reload", "rejected");
	if (status_number(f, "generation") != generation)
		fail_test(f, "generation %s, expected %ld", f->value, generation);
	const char *error = status_get(f, "last_reload_error");
	if (!strstr(error, part))
		fail_test(f, "last_reload_error=%s, expected \"%s\" in it", error, part);
	if (!log_contains(f, part) || !log_contains(f, "reload rejected: "))
		fail_test(f, "the rejection with \"%s\" is not in the log", part);
}

static bool dump_is_new(struct fixture *f, const struct stat *old)
{
	char path[96];
	struct stat now;
	return stat(in_runtime(f, "stats.prom", path), &now) == 0 &&
	       (now.st_ino != old->st_ino || now.st_mtim.tv_sec != old->st_mtim.tv_sec ||
		now.st_mtim.tv_nsec != old->st_mtim.tv_nsec);
}

void stats_dump(struct fixture *f)
{
	char path[96];
	struct stat old;
	if (stat(in_runtime(f, "stats.prom", path), &old) < 0)
		old = (struct stat){0};
	daemon_signal(f, SIGUSR1);
	await(f, dump_is_new(f, &old));
}

double stats_value(struct fixture *f, const char *metric)
{
	char path[96];
	const char *text = file_text(f, in_runtime(f, "stats.prom", path));
	const char *value = text ? find_value(f, text, metric, ' ') : NULL;
	if (!value)
		fail_test(f, "no %s in stats.prom:\n%s", metric, text ? text : "(missing)");
	return strtod(value, NULL);
}

long stats_logged(struct fixture *f, const char *what, const char *signal)
{
	char name[32];
	snprintf(name, sizeof(name), " %s ", signal);
	const char *line = log_line_with(f, "stats signals:");
	if (!line)
		fail_test(f, "no stats signals: line");
	const char *at = strstr(line, what);
	if (!at)
		fail_test(f, "no %s in: %s", what, line);
	const char *end = at + strcspn(at, ","), *found = strstr(at, name);
	return found && found < end ? strtol(found + strlen(name), NULL, 10) : 0;
}

static const char *const signals[] = {"SIGHUP",	 "SIGINT",  "SIGTERM",
				      "SIGQUIT", "SIGUSR1", "SIGUSR2"};
enum { SIGNALS = sizeof(signals) / sizeof(*signals) };

void expect_signals_logged(struct fixture *f)
{
	for (size_t i = 0; i < SIGNALS; i++) {
		long received = stats_logged(f, "received", signals[i]);
		long handled = stats_logged(f, "handled", signals[i]);
		long coalesced = stats_logged(f, "coalesced", signals[i]);
		if (received != handled + coalesced)
			fail_test(f, "%s: received %ld, handled %ld, coalesced %ld", signals[i],
				  received, handled, coalesced);
	}
}

static long signal_value(struct fixture *f, const char *what, const char *signal)
{
	char metric[96];
	snprintf(metric, sizeof(metric), "skeld_signals_%s_total{signal=\"%s\"}", what, signal);
	return (long)stats_value(f, metric);
}

/* The kernel may deliver a pending signal after the dump: it is handled next. */
void expect_signals_accounted(struct fixture *f)
{
	int64_t until = deadline();
	for (size_t i = 0; i < SIGNALS; i++) {
		if (i == 0)
			stats_dump(f);
		long received = signal_value(f, "received", signals[i]);
		long handled = signal_value(f, "handled", signals[i]);
		long coalesced = signal_value(f, "coalesced", signals[i]);
		if (received == handled + coalesced)
			continue;
		if (is_past(until))
			fail_test(f, "%s: received %ld, handled %ld, coalesced %ld", signals[i],
				  received, handled, coalesced);
		i = (size_t)-1; /* dump again */
	}
}

static int by_number(const struct dirent **a, const struct dirent **b)
{
	return atoi((*a)->d_name) - atoi((*b)->d_name);
}

const char *proc_fds(struct fixture *f)
{
	char dir[32], line[600], target[256];
	struct dirent **entry = NULL;
	snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)f->pid);
	int n = scandir(dir, &entry, NULL, by_number);
	MUST(n >= 0);
	size_t used = 0;
	f->value[0] = '\0';
	for (int i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "%s/%s", dir, entry[i]->d_name);
		ssize_t length = readlink(line, target, sizeof(target) - 1);
		if (length >= 0) {
			target[length] = '\0';
			used += (size_t)snprintf(f->value + used, sizeof(f->value) - used,
						 "%s %s\n", entry[i]->d_name, target);
		}
		free(entry[i]);
		MUST(used < sizeof(f->value));
	}
	free(entry);
	return f->value;
}

long proc_number(struct fixture *f, const char *key)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/%d/status", (int)f->pid);
	const char *text = file_text(f, path);
	const char *value = text ? find_value(f, text, key, ':') : NULL;
	if (!value)
		fail_test(f, "no %s in %s", key, path);
	return strtol(value, NULL, 10);
}

pid_t loader_pid(struct fixture *f)
{
	char path[64];
	int pid;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)f->pid, (int)f->pid);
	const char *children = file_text(f, path);
	return children && sscanf(children, "%d", &pid) == 1 ? pid : 0;
}
