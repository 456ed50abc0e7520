/*
 * The loader waits for orders, and for each it has a child that parses and answers. So the child is
 * made by a process that has one thread, and nothing of the daemon's but its code and its
 * configuration's name; what it leaves behind in libconfuse's globals, and its memory, goes with
 * it.
 */
#include "base/load.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_MAX = 64 << 20 }; /* bytes */

/* The loader, and its child. */

static _Noreturn void parse_and_end(const struct loader *l, int to)
{
	struct errors e = {0};
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	FILE *out = fdopen(to, "w");
	if (!out)
		_exit(EXIT_FAILURE);
	struct config *c = config_parse(l->file, l->service, &e);
	wire_put(c, &e, out);
	config_unref(c); /* for valgrind, who would look for it */
	errors_clear(&e);
	_exit(ferror(out) || fclose(out) ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* Whatever the daemon closes is to be closed, and no lock of its is to outlive it. */
static void close_others(unsigned a, unsigned b)
{
	unsigned low = a < b ? a : b, high = a < b ? b : a;
	close_range(high + 1, ~0U, 0);
	if (high > low + 1)
		close_range(low + 1, high - 1, 0);
	if (low > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, low - 1, 0);
}

/* As wait(2) has it, or -errno: nobody knows, for SIGCHLD is ignored. */
static int wait_for(pid_t pid)
{
	int status = 0;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status;
}

/* Until it is killed, or the daemon has ended. All signals are blocked: they are for the daemon. */
static _Noreturn void serve(const struct loader *l, int orders, int answers)
{
	char order;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "skeld-loader"); /* not "skeld": for those who look for the daemon */
	signal(SIGCHLD, SIG_DFL);
	close_others((unsigned)orders, (unsigned)answers);
	while (recv(orders, &order, 1, 0) == 1) {
		pid_t pid = fork();
		if (pid == 0)
			parse_and_end(l, answers);
		int status = pid < 0 ? -errno : wait_for(pid);
		send(orders, &status, sizeof(status), MSG_NOSIGNAL);
	}
	_exit(EXIT_SUCCESS);
}

/* The daemon. */

static pid_t fork_loader(const struct loader *l, int orders, int answers)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid_t pid = fork();
	if (pid == 0)
		serve(l, orders, answers);
	int why = errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = why;
	return pid;
}

static void close_pair(const int pair[2])
{
	if (pair[0] >= 0)
		close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
}

int loader_start(struct loader *l, struct errors *e)
{
	int orders[2] = {-1, -1}, answers[2] = {-1, -1};
	bool good = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) == 0 &&
		    pipe2(answers, O_CLOEXEC) == 0 && fcntl(answers[0], F_SETFL, O_NONBLOCK) == 0 &&
		    (l->pid = fork_loader(l, orders[1], answers[1])) > 0;
	if (!good) {
		errors_add(e, l->file, 0, "cannot be read: no process to read it: %s",
			   strerror(errno));
		close_pair(orders);
		close_pair(answers);
		l->pid = 0;
		return -1;
	}
	close(orders[1]);
	close(answers[1]);
	l->orders = orders[0];
	l->answers = answers[0];
	return 0;
}

void loader_end(struct loader *l)
{
	if (!l->pid)
		return;
	kill(l->pid, SIGKILL); /* and the kernel its child, which may hang where it cannot end */
	wait_for(l->pid);
	close(l->orders);
	close(l->answers);
	l->pid = 0;
}

/* Wait for either. LEFT is ms; while this process was stopped, so was the other, most likely. */
static bool await(const struct loader *l, int64_t *left, bool *answers, bool *orders)
{
	enum { STEP_MS = 100 };
	while (*left > 0) {
		struct pollfd p[] = {{.fd = l->answers, .events = POLLIN},
				     {.fd = l->orders, .events = POLLIN}};
		int64_t began = now_ns();
		int n = poll(p, 2, STEP_MS);
		*answers = p[0].revents & POLLIN;
		*orders = p[1].revents;
		if (n > 0)
			return true;
		int64_t took = (now_ns() - began) / 1000000;
		*left -= took < STEP_MS ? took : STEP_MS;
	}
	errno = ETIMEDOUT;
	return false;
}

struct answer {
	char *text;
	size_t room, length;
	int status; /* of the child, wait(2); or -errno: there was none */
};

/* All that is there. */
static bool take_text(const struct loader *l, struct answer *a)
{
	for (;;) {
		if (a->length == a->room) {
			size_t room = a->room ? 2 * a->room : 16384;
			char *more = room <= ANSWER_MAX ? realloc(a->text, room) : NULL;
			errno = ENOMEM;
			if (!more)
				return false;
			a->text = more;
			a->room = room;
		}
		ssize_t n = read(l->answers, a->text + a->length, a->room - a->length);
		if (n > 0)
			a->length += (size_t)n;
		else if (n == 0 || errno != EINTR)
			return n == 0 || errno == EAGAIN;
	}
}

/* False: errno is why. */
static bool ask(const struct loader *l, struct answer *a)
{
	int64_t left = (int64_t)(l->seconds * 1000);
	bool answers, orders;
	if (send(l->orders, "", 1, MSG_NOSIGNAL) != 1)
		return false;
	while (await(l, &left, &answers, &orders)) {
		if (answers && !take_text(l, a))
			return false;
		if (!orders)
			continue;
		/* It tells of the end of its child after that: all of the answer is there. */
		ssize_t n = recv(l->orders, &a->status, sizeof(a->status), MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		errno = n < 0 ? errno : EPIPE;
		return n == sizeof(a->status) && take_text(l, a);
	}
	return false;
}

/* False: the child did not end as one who has parsed does. */
static bool check_status(int status, const char *file, struct errors *e)
{
	static const char hint[] = "is memory short?";
	if (status < 0)
		errors_add(e, file, 0, "cannot be parsed: no process to parse it: %s",
			   strerror(-status));
	else if (WIFSIGNALED(status))
		errors_add(e, file, 0,
			   "cannot be parsed: its parser was ended by signal %d (%s): %s",
			   WTERMSIG(status), strsignal(WTERMSIG(status)), hint);
	else if (WEXITSTATUS(status))
		errors_add(e, file, 0, "cannot be parsed: its parser ended with exit code %d: %s",
			   WEXITSTATUS(status), hint);
	return status == 0;
}

struct config *loader_load(struct loader *l, struct errors *e)
{
	struct config *c = NULL;
	struct answer a = {0};
	if (l->pid && waitpid(l->pid, NULL, WNOHANG) != 0)
		loader_end(l); /* somebody has */
	if (!l->pid && loader_start(l, e) < 0)
		return NULL;
	if (ask(l, &a)) {
		if (check_status(a.status, l->file, e))
			c = wire_take(a.text, a.length, l->file, l->service, e);
	} else {
		if (errno == ETIMEDOUT)
			errors_add(e, l->file, 0,
				   "cannot be read within %g s: does its file system answer?",
				   l->seconds);
		else
			errors_add(e, l->file, 0,
				   "cannot be read: no answer of the process that reads it: %s",
				   strerror(errno));
		loader_end(l);
	}
	free(a.text);
	if (c)
		log_debug("configuration: %llu bytes of %llu file%s read in %.3f ms", c->read.bytes,
			  c->read.files, c->read.files == 1 ? "" : "s", (double)c->read.ns / 1e6);
	return c;
}
