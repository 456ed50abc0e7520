/*
 * Sends signals at every machine instruction of the signal queue, of libevent around it and of
 * control/signals.c: from the handler of a first signal until the loop waits again. Each run is a
 * new process, which runs to one instruction, gets its signals there, and has to end normally.
 *
 *   queue_steps [--first]    prints TAP; --first: ends soon after a failure
 */
#include "oracle.h"
#include "step.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { A = 5000001, B = 5000002 }; /* senders: pids that no process has */
enum { SENDS_MAX = 4, STEPS_MAX = 1 << 16, CLOCK_SIZE = 8192, STRIDE = 32, SHOWN_MAX = 20 };

/* The handler of this signal runs first. */
static const struct note first = {SIGUSR1, A};

/* The signals sent at the instruction; 0 ends a row. Each is sent once the one before is delivered.
 */
static const struct variant {
	const char *name;
	struct note send[SENDS_MAX];
	bool together; /* all at once: the kernel delivers the lowest number first */
} variants[] = {
	{"the same kind", {{SIGUSR1, A}}, false},
	{"the same kind from another sender", {{SIGUSR1, B}}, false},
	{"another kind", {{SIGHUP, A}}, false},
	{"both at once", {{SIGUSR1, A}, {SIGHUP, A}}, true},
	{"three in a row", {{SIGHUP, A}, {SIGUSR1, A}, {SIGHUP, A}}, false},
};
enum { N_VARIANTS = sizeof(variants) / sizeof(*variants) };

enum place { WAIT, CALLBACK, RESUME, TAKEN }; /* in the loop; TAKEN: after signal_queue_take() */
enum { PREFILL_MAX = 2 * MAX_PER_TURN };

static struct scenario {
	const char *name;
	size_t prefill;	     /* signals in the queue, of two kinds in turn */
	enum place from;     /* the first signal comes here */
	enum place to;	     /* the others come at each instruction up to here */
	struct point *point; /* the instructions, in order */
	size_t n, runs, bad, missed;
} scenarios[] = {
	{"the loop waits, the queue is empty", 0, WAIT, WAIT, NULL, 0, 0, 0, 0},
	{"the queue holds 2", 2, CALLBACK, WAIT, NULL, 0, 0, 0, 0},
	{"the first signal is the last before the limit", 2 * (MAX_PER_TURN - 1), CALLBACK, TAKEN,
	 NULL, 0, 0, 0, 0},
	{"two more until the limit, before a resume", 2 * (MAX_PER_TURN - 2), RESUME, WAIT, NULL, 0,
	 0, 0, 0},
	{"one more until the limit, before a resume", 2 * (MAX_PER_TURN - 1), RESUME, WAIT, NULL, 0,
	 0, 0, 0},
};
enum { N_SCENARIOS = sizeof(scenarios) / sizeof(*scenarios) };

static struct tally *shared;
static struct point seen[STEPS_MAX];

static void prefill(struct note *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (struct note){i % 2 ? SIGHUP : SIGUSR1, A};
}

static void deliver(struct note note, pid_t pid)
{
	send_as(pid, note.signal, note.sender);
}

static void note_delivery(int signal, pid_t pid)
{
	siginfo_t info;
	if (ptrace(PTRACE_GETSIGINFO, pid, NULL, &info) < 0)
		bail_out("PTRACE_GETSIGINFO");
	if (signal == SIGALRM || shared->n_delivered == NOTES_MAX)
		return;
	shared->batches_before[shared->n_delivered] = shared->n_batches;
	shared->delivered[shared->n_delivered++] = (struct note){signal, info.si_pid};
}

