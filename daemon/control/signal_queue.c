#include "control/signal_queue.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>
#include <ucontext.h>

/* Global, because a signal handler has no argument. */
static struct {
	struct signal_arrival arrivals[SIGNAL_QUEUE_SIZE];
	volatile size_t n;
	volatile sig_atomic_t woken; /* libevent's handler was called for the queued arrivals */
	uint64_t received[NSIG];
	unsigned in_turn[NSIG]; /* deliveries since signal_queue_resume() */
	bool merges[NSIG];	/* see signal_queue_install() */
	struct sigaction libevents[NSIG];
	sigset_t handled;
} queue;

static void on_signal(int signal, siginfo_t *info, void *context)
{
	int saved = errno;
	struct signal_arrival *last = queue.n ? &queue.arrivals[queue.n - 1] : NULL;
	queue.received[signal]++;
	if (last && last->signal == signal && last->pid == info->si_pid && queue.merges[signal])
		last->count++;
	else if (queue.n < SIGNAL_QUEUE_SIZE) /* always true, see SIGNAL_QUEUE_SIZE */
		queue.arrivals[queue.n++] = (struct signal_arrival){.signal = signal,
								    .code = info->si_code,
								    .pid = info->si_pid,
								    .uid = info->si_uid,
								    .count = 1,
								    .at = now_ns()};
	if (!queue.woken) {
		queue.woken = 1;
		queue.libevents[signal].sa_handler(signal);
	}
	/* The kernel restores this mask when the handler returns, sigreturn(2). */
	if (++queue.in_turn[signal] >= MAX_PER_TURN)
		sigaddset(&((ucontext_t *)context)->uc_sigmask, signal);
	errno = saved;
}

int signal_queue_install(int signal, const sigset_t *handled, bool merges)
{
	queue.handled = *handled;
	queue.merges[signal] = merges;
	if (sigaction(signal, NULL, &queue.libevents[signal]) < 0)
		return -1;
	struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_RESTART, .sa_mask = *handled};
	ours.sa_sigaction = on_signal;
	return sigaction(signal, &ours, NULL);
}

size_t signal_queue_take(struct signal_arrival batch[SIGNAL_QUEUE_SIZE])
{
	sigset_t before;
	pthread_sigmask(SIG_BLOCK, &queue.handled, &before);
	size_t n = queue.n;
	memcpy(batch, queue.arrivals, n * sizeof(*batch));
	queue.n = 0;
	queue.woken = 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return n;
}

void signal_queue_resume(void)
{
	memset(queue.in_turn, 0, sizeof(queue.in_turn));
	/* Unblock all: the handler may block another signal after any look at the counts. */
	pthread_sigmask(SIG_UNBLOCK, &queue.handled, NULL);
}

bool signal_queue_pending(void)
{
	return queue.n > 0;
}

uint64_t signal_queue_received(int signal)
{
	return queue.received[signal];
}

void signal_queue_reset(void)
{
	memset(&queue, 0, sizeof(queue));
}
