#include "control/signals.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/reload.h"
#include "control/report.h"
#include "control/shutdown.h"
#include "control/signal_queue.h"
#include "control/state.h"

#include <pthread.h>

struct action {
	const char *text; /* logged after the sender */
	void (*run)(struct daemon *d);
	const struct action *if_queued; /* instead, for a signal sent with sigqueue(3) */
	const struct action *if_hangup; /* instead, if the controlling terminal is gone */
};

static void toggle_debug(struct daemon *d)
{
	int level = config_log_level(d->current->config);
	bool off = log_level() == LOG_DEBUG && level != LOG_DEBUG;
	log_set_level(off ? level : LOG_DEBUG);
	log_always(off			? "debug logging off"
		   : level == LOG_DEBUG ? "debug logging stays on: log.level = \"debug\""
					: "debug logging on: until SIGUSR2 or a reload");
}

static void reopen_log(struct daemon *d)
{
	(void)d;
	log_reopen();
}

static const struct action drain = {"drain and stop", .run = shutdown_begin};
static const struct action reload = {"reload the configuration", reload_begin, .if_hangup = &drain};
static const struct action queue = {"queue one more reload", reload_queue, .if_hangup = &drain};
static const struct action reopen = {"reopen the log file", .run = reopen_log};
static const struct action dump = {"dump statistics", .run = report_dump};
static const struct action debug = {"toggle debug logging", .run = toggle_debug};
static const struct action stop = {"stop now", .run = shutdown_now};
static const struct action ignore = {"ignored, already stopping", .run = NULL};
static const struct action outlive = {"ignored, started by nohup(1)", .run = NULL};

/* `skeld -s stop` queues its signal: several of these commands wait for the same drain. */
static const struct action force = {"stop now", shutdown_now, .if_queued = &ignore};

/* clang-format off */
/* The action for each signal in each state. Until the loop runs, signals wait in the queue. */
static const struct {
	const char *name;
	int signal;
	bool merges; /* several in a row from one sender act once */
	const struct action *in[N_STATES];
} table[N_SIGNALS] = {
	/*                           STARTING  RUNNING  RELOADING LAME_DUCK  DRAINING  STOPPED  */
	{"SIGHUP", SIGHUP, true,    {&ignore, &reload, &queue,   &reopen,   &reopen,  &ignore}},
	{"SIGUSR1", SIGUSR1, true,  {&ignore, &dump,   &dump,    &dump,     &dump,    &ignore}},
	{"SIGUSR2", SIGUSR2, false, {&ignore, &debug,  &debug,   &debug,    &debug,   &ignore}},
	{"SIGINT", SIGINT, false,   {&ignore, &drain,  &drain,   &force,    &force,   &ignore}},
	{"SIGTERM", SIGTERM, false, {&ignore, &drain,  &drain,   &force,    &force,   &ignore}},
	{"SIGQUIT", SIGQUIT, false, {&ignore, &stop,   &stop,    &stop,     &stop,    &ignore}},
};
/* clang-format on */

/* write(2) then returns EPIPE or EFBIG, and works in the background of a terminal. */
static const int ignored[] = {SIGPIPE, SIGXFSZ, SIGTTOU};
enum { N_IGNORED = sizeof(ignored) / sizeof(*ignored) };

_Static_assert((int)N_SIGNALS <= QUEUED_SIGNALS_MAX, "the signal queue has room for all of them");

static sigset_t handled_set(void)
{
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < N_SIGNALS; i++)
		sigaddset(&set, table[i].signal);
	return set;
}

static const struct action *find_action(const struct daemon *d, const struct signal_arrival *a)
{
	size_t i = 0;
	while (table[i].signal != a->signal)
		i++;
	const struct action *action = table[i].in[d->state];
	/* Only the kernel sends SIGHUP with this code: tty_vhangup(9) and the end of a session. */
	if (a->code == SI_KERNEL && action->if_hangup)
		return d->signals.ignores_hangup ? &outlive : action->if_hangup;
	return a->code == SI_QUEUE && action->if_queued ? action->if_queued : action;
}

static void dispatch(struct daemon *d, const struct signal_arrival *a)
{
	struct signals *s = &d->signals;
	const struct action *action = find_action(d, a);
	struct handled_signal *h = &s->recent[s->n_recent++ % RECENT_SIGNALS];
	double waited = (double)(now_ns() - a->at) / 1e9;
	char times[32] = "";
	*h = (struct handled_signal){signal_name(a->signal), action->text, a->count,
				     clock_seconds(CLOCK_REALTIME) - waited, ""};
	sender_describe(a, &s->sender, h->sender);
	if (a->count > 1)
		snprintf(times, sizeof(times), " (%llu times)", (unsigned long long)a->count);
	log_about(LOG_NOTICE,
		  &(struct log_about){.event = "signal",
				      .field = {LOG_TEXT("signal", h->name),
						LOG_NUMBER("count", (long long)a->count),
						LOG_TEXT("sender", h->sender),
						LOG_TEXT("action", h->action)}},
		  "%s%s from %s: %s", h->name, times, h->sender, h->action);
	s->handled[a->signal]++;
	s->coalesced[a->signal] += a->count - 1;
	histogram_add(&s->latency, waited);
	if (action->run)
		action->run(d);
	if (d->hooks && d->hooks->signal_handled)
		d->hooks->signal_handled(d->hooks->context, d, a);
}

static void log_batch(const struct signal_arrival batch[], size_t n)
{
	unsigned long long received = 0;
	for (size_t i = 0; i < n; i++)
		received += batch[i].count;
	if (n)
		log_debug("signals taken: received=%llu entries=%zu", received, n);
}

