#include "control/relay.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

/* A handler has no argument: this is one of the two things that may be global. */
static struct {
	struct arrival ring[RELAY_RING];
	struct arrival late[NSIG]; /* what found the ring full, by signal */
	int late_order[NSIG];	   /* and in which order the kinds first did */
	volatile size_t n, n_late;
	volatile sig_atomic_t woken; /* libevent's byte is under way */
	uint64_t received[NSIG];
	unsigned since[NSIG]; /* the last relay_resume() */
	struct sigaction libevents[NSIG];
	sigset_t handled;
} relay;

static void on_signal(int signal, siginfo_t *info, void *context)
{
	int saved = errno;
	relay.received[signal]++;
	struct arrival *last = relay.n ? &relay.ring[relay.n - 1] : NULL;
	struct arrival *late = &relay.late[signal];
	struct arrival new = {.signal = signal,
			      .code = info->si_code,
			      .pid = info->si_pid,
			      .uid = info->si_uid,
			      .count = 1,
			      .at = now_ns()};
	if (late->count) {
		late->count++;
	} else if (!relay.n_late && last && last->signal == signal && last->pid == new.pid) {
		last->count++;
	} else if (!relay.n_late && relay.n < RELAY_RING) {
		relay.ring[relay.n++] = new;
	} else {
		*late = new;
		relay.late_order[relay.n_late++] = signal;
	}
	if (!relay.woken) {
		relay.woken = 1;
		relay.libevents[signal].sa_handler(signal);
	}
	/* In the mask that is in force when the handler has returned. What this process sends
	 * itself comes no faster than it goes on. */
	if (++relay.since[signal] >= RELAY_MOST && new.pid != getpid())
		sigaddset(&((ucontext_t *)context)->uc_sigmask, signal);
	errno = saved;
}

int relay_install(int signal, const sigset_t *handled)
{
	relay.handled = *handled;
	if (sigaction(signal, NULL, &relay.libevents[signal]) < 0)
		return -1;
	struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_RESTART, .sa_mask = *handled};
	ours.sa_sigaction = on_signal;
	return sigaction(signal, &ours, NULL);
}

size_t relay_take(struct arrival batch[RELAY_BATCH])
{
	sigset_t before;
	pthread_sigmask(SIG_BLOCK, &relay.handled, &before);
	size_t n = relay.n;
	memcpy(batch, relay.ring, n * sizeof(*batch));
	for (size_t i = 0; i < relay.n_late; i++) {
		batch[n++] = relay.late[relay.late_order[i]];
		relay.late[relay.late_order[i]].count = 0;
	}
	relay.n = relay.n_late = 0;
	relay.woken = 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return n;
}

void relay_resume(void)
{
	memset(relay.since, 0, sizeof(relay.since));
	/* All: what a look at the counts would name is not what is held back a moment later. */
	pthread_sigmask(SIG_UNBLOCK, &relay.handled, NULL);
}

bool relay_waits(void)
{
	return relay.n > 0;
}

uint64_t relay_received(int signal)
{
	return relay.received[signal];
}

void relay_reset(void)
{
	memset(&relay, 0, sizeof(relay));
}
