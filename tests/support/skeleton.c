#include "skeleton.h"

#include "client.h"
#include "observe.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* More than both directions of a unix socket hold, but by less than limits.buffer. */
enum { BUSY_BYTES = 900000, CHUNK = 10000 };

pid_t storm(int signo, long n)
{
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (n-- > 0)
			kill(daemon_pid, signo);
		_exit(0);
	}
	return pid;
}

void reap(pid_t pid)
{
	int status = 0, pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	MUST(pidfd >= 0);
	await_fd(pidfd, POLLIN, deadline(), "the end of a helper");
	close(pidfd);
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
}

long stats_logged(const char *what, const char *signal)
{
	char key[64];
	size_t n = (size_t)snprintf(key, sizeof(key), " %s_%s=", what, signal);
	for (char *p = key; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	const char *line = log_line_with("stats signals:");
	if (!line)
		fail_test("no stats signals: line");
	if (!strstr(line, what))
		fail_test("no %s in: %s", what, line);
	const char *found = strstr(line, key);
	return found ? strtol(found + n, NULL, 10) : 0;
}

static const char *const signals[] = {"SIGHUP",	 "SIGINT",  "SIGTERM",
				      "SIGQUIT", "SIGUSR1", "SIGUSR2"};
enum { SIGNALS = sizeof(signals) / sizeof(*signals) };

void expect_signals_logged(void)
{
	for (size_t i = 0; i < SIGNALS; i++) {
		long received = stats_logged("received", signals[i]);
		long handled = stats_logged("handled", signals[i]);
		long coalesced = stats_logged("coalesced", signals[i]);
		if (received != handled + coalesced)
			fail_test("%s: received %ld, handled %ld, coalesced %ld", signals[i],
				  received, handled, coalesced);
	}
}

static long signal_value(const char *what, const char *signal)
{
	char metric[96];
	snprintf(metric, sizeof(metric), "skeld_signals_%s_total{signal=\"%s\"}", what, signal);
	return (long)stats_value(metric);
}

/* The kernel may deliver a pending signal after the dump: it is handled next. */
void expect_signals_accounted(void)
{
	int64_t until = deadline();
	for (size_t i = 0; i < SIGNALS; i++) {
		if (i == 0)
			stats_dump();
		long received = signal_value("received", signals[i]);
		long handled = signal_value("handled", signals[i]);
		long coalesced = signal_value("coalesced", signals[i]);
		if (received == handled + coalesced)
			continue;
		if (is_past(until))
			fail_test("%s: received %ld, handled %ld, coalesced %ld", signals[i],
				  received, handled, coalesced);
		i = (size_t)-1; /* dump again */
	}
}

size_t log_count_warnings(void)
{
	return log_count(" warning ") - log_count(" did not take it over within ") -
	       log_count("worker not responding: ");
}

static int by_number(const struct dirent **a, const struct dirent **b)
{
	return atoi((*a)->d_name) - atoi((*b)->d_name);
}

const char *proc_fds(void)
{
	char dir[32], line[600], target[256];
	struct dirent **entry = NULL;
	snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)daemon_pid);
	int n = scandir(dir, &entry, NULL, by_number);
	MUST(n >= 0);
	size_t used = 0;
	last_value[0] = '\0';
	for (int i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "%s/%s", dir, entry[i]->d_name);
		ssize_t length = readlink(line, target, sizeof(target) - 1);
		if (length >= 0) {
			target[length] = '\0';
			used += (size_t)snprintf(last_value + used, sizeof(last_value) - used,
						 "%s %s\n", entry[i]->d_name, target);
		}
		free(entry[i]);
		MUST(used < sizeof(last_value));
	}
	free(entry);
	return last_value;
}

pid_t loader_pid(void)
{
	char path[64];
	int pid;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)daemon_pid, (int)daemon_pid);
	const char *children = file_text(path);
	return children && sscanf(children, "%d", &pid) == 1 ? pid : 0;
}

void daemon_run_as(uid_t uid)
{
	int in = open(SKELD_BINARY, O_RDONLY | O_CLOEXEC);
	snprintf(daemon_binary, sizeof(daemon_binary), "%s/skeld", test_dir);
	int out = open(daemon_binary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	MUST(in >= 0 && out >= 0);
	ssize_t n;
	while ((n = sendfile(out, in, NULL, 1 << 30)) > 0)
		;
	MUST(n == 0);
	close(in);
	close(out);
	MUST(chmod(test_dir, 0755) == 0);
	MUST(chown(test_dir, uid, uid) == 0 && chown(runtime_dir, uid, uid) == 0);
	daemon_uid = uid;
}

static void fill(char chunk[static CHUNK], size_t round)
{
	for (size_t i = 0; i < CHUNK; i++)
		chunk[i] = (char)('a' + (i + round) % 26);
}

int client_connect_busy(void)
{
	char chunk[CHUNK];
	int fd = client_connect("busy");
	for (size_t i = 0; i < BUSY_BYTES / CHUNK; i++) {
		fill(chunk, i);
		client_send_bytes(fd, chunk, sizeof(chunk));
	}
	return fd;
}

void client_read_busy(int fd)
{
	char chunk[CHUNK];
	for (size_t i = 0; i < BUSY_BYTES / CHUNK; i++) {
		fill(chunk, i);
		client_expect_bytes(fd, chunk, sizeof(chunk));
	}
}
