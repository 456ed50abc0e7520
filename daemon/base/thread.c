#include "base/thread.h"

#include "base/log.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	KEEP_POLICY =
		0x08, /* SCHED_FLAG_KEEP_POLICY of linux/sched.h, which conflicts with sched.h */
	SHORT_SLICE_NS = 100000,
	DEFERRED_NICE =
		10, /* added to the current value; SCHED_IDLE would delay a reload by up to 1 s */
	NICE_MAX = 19
};

/* struct sched_attr, sched_setattr(2): missing in some C libraries. */
struct scheduling {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

int thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
{
	sigset_t all, before;
	sigfillset(&all);
	log_unblock_crash_signals(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits this mask */
	int error = pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error)
		pthread_setname_np(*thread, name);
	return error;
}

static void schedule(struct scheduling s)
{
	s.size = sizeof(s);
	if (s.nice > NICE_MAX)
		s.nice = NICE_MAX;
	syscall(SYS_sched_setattr, 0, &s, 0);
}

void thread_prefer(void)
{
	schedule((struct scheduling){.flags = KEEP_POLICY,
				     .nice = getpriority(PRIO_PROCESS, 0),
				     .runtime = SHORT_SLICE_NS});
}

void thread_defer(void)
{
	schedule((struct scheduling){.policy = SCHED_BATCH,
				     .nice = getpriority(PRIO_PROCESS, 0) + DEFERRED_NICE});
}
