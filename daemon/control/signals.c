#include "control/signals.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/daemon.h"

#include <string.h>

struct action {
	const char *does; /* for the log, after the sender */
	void (*run)(struct daemon *d);
};

static void toggle_debug(struct daemon *d)
{
	int level = config_log_level(d->current->config);
	bool off = log_level() == LOG_DEBUG && level != LOG_DEBUG;
	log_set_level(off ? level : LOG_DEBUG);
	log_always(off			? "debug logging is off"
		   : level == LOG_DEBUG ? "debug logging stays on, as configured"
					: "debug logging is on, until it is toggled or a reload");
}

static const struct action reload = {"reload the configuration", reload_begin};
static const struct action reload_later = {"reload once more after this one", reload_again};
static const struct action dump = {"dump stats", report_stats};
static const struct action debug = {"toggle debug logging", toggle_debug};
static const struct action drain = {"drain and stop", stop_begin};
static const struct action stop = {"stop now", stop_now};
static const struct action go_on = {"the daemon is stopping", NULL};
static const struct action ignore = {"ignored, the daemon is stopping", NULL};

/* clang-format off */
/* What every signal does in every state. Those that come before the loop runs wait for it. */
static const struct {
	int signal;
	const char *name;
	const struct action *in[N_STATES];
} table[N_SIGNALS] = {
	/*                     STARTING  RUNNING  RELOADING    LAME_DUCK  DRAINING  STOPPED  */
	{SIGHUP, "SIGHUP",   {&ignore, &reload, &reload_later, &ignore, &ignore, &ignore}},
	{SIGUSR1, "SIGUSR1", {&ignore, &dump,   &dump,         &dump,   &dump,   &ignore}},
	{SIGUSR2, "SIGUSR2", {&ignore, &debug,  &debug,        &debug,  &debug,  &ignore}},
	{SIGINT, "SIGINT",   {&ignore, &drain,  &drain,        &stop,   &stop,   &ignore}},
	{SIGTERM, "SIGTERM", {&ignore, &drain,  &drain,        &stop,   &stop,   &ignore}},
	{SIGQUIT, "SIGQUIT", {&ignore, &stop,   &stop,         &stop,   &stop,   &ignore}},
	/* SIGPIPE and SIGXFSZ are ignored: a peer that is gone and a file that may not grow are
	 * errors of write(2). */
};
/* clang-format on */

static sigset_t handled_set(void)
{
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < N_SIGNALS; i++)
		sigaddset(&set, table[i].signal);
	return set;
}

static void dispatch(struct daemon *d, const struct arrival *a)
{
	size_t i = 0;
	while (table[i].signal != a->signal)
		i++;
	const struct action *action = table[i].in[d->state];
	/* What is queued, sigqueue(3), does not insist: of several `-s stop` none cuts off who the
	 * first one waits for. */
	if (a->code == SI_QUEUE && action == &stop && table[i].in[RUNNING] == &drain)
		action = &go_on;
	struct handled *h = &d->signals.last[d->signals.n_last++ % REMEMBERED];
	double waited = (double)(now_ns() - a->at) / 1e9;
	char times[32] = "";
	*h = (struct handled){table[i].name, action->does, a->count,
			      clock_seconds(CLOCK_REALTIME) - waited, ""};
	sender_describe(a, &d->signals.sender, h->sender);
	if (a->count > 1)
		snprintf(times, sizeof(times), " (%llu times)", (unsigned long long)a->count);
	log_notice("%s%s from %s: %s", h->signal, times, h->sender, h->does);
	d->signals.handled[i]++;
	d->signals.coalesced[i] += a->count - 1;
	histogram_add(&d->signals.latency, waited);
	if (action->run)
		action->run(d);
	if (d->hooks && d->hooks->handled)
		d->hooks->handled(d->hooks->context, d, a);
}

static void tell_taken(const struct arrival batch[], size_t n)
{
	unsigned long long all = 0;
	for (size_t i = 0; i < n; i++)
		all += batch[i].count;
	if (n)
		log_debug("woken by signals: %llu arrived, taken as %zu", all, n);
}

