#include "config/loader.h"

#include "base/compat.h"
#include "base/thread.h"
#include "config/codec.h"

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
	FDS_MAX = 1 << 20,     /* closing more would take too long */
	CANCEL_MS = 50,	       /* blocks the event loop */
	STOP_MS = 1000,	       /* at the end of the process */
	POLL_MS = 100,
	ORDERS = STDERR_FILENO + 1, /* the descriptors of the loader process */
	ANSWERS,
};

/* The loader process and the parser. */

/* Let the end of PARENT kill this process. Returns false if PARENT has ended already. */
static bool end_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	return getppid() == parent;
}

static _Noreturn void run_parser(char *file, const struct service_schema *service, pid_t parent)
{
	struct errors e = {0};
	FILE *out = end_with(parent) ? fdopen(ANSWERS, "w") : NULL;
	if (!out)
		_exit(EXIT_FAILURE);
	struct config *c = config_parse(file, service, &e);
	config_encode(c, &e, out);
	config_unref(c); /* free everything: valgrind would report leaks */
	errors_clear(&e);
	_exit(ferror(out) || fclose(out) ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* Keep the standard descriptors, ORDERS and ANSWERS: sockets and locks of the daemon must not stay
 * open here after the daemon has closed them. */
static bool close_other_descriptors(int request_fd, int answer_fd)
{
	/* ANSWERS may be the number of ORDERS. */
	int spare = fcntl(answer_fd, F_DUPFD, ANSWERS + 1);
	if (spare < 0 || dup2(request_fd, ORDERS) < 0 || dup2(spare, ANSWERS) < 0)
		return false;
	/* Not closefrom(3): without close_range(2) and without /proc it aborts. */
	long end = sysconf(_SC_OPEN_MAX);
	if (close_range(ANSWERS + 1, ~0U, 0) < 0)
		for (int fd = ANSWERS + 1; fd < FDS_MAX && fd < end; fd++)
			close(fd);
	return true;
}

/*
 * Change both names of this process, so that pgrep(1), which matches the first, and pidof(1), which
 * matches the second, find the daemon only.
 *
 * The second one is the area of the command line arguments, which begins at argv[0]. If its last
 * byte is not NUL, the kernel shows it up to the first NUL: fs/proc/base.c get_mm_proctitle().
 */
static void change_name(void)
{
	static const char title[] = "skeld: configuration loader";
	char *area = program_invocation_name, buffer[4096];
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	size_t size = 0;
	/* If ld.so(8) was executed with the program as its argument, its name comes first. */
	for (ssize_t n = 0; fd >= 0 && (n = read(fd, buffer, sizeof(buffer))) > 0 &&
			    (size || strncmp(buffer, area, (size_t)n) == 0);)
		size += (size_t)n;
	if (fd >= 0)
		close(fd);
	prctl(PR_SET_NAME, "config-loader");
	if (size == 0)
		return;
	memset(area, '\0', size);
	strncpy(area, size >= sizeof(title) ? title : "loader", size - 1);
	if (strlen(area) + 1 < size)
		area[size - 1] = '.';
}

/* Returns the status of wait(2); or -errno if it is lost, because SIGCHLD is ignored. */
static int wait_for(pid_t pid)
{
	int status = 0;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status;
}

/* Signals are blocked: those for the process group or the unit are meant for the daemon. */
static _Noreturn void run_loader(const struct loader *l, pid_t parent, int request_fd,
				 int answer_fd)
{
	char order, *file = strdupa(l->file); /* change_name() overwrites the arguments */
	setpgid(0, 0);			      /* see reap_group() */
	signal(SIGCHLD, SIG_DFL);
	thread_defer(); /* the parser, too */
	change_name();
	if (!close_other_descriptors(request_fd, answer_fd) || !end_with(parent))
		_exit(EXIT_FAILURE);
	pid_t self = getpid();
	for (ssize_t n = 1; n > 0 && recv(ORDERS, &order, 1, 0) == 1;) {
		pid_t pid = fork();
		if (pid == 0)
			run_parser(file, l->service, self);
		int status = pid < 0 ? -errno : wait_for(pid);
		n = send(ORDERS, &status, sizeof(status), MSG_NOSIGNAL);
	}
	_exit(EXIT_SUCCESS);
}

/* The daemon. */

static _Thread_local bool is_forking; /* stays true in the loader and in its parsers */

bool loader_is_forking(void)
{
	return is_forking;
}

static pid_t fork_loader(const struct loader *l, int request_fd, int answer_fd)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	is_forking = true;
	pid_t self = getpid(), pid = fork();
	if (pid == 0)
		run_loader(l, self, request_fd, answer_fd);
	int error = errno;
	is_forking = false;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = error;
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
	int request_fd[2] = {-1, -1}, answer_fd[2] = {-1, -1};
	bool good = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, request_fd) == 0 &&
		    pipe2(answer_fd, O_CLOEXEC) == 0 &&
		    fcntl(answer_fd[0], F_SETFL, O_NONBLOCK) == 0 &&
		    (l->pid = fork_loader(l, request_fd[1], answer_fd[1])) > 0;
	if (!good) {
		errors_add(e, l->file, 0, "cannot start the configuration loader: %s",
			   strerror(errno));
		close_pair(request_fd);
		close_pair(answer_fd);
		l->pid = 0;
		return -1;
	}
	close(request_fd[1]);
	close(answer_fd[1]);
	setpgid(l->pid, l->pid); /* here and in the loader: either may run first */
	l->group = l->pid;
	l->is_reaped = false;
	l->request_fd = request_fd[0];
	l->answer_fd = answer_fd[0];
	return 0;
}

