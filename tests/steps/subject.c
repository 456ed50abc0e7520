#include "subject.h"

#include "base/log.h"
#include "control/daemon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static struct {
	struct account *account;
	const struct note *prefill;
	size_t n;
	struct daemon daemon;
	size_t total;
} subject;

/* What signals.c calls: the signal is noted by the hook, nothing is done. */
void log_line(int level, const char *format, ...)
{
	(void)level, (void)format;
}
void log_always(const char *format, ...)
{
	(void)format;
}
int log_level(void)
{
	return LOG_INFO;
}
void log_set_level(int level)
{
	(void)level;
}
int config_log_level(const struct config *c)
{
	(void)c;
	return LOG_INFO;
}
void sender_describe(const struct arrival *a, struct sender_cache *cache, char out[SENDER_MAX])
{
	(void)a, (void)cache;
	out[0] = '\0';
}
void histogram_add(struct histogram *h, double seconds)
{
	(void)h, (void)seconds;
}
bool stats_add(struct stats *s, const struct family *f)
{
	(void)s, (void)f;
	return true;
}
void reload_begin(struct daemon *d)
{
	(void)d;
}
void reload_again(struct daemon *d)
{
	(void)d;
}
void report_stats(struct daemon *d)
{
	(void)d;
}
void stop_begin(struct daemon *d)
{
	(void)d;
}
void stop_now(struct daemon *d)
{
	(void)d;
}

static void on_handled(void *context, struct daemon *d, const struct arrival *a)
{
	struct account *o = context;
	if (o->n_handled < NOTES_MAX)
		o->handled[o->n_handled++] = *a;
	subject.total += a->count;
	if (subject.total >= o->due)
		event_base_loopbreak(d->base);
}

/* The linker puts this in front of the relay's: the batches are noted. */
size_t __wrap_relay_take(struct arrival batch[RELAY_BATCH]);
size_t __real_relay_take(struct arrival batch[RELAY_BATCH]);

static void __attribute__((noinline)) note_batch(size_t n)
{
	struct account *o = subject.account;
	if (o->n_batches < BATCHES_MAX)
		o->batch[o->n_batches] = n;
	o->n_batches++;
}

size_t __wrap_relay_take(struct arrival batch[RELAY_BATCH])
{
	size_t n = __real_relay_take(batch);
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
	struct account *o = subject.account;
	struct hooks hooks = {.handled = on_handled, .context = o};
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
		if (sent.sender == OWN)
			sent.sender = getpid();
		o->delivered[o->n_delivered++] = sent;
		send_as(getpid(), sent.signal, sent.sender);
	}
	alarm(ALARM_SECONDS);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(2);
	raise(SIGSTOP);
	event_base_dispatch(d->base);
	/* Nothing may be left: a wake-up too many would find an empty ring. */
	event_base_loop(d->base, EVLOOP_NONBLOCK);
	pthread_sigmask(SIG_BLOCK, NULL, &is);
	o->mask_is_empty = sigisemptyset(&is);
	for (unsigned i = 0; i < N_SIGNALS; i++) {
		int signal = signals_at(i);
		o->received[signal] = relay_received(signal);
		o->acted[signal] = d->signals.handled[i];
		o->coalesced[signal] = d->signals.coalesced[i];
	}
	_exit(0);
}

_Noreturn void subject_run(struct account *o, const struct note *prefill, size_t n)
{
	/* How long a copy onto the stack takes depends on where that begins: always here. */
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