/* Start a subject, and stop it at the delivery of the first signal. */
static pid_t begin(const struct scenario *s)
{
	struct note before[PREFILL_MAX];
	int status;
	/* The notes need no clearing. */
	memset(shared, 0, offsetof(struct tally, delivered));
	memset(shared->received, 0, sizeof(*shared) - offsetof(struct tally, received));
	shared->due = s->prefill + 2;
	prefill(before, s->prefill);
	pid_t pid = fork();
	if (pid == 0)
		subject_run(shared, before, s->prefill);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status >> 8 != SIGSTOP)
		bail_out("the subject did not start");
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL,
		   (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) < 0)
		bail_out("PTRACE_SETOPTIONS");
	uintptr_t place = s->from == RESUME ? (uintptr_t)signal_queue_resume : shared->callback;
	if (s->from == WAIT)
		step_to_wait(pid);
	else if (!step_to(pid, (struct point){place, 0}, 0, &status))
		bail_out("the callback was not called");
	deliver(first, pid);
	if (step_resume(pid, PTRACE_CONT, 0) >> 8 != first.signal)
		bail_out("the first signal was not delivered");
	note_delivery(first.signal, pid);
	return pid;
}

/* End the subject. STATUS is its last wait status. */
static void end(pid_t pid, int status)
{
	if (WIFSTOPPED(status))
		kill(pid, SIGKILL);
	while (WIFSTOPPED(status) && waitpid(pid, &status, 0) == pid)
		;
}

/* Is PC in the vDSO, vdso(7)? Its clock repeats a read that the kernel has interrupted. */
static bool is_clock(uintptr_t pc)
{
	return pc - getauxval(AT_SYSINFO_EHDR) < CLOCK_SIZE;
}

/* The step of the present clock call that was at PC before; STEPS if there is none. */
static size_t read_before(uintptr_t pc, size_t steps)
{
	for (size_t i = steps; is_clock(pc) && i-- && is_clock(seen[i].pc);)
		if (seen[i].pc == pc)
			return i;
	return steps;
}

/* Step through the scenario once. Two steps of a repeated string instruction are enough. */
static void record(struct scenario *s)
{
	pid_t pid = begin(s);
	size_t steps = 0;
	int signal = first.signal, status = 0;
	for (bool taken = s->from == RESUME; !taken || (s->to == WAIT && !step_at_wait(pid));) {
		status = step_resume(pid, PTRACE_SINGLESTEP, signal);
		if (status >> 8 != SIGTRAP) {
			printf("# %s: the subject ended while it was stepped: wait status 0x%x\n",
			       s->name, (unsigned)status);
			s->bad++;
			break;
		}
		signal = 0;
		struct point at = {step_pc(pid), 0};
		taken = taken || at.pc == subject_taken();
		steps = read_before(at.pc, steps);
		for (size_t i = 0; i < steps; i++)
			at.times += seen[i].pc == at.pc;
		if (steps == STEPS_MAX)
			bail_out("too many instructions");
		seen[steps++] = at;
	}
	end(pid, status);
	s->point = malloc(steps * sizeof(*s->point));
	if (!s->point)
		bail_out("malloc");
	for (size_t i = 0; i < steps; i++)
		if (i < 2 || seen[i].pc != seen[i - 1].pc || seen[i].pc != seen[i - 2].pc)
			s->point[s->n++] = seen[i];
}

/* The deliveries that the kernel has to make, in order. */
static size_t expect(const struct scenario *s, const struct variant *v, struct note *out)
{
	size_t n = s->prefill;
	prefill(out, n);
	out[n++] = first;
	for (size_t i = 0; i < SENDS_MAX && v->send[i].signal; i++) {
		size_t at = n++;
		for (; v->together && i && out[at - 1].signal > v->send[i].signal && at > n - 1 - i;
		     at--)
			out[at] = out[at - 1];
		out[at] = v->send[i];
	}
	return n;
}

static const char not_reached[] = "the instruction was not reached";

