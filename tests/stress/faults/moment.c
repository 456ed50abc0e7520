#include "moment.h"

#include "observe.h"
#include "trace.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IN_SYSCALL = SIGTRAP | 0x80 };

const char *const phase_names[N_PHASES] = {"loading", "start", "reload", "dump", "drain", "stop"};

const int moment_begins[N_PHASES] = {0, 0, SIGHUP, SIGUSR1, SIGINT, SIGQUIT};

bool moment_too_late;

static void be_traced(void)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static int end(int status)
{
	read_notices(); /* otherwise they would be attributed to the next daemon */
	close(daemon_pidfd);
	daemon_pid = 0;
	daemon_pidfd = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Continue until the next stop. Returns false if the process has ended. */
static bool go_on(int deliver, int *status)
{
	int64_t until = deadline();
	pid_t pid;
	if (deliver >= 0)
		ptrace(PTRACE_SYSCALL, daemon_pid, NULL, (void *)(intptr_t)deliver);
	while ((pid = waitpid(daemon_pid, status, __WALL | WNOHANG)) == 0) {
		if (is_past(until))
			fail_test("the traced process does not stop");
		sched_yield();
	}
	MUST(pid == daemon_pid);
	return WIFSTOPPED(*status);
}

/* The phase is over when the thread waits for events and the final datagram of the phase has
 * arrived. */
static bool is_over(enum phase phase, long call)
{
	read_notices();
	if (!is_wait_for_events(call) || phase == DRAIN || phase == STOP)
		return false;
	if (phase == DUMP)
		return runtime_file_exists("stats.prom");
	return notices.size && strstr(notices.bytes + noticed, "READY=1");
}

static void begin(enum phase phase)
{
	int status = 0;
	if (phase <= START) {
		daemon_prepare = be_traced;
		daemon_spawn();
		daemon_prepare = NULL;
		MUST(go_on(-1, &status)); /* exec */
		MUST(ptrace(PTRACE_SETOPTIONS, daemon_pid, NULL, (void *)PTRACE_O_TRACESYSGOOD) ==
		     0);
		return;
	}
	read_notices();
	noticed = notices.size;
	MUST(ptrace(PTRACE_SEIZE, daemon_pid, NULL, (void *)PTRACE_O_TRACESYSGOOD) == 0);
	MUST(ptrace(PTRACE_INTERRUPT, daemon_pid, NULL, NULL) == 0);
	MUST(go_on(-1, &status));
	daemon_signal(moment_begins[phase]);
}

/* Count from the first system call of main(), which blocks the signals. */
static bool is_main(const struct __ptrace_syscall_info *info)
{
	if (info->op != PTRACE_SYSCALL_INFO_EXIT)
		return false;
	sigset_t blocked;
	sigemptyset(&blocked);
	return ptrace(PTRACE_GETSIGMASK, daemon_pid, (void *)8, &blocked) == 0 &&
	       sigismember(&blocked, SIGHUP) == 1;
}

int moment_walk(enum phase phase, int stop, int signo, int *code)
{
	struct __ptrace_syscall_info info;
	int stops = 0, deliver = 0, status = 0;
	bool counts = phase != START, looks = false;
	moment_too_late = false;
	begin(phase);
	while (stops < stop) {
		if (!go_on(deliver, &status)) {
			*code = end(status);
			return stops;
		}
		int why = status >> 8;
		deliver = why == IN_SYSCALL || why >> 8 ? 0 : why;
		if (why != IN_SYSCALL)
			continue;
		MUST(ptrace(PTRACE_GET_SYSCALL_INFO, daemon_pid, (void *)sizeof(info), &info) > 0);
		long call = info.op == PTRACE_SYSCALL_INFO_ENTRY ? (long)info.entry.nr : -1;
		counts = counts || is_main(&info);
		if (!counts)
			continue;
		stops++;
		moment_too_late = looks;
		looks = looks || call == SYS_rt_sigpending;
		if (is_over(phase, call))
			break;
	}
	if (stops == stop)
		daemon_signal(signo);
	if (ptrace(PTRACE_DETACH, daemon_pid, NULL, NULL) < 0 && signo != SIGKILL)
		fail_test("cannot detach: %s", strerror(errno));
	return stops;
}
