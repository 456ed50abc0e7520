/*
 * The loader waits for orders, and for each it has a child that parses and answers. So the child is
 * made by a process that has one thread, and what it leaves behind in libconfuse's globals, and its
 * memory, goes with it.
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

enum {
	ANSWER_MAX = 64 << 20, /* bytes */
	DROP_MS = 50,	       /* for what is killed to end, mostly; the loop waits for it */
	END_MS = 1000,	       /* the same, where nothing else waits */
	LOOK_MS = 100,
	ORDERS = STDERR_FILENO + 1, /* in the loader */
	ANSWERS,
};

/* The loader, and its child. */

/* True: PARENT still lives, and when it ends so do we. */
static bool end_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	return getppid() == parent;
}

static _Noreturn void parse_and_end(const struct loader *l, pid_t parent)
{
	struct errors e = {0};
	FILE *out = end_with(parent) ? fdopen(ANSWERS, "w") : NULL;
	if (!out)
		_exit(EXIT_FAILURE);
	struct config *c = config_parse(l->file, l->service, &e);
	wire_put(c, &e, out);
	config_unref(c); /* for valgrind, who would look for it */
	errors_clear(&e);
	_exit(ferror(out) || fclose(out) ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* Whatever the daemon closes is to be closed, and no lock of its is to outlive it. */
static bool keep_only(int orders, int answers)
{
	int spare = fcntl(answers, F_DUPFD, ANSWERS + 1); /* it may be ORDERS */
	bool good = spare >= 0 && dup2(orders, ORDERS) >= 0 && dup2(spare, ANSWERS) >= 0;
	if (good)
		closefrom(ANSWERS + 1);
	return good;
}

/* Who looks for the daemon by its name, as pidof(1) and pgrep(1) do, is not to find this. */
static void change_name(void)
{
	prctl(PR_SET_NAME, "config-loader");
	strncpy(program_invocation_name, "loader", strlen(program_invocation_name));
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
static _Noreturn void serve(const struct loader *l, pid_t parent, int orders, int answers)
{
	char order;
	setpgid(0, 0); /* see reap_group() */
	signal(SIGCHLD, SIG_DFL);
	change_name();
	if (!keep_only(orders, answers) || !end_with(parent))
		_exit(EXIT_FAILURE);
	pid_t self = getpid();
	for (ssize_t n = 1; n > 0 && recv(ORDERS, &order, 1, 0) == 1;) {
		pid_t pid = fork();
		if (pid == 0)
			parse_and_end(l, self);
		int status = pid < 0 ? -errno : wait_for(pid);
		n = send(ORDERS, &status, sizeof(status), MSG_NOSIGNAL); /* or they would wait */
	}
	_exit(EXIT_SUCCESS);
}

/* The daemon. */

static pid_t fork_loader(const struct loader *l, int orders, int answers)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid_t self = getpid(), pid = fork();
	if (pid == 0)
		serve(l, self, orders, answers);
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
	setpgid(l->pid, l->pid); /* whoever of us is first */
	l->group = l->pid;
	l->orders = orders[0];
	l->answers = answers[0];
	return 0;
}

/*
 * A parser outlives a loader that is killed, by a moment or for as long as a file system does not
 * answer. Where we are the one who inherits it, as PID 1 of a container, nobody else waits for it.
 * False: it is there still.
 */
static bool reap_group(const struct loader *l, int ms)
{
	pid_t pid = l->group ? 1 : -1;
	while (pid > 0) {
		pid = waitpid(-l->group, NULL, WNOHANG);
		if (pid == 0 && ms-- > 0)
			pid = poll(NULL, 0, 1) <= 0; /* or a signal has come */
	}
	return pid < 0;
}

static void let_go(struct loader *l)
{
	close(l->orders);
	close(l->answers);
	l->pid = 0;
}

static void forget_answer(struct loader *l)
{
	free(l->text);
	l->text = NULL;
	l->room = l->length = 0;
	l->busy = false;
}

static void end(struct loader *l, int ms)
{
	/* Only what is still ours: a number that is free may be another's by now. */
	if (l->pid && waitpid(l->pid, NULL, WNOHANG) == 0)
		kill(l->pid, SIGKILL); /* it is of its group; who traces it may keep it there */
	if (l->pid)
		let_go(l);
	forget_answer(l);
	reap_group(l, ms);
}

void loader_drop(struct loader *l)
{
	end(l, DROP_MS);
}

void loader_end(struct loader *l)
{
	end(l, END_MS);
}

static void give_up(struct loader *l, struct errors *e)
{
	if (l->error == ETIME)
		errors_add(e, l->file, 0,
			   "cannot be read within %g s: does its file system answer?", l->seconds);
	else
		errors_add(e, l->file, 0,
			   "cannot be read: no answer of the process that reads it: %s",
			   strerror(l->error));
	loader_drop(l);
}

int loader_ask(struct loader *l, struct errors *e)
{
	l->judged = false;
	if (l->pid && waitpid(l->pid, NULL, WNOHANG) != 0)
		let_go(l); /* somebody has ended it */
	if (!l->pid && !reap_group(l, DROP_MS)) {
		errors_add(e, l->file, 0,
			   "cannot be read: who was to read it before has not ended yet: does its "
			   "file system answer?");
		return -1;
	}
	if (!l->pid && loader_start(l, e) < 0)
		return -1;
	l->busy = true;
	l->looked = now_ns();
	l->left = (int64_t)(l->seconds * 1e9);
	l->error = send(l->orders, "", 1, MSG_NOSIGNAL) == 1 ? 0 : errno;
	if (l->error)
		give_up(l, e);
	return l->error ? -1 : 0;
}

/* All that is there. Returns 0, or errno. */
static int take_text(struct loader *l)
{
	for (;;) {
		if (l->length == l->room) {
			size_t room = l->room ? 2 * l->room : 16384;
			char *more = room <= ANSWER_MAX ? realloc(l->text, room) : NULL;
			if (!more)
				return ENOMEM;
			l->text = more;
			l->room = room;
		}
		ssize_t n = read(l->answers, l->text + l->length, l->room - l->length);
		if (n > 0)
			l->length += (size_t)n;
		else if (n == 0)
			return EPIPE; /* the loader keeps its end for as long as it lives */
		else if (errno != EINTR)
			return errno == EAGAIN ? 0 : errno;
	}
}

/* Has it told of the end of its child? Returns 0, EAGAIN, or errno: it never will. */
static int take_status(struct loader *l)
{
	ssize_t n = recv(l->orders, &l->status, sizeof(l->status), MSG_DONTWAIT);
	if (n == sizeof(l->status))
		return 0;
	if (n >= 0)
		return EPIPE;
	return errno == EINTR ? EAGAIN : errno;
}

/* While this process was stopped, so was the other, most likely: no look counts for more. */
static bool is_late(struct loader *l)
{
	enum { MOST_NS = 1000000000 };
	int64_t now = now_ns(), took = now - l->looked;
	l->looked = now;
	l->left -= took < MOST_NS ? took : MOST_NS;
	return l->left <= 0;
}

bool loader_look(struct loader *l)
{
	if (l->error)
		return true;
	/* It tells of the end after that: what is read then is all of the answer. */
	int ended = take_status(l), text = take_text(l);
	bool late = is_late(l);
	l->error = text ? text : ended != EAGAIN ? ended : late ? ETIME : 0;
	return l->error || ended == 0;
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

struct config *loader_take(struct loader *l, struct errors *e)
{
	struct config *c = NULL;
	bool whole = false;
	if (l->error)
		give_up(l, e);
	else if (check_status(l->status, l->file, e) &&
		 !(whole = wire_take(l->text, l->length, l->service, &c, e)))
		errors_add(e, l->file, 0,
			   "cannot be parsed: the answer of its parser is not whole: is memory "
			   "short?");
	l->judged = whole && !e->passing;
	forget_answer(l);
	if (c)
		log_debug("configuration: %llu bytes of %llu file%s read in %.3f ms", c->read.bytes,
			  c->read.files, c->read.files == 1 ? "" : "s", (double)c->read.ns / 1e6);
	return c;
}

struct config *loader_load(struct loader *l, struct errors *e)
{
	if (loader_ask(l, e) < 0)
		return NULL;
	while (!loader_look(l)) {
		struct pollfd p[] = {{.fd = l->answers, .events = POLLIN},
				     {.fd = l->orders, .events = POLLIN}};
		if (poll(p, 2, LOOK_MS) < 0 && errno != EINTR)
			l->error = errno;
	}
	return loader_take(l, e);
}
