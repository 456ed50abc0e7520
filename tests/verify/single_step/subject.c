#include "subject.h"

#include "base/log.h"
#include "control/reload.h"
#include "control/report.h"
#include "control/shutdown.h"
#include "control/signal_queue.h"
#include "control/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static struct {
	struct tally *account;
	const struct note *prefill;
	size_t n;
	struct daemon daemon;
	size_t total;
} subject;

/* Stubs of the functions that signals.c calls. The hook records the signals. */
void log_line(int level, const char *format, ...)
{
	(void)level, (void)format;
}
void log_always(const char *format, ...)
{
	(void)format;
}
void log_about(int level, const struct log_about *about, const char *format, ...)
{
	(void)level, (void)about, (void)format;
}
int log_level(void)
{
	return LOG_INFO;
}
void log_set_level(int level)
{
	(void)level;
}
void log_reopen(void)
{
}
bool loader_is_forking(void)
{
	return false;
}
int config_log_level(const struct config *c)
{
	(void)c;
	return LOG_INFO;
}
void sender_describe(const struct signal_arrival *a, struct sender_cache *cache,
		     char out[SENDER_MAX])
{
	(void)a, (void)cache;
	out[0] = '\0';
}
void histogram_add(struct histogram *h, double seconds)
{
	(void)h, (void)seconds;
}
bool registry_add(struct registry *s, const struct metric_family *f)
{
	(void)s, (void)f;
	return true;
}
void reload_begin(struct daemon *d)
{
	(void)d;
}
void reload_queue(struct daemon *d)
{
	(void)d;
}
void report_dump(struct daemon *d)
{
	(void)d;
}
void shutdown_begin(struct daemon *d)
{
	(void)d;
}
void shutdown_now(struct daemon *d)
{
	(void)d;
}

static void on_handled(void *context, struct daemon *d, const struct signal_arrival *a)
{
	struct tally *o = context;
	if (o->n_handled < NOTES_MAX)
		o->handled[o->n_handled++] = *a;
	subject.total += a->count;
	if (subject.total >= o->due)
		event_base_loopbreak(d->base);
}

/* The linker wraps signal_queue_take(), to record the size of each batch. */
size_t __wrap_signal_queue_take(struct signal_arrival batch[SIGNAL_QUEUE_SIZE]);
size_t __real_signal_queue_take(struct signal_arrival batch[SIGNAL_QUEUE_SIZE]);

static void __attribute__((noinline)) note_batch(size_t n)
{
	struct tally *o = subject.account;
	if (o->n_batches < BATCHES_MAX)
		o->batch[o->n_batches] = n;
	o->n_batches++;
}

size_t __wrap_signal_queue_take(struct signal_arrival batch[SIGNAL_QUEUE_SIZE])
{
	size_t n = __real_signal_queue_take(batch);
	note_batch(n);
	return n;
}

void send_as(pid_t pid, int signal, pid_t sender)
{
	siginfo_t info = {.si_signo = signal, .si_code = SI_QUEUE};
	info.si_pid = sender;
	info.si_uid = getuid();
	if (syscall(SYS_rt_sigqueueinfo, pid, signal, &info) < 0) {
		printf("Bail out! rt_sigqueueinfo: %s\n", strerror(errno));
		exit(2);
	}
}

uintptr_t subject_taken(void)
{
	return (uintptr_t)note_batch;
}

static void run(void)
{
	struct tally *o = subject.account;
	struct daemon_hooks hooks = {.signal_handled = on_handled, .context = o};
	struct snapshot snapshot = {0};
	struct daemon *d = &subject.daemon;
	sigset_t is;
	*d = (struct daemon){.state = RUNNING, .hooks = &hooks, .current = &snapshot};
	d->base = event_base_new();
	signals_block();
	if (!d->base || signals_start(d) < 0)
		_exit(2);
	o->callback = (uintptr_t)event_get_callback(d->signals.event[0]);
	for (size_t i = 0; i < subject.n; i++) {
		struct note sent = subject.prefill[i];
		o->batches_before[o->n_delivered] = 0;
		o->delivered[o->n_delivered++] = sent;
		send_as(getpid(), sent.signal, sent.sender);
	}
	alarm(ALARM_SECONDS);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(2);
	raise(SIGSTOP);
	event_base_dispatch(d->base);
	/* Another wake-up would find an empty queue, which the oracle rejects. */
	event_base_loop(d->base, EVLOOP_NONBLOCK);
	pthread_sigmask(SIG_BLOCK, NULL, &is);
	o->mask_is_empty = sigisemptyset(&is);
	for (int signal = 0; signal < NSIG; signal++) {
		o->received[signal] = signal_queue_received(signal);
		o->acted[signal] = d->signals.handled[signal];
		o->coalesced[signal] = d->signals.coalesced[signal];
	}
	_exit(0);
}

_Noreturn void subject_run(struct tally *o, const struct note *prefill, size_t n)
{
	/* A fixed stack: the number of steps of a copy depends on its alignment. */
	static _Alignas(4096) char stack[1 << 18];
	ucontext_t here;
	subject.account = o;
	subject.prefill = prefill;
	subject.n = n;
	if (getcontext(&here) < 0)
		_exit(2);
	here.uc_stack = (stack_t){.ss_sp = stack, .ss_size = sizeof(stack)};
	makecontext(&here, run, 0);
	setcontext(&here);
	_exit(2);
}
