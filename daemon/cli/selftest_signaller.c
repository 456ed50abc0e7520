#include "cli/selftest_signaller.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct order {
	int kind[2];
	unsigned times;
};

/* Runs in a child of a process with threads: async-signal-safe calls only. */
static _Noreturn void run(pid_t daemon, int fd)
{
	struct order o;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(fd, &o, sizeof(o)) == sizeof(o)) {
		for (unsigned i = 0; i < o.times; i++) {
			kill(daemon, o.kind[i / SIGNALLER_ROW % 2]);
			sched_yield(); /* on one processor: else the kernel merges all of them */
		}
		if (write(fd, "", 1) != 1)
			break;
	}
	_exit(0);
}

bool signaller_start(struct signaller *s)
{
	pid_t daemon = getpid();
	int fd[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) < 0)
		return false;
	pid_t pid = fork(); /* signals_protect_children(): it does not run the daemon's handlers */
	if (pid == 0) {
		close(fd[0]); /* else it would not notice the end of the daemon */
		run(daemon, fd[1]);
	}
	close(fd[1]);
	if (pid < 0)
		close(fd[0]);
	else
		*s = (struct signaller){pid, fd[0]};
	return pid > 0;
}

void signaller_send(const struct signaller *s, int first, int second, unsigned times)
{
	const struct order o = {{first, second}, times};
	send(s->fd, &o, sizeof(o), MSG_NOSIGNAL); /* a failure shows: the signals do not arrive */
}

void signaller_wait(const struct signaller *s)
{
	char byte;
	/* The kernel delivers what is pending before this call returns. */
	while (read(s->fd, &byte, 1) < 0 && errno == EINTR)
		;
}

void signaller_stop(struct signaller *s)
{
	if (!s->pid)
		return;
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	close(s->fd);
	s->pid = 0;
}
