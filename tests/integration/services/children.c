/*
 * A service for the tests: starts a child process for each line.
 *
 *     fork COMMAND     runs the shell command in a child of fork(2), and answers its output
 *     spawn COMMAND    the same with service_spawn()
 *     keep             leaves a child of fork(2) behind, which sleeps, and answers its pid
 *
 * Its `stop` takes the time that the option stop_ms says, as if it wrote to a slow disk.
 */
#include "service_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t fork_shell(const char *const argv[], int out)
{
	pid_t pid = fork();
	if (pid == 0) {
		dup2(out, STDOUT_FILENO);
		execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	return pid;
}

/* Blocks the worker: a test can afford it. */
static void answer_output(struct connection *c, const char *command, int forks)
{
	const char *const argv[] = {"/bin/sh", "-c", command, NULL};
	char text[4096];
	int out[2], status;
	ssize_t n;
	if (pipe2(out, O_CLOEXEC) < 0) {
		connection_close(c);
		return;
	}
	pid_t pid = forks ? fork_shell(argv, out[1])
			  : service_spawn(argv, (const int[]){-1, out[1], STDERR_FILENO});
	close(out[1]);
	while ((n = read(out[0], text, sizeof(text))) > 0)
		connection_write(c, text, (size_t)n);
	close(out[0]);
	int length = snprintf(text, sizeof(text), "status %d\n",
			      pid > 0 && waitpid(pid, &status, 0) == pid ? status : -errno);
	connection_write(c, text, (size_t)length);
}

static void keep_child(struct connection *c)
{
	char text[32];
	pid_t pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	connection_write(c, text, (size_t)snprintf(text, sizeof(text), "%d\n", (int)pid));
}

static size_t children_data(struct connection *c, const char *bytes, size_t n)
{
	char line[1024];
	const char *end = memchr(bytes, '\n', n);
	size_t length = end ? (size_t)(end - bytes) : 0;
	if (!end || length >= sizeof(line))
		return 0;
	memcpy(line, bytes, length);
	line[length] = '\0';
	if (strncmp(line, "fork ", 5) == 0)
		answer_output(c, line + 5, 1);
	else if (strncmp(line, "spawn ", 6) == 0)
		answer_output(c, line + 6, 0);
	else
		keep_child(c);
	return length + 1;
}

struct children_config {
	int64_t stop_ms;
};

static const struct service_option options[] = {
	{.name = "stop_ms",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct children_config, stop_ms),
	 .default_value = "0",
	 .max = 3600000,
	 .unit = "milliseconds",
	 .help = "How long stop takes"},
	{0},
};

static void children_stop(struct worker *w)
{
	const struct children_config *config = worker_config(w);
	worker_log(w, LOG_NOTICE, "writing");
	poll(NULL, 0, (int)config->stop_ms);
	worker_log(w, LOG_NOTICE, "written");
}

const struct service service = {.name = "children",
				.options = options,
				.config_size = sizeof(struct children_config),
				.stop = children_stop,
				.protocol.data = children_data};