/*
 * Wait up to MS milliseconds for the loader and its parser to end. A parser may outlive a killed
 * loader, for as long as a file system blocks it. If this process inherits orphans (PID 1 of a
 * container), it must wait for the parser, too. Returns false if one is still there.
 */
static bool reap_group(const struct loader *l, int ms)
{
	for (;;) {
		pid_t pid = l->group ? waitpid(-l->group, NULL, WNOHANG) : -1;
		if (pid < 0)
			return true;
		if (pid == 0 && ms-- <= 0)
			return false;
		if (pid == 0)
			poll(NULL, 0, 1);
	}
}

static bool has_ended(const struct loader *l)
{
	return l->is_reaped || waitpid(l->pid, NULL, WNOHANG) != 0;
}

void loader_reaped(struct loader *l, pid_t pid)
{
	l->is_reaped = l->is_reaped || pid == l->pid;
}

static void disconnect(struct loader *l)
{
	close(l->request_fd);
	close(l->answer_fd);
	l->pid = 0;
}

static void free_answer(struct loader *l)
{
	free(l->text);
	l->text = NULL;
	l->room = l->length = 0;
	l->busy = false;
}

static void stop(struct loader *l, int ms)
{
	/* Kill only a child that has not been waited for: its pid cannot have been reused. */
	if (l->pid && !has_ended(l))
		kill(l->pid, SIGKILL);
	if (l->pid)
		disconnect(l);
	free_answer(l);
	reap_group(l, ms);
}

void loader_cancel(struct loader *l)
{
	stop(l, CANCEL_MS);
}

void loader_stop(struct loader *l)
{
	stop(l, STOP_MS);
}

static void report_failure(struct loader *l, struct errors *e)
{
	if (l->error == ETIME)
		errors_add(e, l->file, 0,
			   "configuration not read within %g s: the file system may be hung",
			   l->timeout_seconds);
	else
		errors_add(e, l->file, 0, "the configuration loader does not answer: %s",
			   strerror(l->error));
	loader_cancel(l);
}

int loader_request(struct loader *l, struct errors *e)
{
	l->conclusive = false;
	if (l->pid && has_ended(l))
		disconnect(l);
	if (!l->pid && !reap_group(l, CANCEL_MS)) {
		errors_add(e, l->file, 0,
			   "the previous configuration loader has not ended: the file system may "
			   "be hung");
		return -1;
	}
	if (!l->pid && loader_start(l, e) < 0)
		return -1;
	l->busy = true;
	l->limit = time_limit_begin(l->timeout_seconds);
	l->error = send(l->request_fd, "", 1, MSG_NOSIGNAL) == 1 ? 0 : errno;
	if (l->error)
		report_failure(l, e);
	return l->error ? -1 : 0;
}

/* Read what the pipe holds. Returns 0, or errno if there will be no answer. */
static int read_answer(struct loader *l)
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
		ssize_t n = read(l->answer_fd, l->text + l->length, l->room - l->length);
		if (n > 0)
			l->length += (size_t)n;
		else if (n == 0)
			return EPIPE; /* the loader has ended; a running one keeps the pipe open */
		else if (errno != EINTR)
			return errno == EAGAIN ? 0 : errno;
	}
}

/* Returns 0 if the parser has ended, EAGAIN if not, or errno if the status is lost. */
static int read_status(struct loader *l)
{
	ssize_t n = recv(l->request_fd, &l->status, sizeof(l->status), MSG_DONTWAIT);
	if (n == sizeof(l->status))
		return 0;
	if (n >= 0)
		return EPIPE;
	return errno == EINTR ? EAGAIN : errno;
}

bool loader_poll(struct loader *l)
{
	if (l->error)
		return true;
	/* In this order: once the parser has ended, the pipe holds the rest of the answer. */
	int ended = read_status(l), answer = read_answer(l);
	bool late = time_limit_is_over(&l->limit);
	l->error = answer ? answer : ended != EAGAIN ? ended : late ? ETIME : 0;
	return l->error || ended == 0;
}

/* Returns false, with an error, if the parser did not exit with status 0. */
static bool check_status(int status, const char *file, struct errors *e)
{
	if (status < 0)
		errors_add(e, file, 0, "cannot start the parser: %s", strerror(-status));
	else if (WIFSIGNALED(status))
		errors_add(e, file, 0, "parser killed by signal %d (%s): memory may be short",
			   WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		errors_add(e, file, 0, "parser exited with status %d: memory may be short",
			   WEXITSTATUS(status));
	return status == 0;
}

struct config *loader_result(struct loader *l, struct errors *e)
{
	struct config *c = NULL;
	bool complete = false;
	if (l->error)
		report_failure(l, e);
	else if (check_status(l->status, l->file, e) &&
		 !(complete = config_decode(l->text, l->length, l->service, &c, e)))
		errors_add(e, l->file, 0, "incomplete answer from the parser: memory may be short");
	l->conclusive = complete && !e->transient;
	free_answer(l);
	return c;
}

struct config *loader_load(struct loader *l, struct errors *e)
{
	if (loader_request(l, e) < 0)
		return NULL;
	while (!loader_poll(l)) {
		struct pollfd p[] = {{.fd = l->answer_fd, .events = POLLIN},
				     {.fd = l->request_fd, .events = POLLIN}};
		if (poll(p, 2, POLL_MS) < 0 && errno != EINTR)
			l->error = errno;
	}
	return loader_result(l, e);
}