/* Returns NULL, or a description of the failure. */
static const char *run(const struct scenario *s, const struct variant *v, struct point at)
{
	static char wrong[64];
	struct note expected[PREFILL_MAX + 1 + SENDS_MAX];
	int status, signal = 0;
	pid_t pid = begin(s);
	size_t n = expect(s, v, expected), sent = 0;
	if (!step_to(pid, at, first.signal, &status)) {
		end(pid, status);
		return not_reached;
	}
	shared->due = n;
	do
		deliver(v->send[sent], pid), sent++;
	while (v->together && sent < SENDS_MAX && v->send[sent].signal);
	while (status = step_resume(pid, PTRACE_CONT, signal), WIFSTOPPED(status)) {
		signal = WSTOPSIG(status);
		note_delivery(signal, pid);
		if (sent < SENDS_MAX && v->send[sent].signal)
			deliver(v->send[sent], pid), sent++;
	}
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		return "the loop was not woken although signals are in the queue";
	if (status == 0)
		return oracle(shared, expected, n);
	snprintf(wrong, sizeof(wrong), "the process ended with wait status 0x%x", (unsigned)status);
	return wrong;
}

static void show_failure(const struct scenario *s, const struct variant *v, struct point at,
			 const char *why)
{
	Dl_info info = {.dli_fname = "the kernel"};
	bool known = dladdr((void *)at.pc, &info) && info.dli_sname;
	const char *slash = strrchr(info.dli_fname, '/');
	const char *in = known ? info.dli_sname : slash ? slash + 1 : info.dli_fname;
	uintptr_t from = (uintptr_t)(known ? info.dli_saddr : info.dli_fbase);
	printf("# %s, %s at %s+0x%zx: %s\n", s->name, v->name, in, at.pc - from, why);
}

/* Run all variants at one instruction. */
static void run_at(struct scenario *s, struct point at, bool first_only, size_t most)
{
	for (size_t k = 0; k < N_VARIANTS && s->bad < most; k++) {
		const char *why = run(s, &variants[k], at);
		/* The clock takes another path when a second ends. A mutant is not detected by
		 * code that is elsewhere. */
		if (why == not_reached && (first_only || is_clock(at.pc))) {
			s->missed++;
			return;
		}
		s->runs++;
		if (why) {
			s->bad++;
			show_failure(s, &variants[k], at, why);
		}
	}
}

/* Every STRIDE-th instruction, then those between: most failures show early. */
static void find_one_failure(void)
{
	size_t bad = 0;
	for (size_t i = 0; i < N_SCENARIOS; i++)
		bad += scenarios[i].bad;
	for (size_t from = 0; from < STRIDE; from++)
		for (size_t i = 0; !bad && i < N_SCENARIOS; i++) {
			struct scenario *s = &scenarios[i];
			for (size_t k = from; k < s->n; k += STRIDE)
				run_at(s, s->point[k], true, 1);
			bad += s->bad;
		}
}

int main(int argc, char *argv[])
{
	size_t instructions = 0, runs = 0, bad = 0;
	cpu_set_t here;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!step_possible()) {
		printf("ok 1 - signals at every instruction # SKIP no ptrace here\n"
		       "1..1\n");
		return 0;
	}
	/* Tracer and subject take turns: one processor is faster. */
	CPU_ZERO(&here);
	CPU_SET((size_t)sched_getcpu(), &here);
	sched_setaffinity(0, sizeof(here), &here);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		bail_out("mmap");
	for (size_t i = 0; i < N_SCENARIOS; i++)
		record(&scenarios[i]);
	bool only_first = argc > 1 && strcmp(argv[1], "--first") == 0;
	if (only_first)
		find_one_failure();
	for (size_t i = 0; i < N_SCENARIOS; i++) {
		struct scenario *s = &scenarios[i];
		for (size_t k = 0; !only_first && k < s->n; k++)
			run_at(s, s->point[k], false, SHOWN_MAX);
		printf("%sok %zu - %s: %zu instructions, %zu runs\n", s->bad ? "not " : "", i + 1,
		       s->name, s->n, s->runs);
		if (s->bad)
			printf("# %zu runs failed%s\n", s->bad,
			       s->bad < SHOWN_MAX ? "" : ", the rest was not run");
		if (s->missed)
			printf("# %zu instructions were not reached in a later run\n", s->missed);
		instructions += s->n - s->missed, runs += s->runs, bad += s->bad;
		free(s->point);
	}
	printf("# total: %zu instructions, %zu runs\n1..%d\n", instructions, runs, N_SCENARIOS);
	return bad != 0;
}
