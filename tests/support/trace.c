#include "trace.h"

#include "observe.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { IN_SYSCALL = SIGTRAP | 0x80 };

bool trace_allowed(void)
{
	if (getenv("SKELD_TEST_WRAP"))
		return false;
	pid_t pid = fork();
	if (pid == 0)
		_exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1);
	int status = 1;
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

bool is_wait_for_events(long call)
{
#ifdef SYS_epoll_wait /* arm64 has only epoll_pwait */
	if (call == SYS_epoll_wait)
		return true;
#endif
	return call == SYS_epoll_pwait;
}

static bool is_signal_return(long call)
{
#ifdef SYS_sigreturn /* of a handler without SA_SIGINFO, on i386 */
	if (call == SYS_sigreturn)
		return true;
#endif
	return call == SYS_rt_sigreturn;
}

/*
 * Continue the process, with a signal if SIGNO is not 0, until it stops. Returns the stop signal.
 */
static int next_stop(int signo, int64_t until)
{
	int status = 0;
	pid_t pid = 0;
	if (signo >= 0)
		MUST(ptrace(PTRACE_SYSCALL, daemon_pid, NULL, (void *)(intptr_t)signo) == 0);
	while ((pid = waitpid(daemon_pid, &status, __WALL | WNOHANG)) == 0) {
		if (is_past(until))
			fail_test("the traced process does not stop");
		sched_yield();
	}
	MUST(pid == daemon_pid);
	if (!WIFSTOPPED(status))
		fail_test("the traced process ended, wait status 0x%x", (unsigned)status);
	return status >> 8;
}

/* The number of the system call at its entry, -1 at its exit. */
static long entered(struct __ptrace_syscall_info *info)
{
	MUST(ptrace(PTRACE_GET_SYSCALL_INFO, daemon_pid, (void *)sizeof(*info), info) > 0);
	return info->op == PTRACE_SYSCALL_INFO_ENTRY ? (long)info->entry.nr : -1;
}

void trace_burst(const int *signals, size_t n)
{
	int64_t until = deadline();
	struct __ptrace_syscall_info info;
	bool in_handler = false;
	size_t sent = 1, arrived = 0;
	MUST(ptrace(PTRACE_SEIZE, daemon_pid, NULL, (void *)PTRACE_O_TRACESYSGOOD) == 0);
	MUST(ptrace(PTRACE_INTERRUPT, daemon_pid, NULL, NULL) == 0);
	next_stop(-1, until);
	daemon_signal(signals[0]);
	for (int deliver = 0;;) {
		int why = next_stop(deliver, until);
		deliver = 0;
		if (why == IN_SYSCALL) {
			long call = entered(&info);
			bool reached = sent == 1 && arrived == 1 && call == SYS_openat;
			bool returns = in_handler && is_signal_return(call);
			if (returns)
				in_handler = false;
			if (returns && arrived == n)
				break;
			if (reached || (returns && sent > 1))
				daemon_signal(signals[sent++]);
		} else if (!(why >> 8)) { /* not a stop made by ptrace */
			deliver = why;
			if (arrived < sent && why == signals[arrived])
				in_handler = ++arrived;
		}
	}
	MUST(ptrace(PTRACE_DETACH, daemon_pid, NULL, NULL) == 0);
}

static void be_traced(void)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static bool blocks_hup(const struct __ptrace_syscall_info *info)
{
	if (info->entry.nr != SYS_rt_sigprocmask || info->entry.args[0] == SIG_UNBLOCK ||
	    !info->entry.args[1])
		return false;
	errno = 0;
	long set =
		ptrace(PTRACE_PEEKDATA, daemon_pid, (void *)(uintptr_t)info->entry.args[1], NULL);
	return errno == 0 && set & 1L << (SIGHUP - 1);
}

int trace_start(int stop)
{
	int64_t until = deadline();
	struct __ptrace_syscall_info info;
	int stops = 0, deliver = 0;
	bool ready = false;
	daemon_prepare = be_traced;
	daemon_spawn();
	daemon_prepare = NULL;
	next_stop(-1, until); /* exec */
	MUST(ptrace(PTRACE_SETOPTIONS, daemon_pid, NULL, (void *)PTRACE_O_TRACESYSGOOD) == 0);
	while (stops < stop) {
		int why = next_stop(deliver, until);
		deliver = why == IN_SYSCALL || why >> 8 ? 0 : why;
		if (why != IN_SYSCALL)
			continue;
		long call = entered(&info);
		if (!stops && (call < 0 || !blocks_hup(&info)))
			continue;
		stops++;
		read_notices();
		ready = ready || (notices.size && strstr(notices.bytes, "READY=1"));
		if (ready && is_wait_for_events(call))
			break;
	}
	if (stops == stop)
		daemon_signal(SIGHUP);
	MUST(ptrace(PTRACE_DETACH, daemon_pid, NULL, NULL) == 0);
	return stops;
}

static pid_t find_worker(unsigned index)
{
	char path[64], name[16];
	pid_t thread = 0;
	snprintf(name, sizeof(name), "%.9s/w%u\n", "skeld", index);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)daemon_pid);
	DIR *tasks = opendir(path);
	MUST(tasks);
	for (struct dirent *d; !thread && (d = readdir(tasks));) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/comm", (int)daemon_pid,
			 d->d_name);
		const char *comm = file_text(path);
		if (comm && strcmp(comm, name) == 0)
			thread = atoi(d->d_name);
	}
	closedir(tasks);
	if (!thread)
		fail_test("no thread %s", name);
	return thread;
}

static int wait_for(pid_t thread)
{
	int status = 0;
	for (int64_t until = deadline(); waitpid(thread, &status, __WALL | WNOHANG) != thread;)
		await_turn(until, "a frozen thread");
	return status;
}

pid_t trace_freeze(unsigned index)
{
	pid_t thread = find_worker(index);
	MUST(ptrace(PTRACE_SEIZE, thread, NULL, NULL) == 0);
	MUST(ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) == 0);
	MUST(WIFSTOPPED(wait_for(thread)));
	return thread;
}

void trace_thaw(pid_t thread)
{
	MUST(ptrace(PTRACE_DETACH, thread, NULL, NULL) == 0);
}

void trace_bury(pid_t thread)
{
	while (WIFSTOPPED(wait_for(thread)))
		;
}