static void handle_arrivals(struct daemon *d)
{
	struct signal_arrival batch[SIGNAL_QUEUE_SIZE];
	size_t n = signal_queue_take(batch);
	log_batch(batch, n);
	for (size_t i = 0; i < n; i++)
		dispatch(d, &batch[i]);
}

/* libevent passes the signal that woke the loop; the queue has all signals, in order. */
static void on_signals(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	handle_arrivals(arg);
	signal_queue_resume();
}

void signals_check(struct daemon *d)
{
	if (signal_queue_pending())
		on_signals(-1, 0, d);
}

void signals_block(void)
{
	sigset_t set = handled_set();
	/* Also those that are about to be ignored: until then they would end or stop the process.
	 */
	for (size_t i = 0; i < N_IGNORED; i++)
		sigaddset(&set, ignored[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGCHLD, SIG_DFL); /* if it were ignored, waitpid(2) would find no children */
	for (size_t i = 0; i < N_IGNORED; i++)
		signal(ignored[i], SIG_IGN);
}

/*
 * In the child of a fork(2) by the service: the program that it executes must not inherit blocked
 * and ignored signals, else no one can end it with kill(1). The child must not run the queue's
 * handler either: it shares libevent's pipe with the daemon. The configuration loader sets its own
 * signals.
 */
static void reset_in_child(void)
{
	sigset_t none;
	if (loader_is_forking())
		return;
	for (size_t i = 0; i < N_SIGNALS; i++)
		signal(table[i].signal, SIG_DFL);
	for (size_t i = 0; i < N_IGNORED; i++)
		signal(ignored[i], SIG_DFL);
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
}

int signals_protect_children(void)
{
	return pthread_atfork(NULL, NULL, reset_in_child);
}

int signals_start(struct daemon *d)
{
	sigset_t set = handled_set(), none;
	struct sigaction inherited;
	d->signals.ignores_hangup =
		sigaction(SIGHUP, NULL, &inherited) == 0 && inherited.sa_handler == SIG_IGN;
	for (size_t i = 0; i < N_SIGNALS; i++) {
		/* At the end libevent restores this. SIG_IGN, inherited from nohup(1) or a shell,
		 * would discard a pending signal, which signals_log_late() could not log. */
		signal(table[i].signal, SIG_DFL);
		struct event *e = evsignal_new(d->base, table[i].signal, on_signals, d);
		d->signals.event[i] = e;
		if (!e || event_add(e, NULL) < 0 ||
		    signal_queue_install(table[i].signal, &set, table[i].merges) < 0)
			return -1;
	}
	/* An empty mask: the parent process may have left other signals blocked. */
	sigemptyset(&none);
	return pthread_sigmask(SIG_SETMASK, &none, NULL);
}

uint64_t signals_stops_received(void)
{
	return signal_queue_received(SIGINT) + signal_queue_received(SIGTERM) +
	       signal_queue_received(SIGQUIT);
}

void signals_close(struct daemon *d)
{
	signals_block();
	handle_arrivals(d);
}

void signals_stop(struct daemon *d)
{
	for (size_t i = 0; i < N_SIGNALS; i++)
		if (d->signals.event[i])
			event_free(d->signals.event[i]);
	signal_queue_reset();
}

void signals_log_late(void)
{
	sigset_t late;
	sigpending(&late);
	for (size_t i = 0; i < N_SIGNALS; i++)
		if (sigismember(&late, table[i].signal))
			log_about(LOG_NOTICE,
				  &(struct log_about){.event = "signal_ignored",
						      .field = {LOG_TEXT("signal", table[i].name)}},
				  "%s ignored: the daemon has stopped", table[i].name);
}

/* Metrics. I is a row of the table. */

static double received(const struct metric_family *f, unsigned i)
{
	(void)f;
	return (double)signal_queue_received(table[i].signal);
}

static double handled(const struct metric_family *f, unsigned i)
{
	return (double)((const struct signals *)f->context)->handled[table[i].signal];
}

static double coalesced(const struct metric_family *f, unsigned i)
{
	return (double)((const struct signals *)f->context)->coalesced[table[i].signal];
}

static void latency(const struct metric_family *f, struct histogram *h)
{
	*h = ((const struct signals *)f->context)->latency;
}

void signals_register_metrics(struct daemon *d, struct registry *r)
{
	static const struct service_metric rows[] = {
		{"skeld_signals_received_total", METRIC_COUNTER, "Signals delivered", "signals",
		 "received"},
		{"skeld_signals_handled_total", METRIC_COUNTER, "Signals handled", "signals",
		 "handled"},
		{"skeld_signals_coalesced_total", METRIC_COUNTER,
		 "Signals merged into an earlier one of the same kind", "signals", "coalesced"},
		{"skeld_signal_latency_seconds", METRIC_HISTOGRAM,
		 "Time from a signal's arrival to its handler", "signals", "latency"}};
	static const char *names[N_SIGNALS];
	for (size_t i = 0; i < N_SIGNALS; i++)
		names[i] = table[i].name;
	double (*const values[])(const struct metric_family *, unsigned) = {received, handled,
									    coalesced};
	for (size_t i = 0; i < 3; i++)
		registry_add(r,
			     &(struct metric_family){&rows[i], "signal", names, N_SIGNALS,
						     .value = values[i], .context = &d->signals});
	registry_add(r, &(struct metric_family){&rows[3], .n = 1, .histogram = latency,
						.context = &d->signals});
}

const char *signal_name(int signal)
{
	for (size_t i = 0; i < N_SIGNALS; i++)
		if (table[i].signal == signal)
			return table[i].name;
	return "?";
}