static void handle_arrivals(struct daemon *d)
{
	struct arrival batch[RELAY_BATCH];
	size_t n = relay_take(batch);
	tell_taken(batch, n);
	for (size_t i = 0; i < n; i++)
		dispatch(d, &batch[i]);
}

/* Called by libevent for whichever signal woke it; the relay knows all that came, in order. */
static void on_signals(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	handle_arrivals(arg);
	relay_resume();
}

/*
 * libevent does not say when the byte that wakes its loop could not be written (a pipe takes
 * memory), and the relay hands it no other before that one was seen: this loses no signal, too.
 */
void signals_look(struct daemon *d)
{
	if (relay_waits())
		on_signals(-1, 0, d);
}

void signals_block(void)
{
	sigset_t set = handled_set();
	/* Also what is ignored from the next line on: one that came between the two would kill. */
	sigaddset(&set, SIGPIPE);
	sigaddset(&set, SIGXFSZ);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGCHLD, SIG_DFL); /* or children could not be waited for, see base/load.c */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

int signals_start(struct daemon *d)
{
	sigset_t set = handled_set(), none;
	for (size_t i = 0; i < N_SIGNALS; i++) {
		struct event *e = evsignal_new(d->base, table[i].signal, on_signals, d);
		d->signals.event[i] = e;
		if (!e || event_add(e, NULL) < 0 || relay_install(table[i].signal, &set) < 0)
			return -1;
	}
	/* Set, not unblock: whoever started us may have left others blocked. */
	sigemptyset(&none);
	return pthread_sigmask(SIG_SETMASK, &none, NULL);
}

void signals_close(struct daemon *d)
{
	signals_block();
	handle_arrivals(d);
}

void signals_tell_late(void)
{
	sigset_t late;
	sigpending(&late);
	for (size_t i = 0; i < N_SIGNALS; i++)
		if (sigismember(&late, table[i].signal))
			log_notice("%s: too late, the daemon has stopped", table[i].name);
}

void signals_stop(struct daemon *d)
{
	for (size_t i = 0; i < N_SIGNALS; i++)
		if (d->signals.event[i])
			event_free(d->signals.event[i]);
	relay_reset();
}

/* Metrics. */

static double received(const struct family *f, unsigned i)
{
	(void)f;
	return (double)relay_received(table[i].signal);
}

static double handled(const struct family *f, unsigned i)
{
	return (double)((const struct signals *)f->context)->handled[i];
}

static double coalesced(const struct family *f, unsigned i)
{
	return (double)((const struct signals *)f->context)->coalesced[i];
}

void signals_register(struct daemon *d, struct stats *s)
{
	static const struct metric rows[] = {
		{"skeld_signals_received_total", METRIC_COUNTER, "Signals delivered", "signals",
		 "received"},
		{"skeld_signals_handled_total", METRIC_COUNTER, "Signals acted upon", "signals",
		 "handled"},
		{"skeld_signals_coalesced_total", METRIC_COUNTER,
		 "Signals that one of the same kind before them was handled for", "signals",
		 "coalesced"},
		{"skeld_signal_latency_seconds", METRIC_HISTOGRAM,
		 "Time from a signal's arrival to its handler", "signals", "latency"}};
	static const char *names[N_SIGNALS];
	for (size_t i = 0; i < N_SIGNALS; i++)
		names[i] = table[i].name;
	double (*const values[])(const struct family *, unsigned) = {received, handled, coalesced};
	for (size_t i = 0; i < 3; i++)
		stats_add(s, &(struct family){&rows[i], "signal", names, N_SIGNALS,
					      .value = values[i], .context = &d->signals});
	stats_add(s, &(struct family){&rows[3], .n = 1, .histogram = &d->signals.latency});
}

const char *signal_name(int signal)
{
	for (size_t i = 0; i < N_SIGNALS; i++)
		if (table[i].signal == signal)
			return table[i].name;
	return "?";
}

int signals_at(unsigned i)
{
	return table[i].signal;
}
