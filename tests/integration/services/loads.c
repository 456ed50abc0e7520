/*
 * A service for the tests: it has no connections, and reports on standard error each call of its
 * callbacks, not through the log, which is written later by another thread. It loads a file, also a
 * FIFO, which may block. A text that begins with "bad" is rejected.
 */
#include "service_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct loads_config {
	char *file;
	int64_t begins, stops;
};

static const struct service_option options[] = {
	{.name = "file",
	 .type = OPTION_PATH,
	 .offset = offsetof(struct loads_config, file),
	 .default_value = "",
	 .help = "The file to load"},
	{.name = "begins",
	 .type = OPTION_FLAG,
	 .offset = offsetof(struct loads_config, begins),
	 .default_value = "true",
	 .help = "The result of begin"},
	{.name = "stops",
	 .type = OPTION_FLAG,
	 .offset = offsetof(struct loads_config, stops),
	 .default_value = "true",
	 .help = "Whether stop returns"},
	{0},
};

struct text {
	const struct loads_config *config; /* valid until `unload` */
	char bytes[64];
};

/* Are all signals blocked that the daemon handles? */
static int blocked(void)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGPIPE};
	sigset_t set;
	int n = 0;
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		n += sigismember(&set, signals[i]);
	return n == sizeof(signals) / sizeof(*signals);
}

/* The same in a child of fork(2). */
static int blocked_in_child(void)
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0)
		_exit(blocked());
	return waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : -1;
}

static int loads_begin(const void *config)
{
	const struct loads_config *c = config;
	dprintf(STDERR_FILENO, "calls begin: blocked=%d main_thread=%d child_blocked=%d\n",
		blocked(), gettid() == getpid(), blocked_in_child());
	return c->begins ? 0 : -1;
}

static void loads_end(void)
{
	dprintf(STDERR_FILENO, "calls end: main_thread=%d\n", gettid() == getpid());
}

static void *loads_load(const void *config, char *why, size_t size)
{
	const struct loads_config *c = config;
	struct text *t = calloc(1, sizeof(*t));
	dprintf(STDERR_FILENO, "calls load: blocked=%d main_thread=%d child_blocked=%d\n",
		blocked(), gettid() == getpid(), blocked_in_child());
	if (!t)
		return NULL;
	int fd = open(c->file, O_RDONLY | O_CLOEXEC); /* blocks until a FIFO has a writer */
	if (fd < 0 || read(fd, t->bytes, sizeof(t->bytes) - 1) < 0)
		snprintf(why, size, "cannot read %s: %s", c->file, strerror(errno));
	else if (strncmp(t->bytes, "bad", 3) == 0)
		snprintf(why, size, "expected a good text, not \"%s\"", t->bytes);
	if (fd >= 0)
		close(fd);
	if (*why) {
		free(t);
		return NULL;
	}
	t->config = c;
	dprintf(STDERR_FILENO, "load gives %s\n", t->bytes);
	return t;
}

static void loads_unload(void *loaded)
{
	struct text *t = loaded;
	dprintf(STDERR_FILENO, "calls unload: %s of %s\n", t->bytes, t->config->file);
	free(t);
}

static int loads_start(struct worker *w)
{
	const struct text *t = worker_loaded(w);
	worker_set_data(w, (void *)(uintptr_t)t);
	dprintf(STDERR_FILENO, "calls start: worker=%u %s\n", worker_index(w), t->bytes);
	return 0;
}

static void loads_reloaded(struct worker *w)
{
	const struct text *old = worker_data(w), *new = worker_loaded(w);
	dprintf(STDERR_FILENO, "calls reloaded: worker=%u %s -> %s\n", worker_index(w), old->bytes,
		new->bytes);
	worker_set_data(w, (void *)(uintptr_t) new);
}

static void loads_stop(struct worker *w)
{
	const struct loads_config *c = worker_config(w);
	const struct text *t = worker_loaded(w);
	dprintf(STDERR_FILENO, "calls stop: worker=%u %s\n", worker_index(w), t->bytes);
	while (!c->stops)
		poll(NULL, 0, -1);
}

const struct service service = {
	.name = "loads",
	.options = options,
	.config_size = sizeof(struct loads_config),
	.load = loads_load,
	.unload = loads_unload,
	.begin = loads_begin,
	.end = loads_end,
	.start = loads_start,
	.reloaded = loads_reloaded,
	.stop = loads_stop,
};
