#include "step.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IN_SYSCALL = SIGTRAP | 0x80, INT3 = 0xcc, SYSCALL = 0x050f };

void bail_out(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(2);
}

bool step_possible(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1);
	int status = 1;
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int step_resume(pid_t pid, enum __ptrace_request request, int signal)
{
	int status;
	if (ptrace(request, pid, NULL, (void *)(intptr_t)signal) < 0)
		bail_out("ptrace");
	if (waitpid(pid, &status, 0) != pid)
		bail_out("waitpid");
	return status;
}

static struct user_regs_struct registers(pid_t pid)
{
	struct user_regs_struct r;
	if (ptrace(PTRACE_GETREGS, pid, NULL, &r) < 0)
		bail_out("PTRACE_GETREGS");
	return r;
}

static long peek(pid_t pid, uintptr_t at)
{
	errno = 0;
	long word = ptrace(PTRACE_PEEKTEXT, pid, (void *)at, NULL);
	if (errno)
		bail_out("PTRACE_PEEKTEXT");
	return word;
}

static void poke(pid_t pid, uintptr_t at, long word)
{
	if (ptrace(PTRACE_POKETEXT, pid, (void *)at, (void *)word) < 0)
		bail_out("PTRACE_POKETEXT");
}

static bool waits(unsigned long long call)
{
	return call == SYS_epoll_wait || call == SYS_epoll_pwait;
}

uintptr_t step_pc(pid_t pid)
{
	return registers(pid).rip;
}

bool step_at_wait(pid_t pid)
{
	struct user_regs_struct r = registers(pid);
	return waits(r.rax) && (peek(pid, r.rip) & 0xffff) == SYSCALL;
}

void step_to_wait(pid_t pid)
{
	do
		if (step_resume(pid, PTRACE_SYSCALL, 0) >> 8 != IN_SYSCALL)
			bail_out("the subject did not begin to wait");
	while (!waits(registers(pid).orig_rax));
}

bool step_to(pid_t pid, struct point to, int signal, int *status)
{
	long word = peek(pid, to.pc), trap = (word & ~0xffL) | INT3;
	for (unsigned i = 0;; i++) {
		poke(pid, to.pc, trap);
		*status = step_resume(pid, PTRACE_CONT, signal);
		signal = 0;
		if (!WIFSTOPPED(*status))
			return false;
		poke(pid, to.pc, word);
		struct user_regs_struct r = registers(pid);
		if (*status >> 8 != SIGTRAP || r.rip != to.pc + 1)
			return false;
		r.rip = to.pc;
		if (ptrace(PTRACE_SETREGS, pid, NULL, &r) < 0)
			bail_out("PTRACE_SETREGS");
		if (i == to.times)
			return true;
		*status = step_resume(pid, PTRACE_SINGLESTEP, 0);
		if (*status >> 8 != SIGTRAP)
			return false;
	}
}
