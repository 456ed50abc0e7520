#include "control/daemon.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/reserve.h"
#include "control/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

const char *const state_names[N_STATES] = {"starting",	"running",  "reloading",
					   "lame_duck", "draining", "stopped"};

void daemon_set_state(struct daemon *d, enum state s)
{
	char first[64] = "";
	log_debug("state: %s -> %s", state_names[d->state], state_names[s]);
	d->state = s;
	if (s == RELOADING) /* with its time in the same datagram, sd_notify(3) */
		snprintf(first, sizeof(first), "RELOADING=1\nMONOTONIC_USEC=%lld\n",
			 (long long)(now_ns() / 1000));
	else if (s == RUNNING)
		snprintf(first, sizeof(first), "READY=1\n");
	report_status(d, first);
	if (d->hooks && d->hooks->changed)
		d->hooks->changed(d->hooks->context, d);
}

void daemon_set_timer(struct daemon *d, struct event *e, long long seconds)
{
	event_base_update_cache_time(d->base);
	event_add(e, &(struct timeval){.tv_sec = seconds});
}

void daemon_leave(struct daemon *d, int exit_code)
{
	d->exit_code = exit_code;
	daemon_set_state(d, STOPPED);
	event_base_loopbreak(d->base);
}

struct config *daemon_adjust(struct daemon *d, struct config *c)
{
	if (c && d->hooks && d->hooks->adjust)
		d->hooks->adjust(d->hooks->context, c);
	return c;
}

struct log_target *daemon_open_log(const struct config *c, struct errors *e)
{
	char why[512];
	struct log_target *t =
		log_open((enum log_kind)c->log.target, c->log.file, why, sizeof(why));
	if (!t)
		errors_add(e, c->log.place.file, c->log.place.line, "%s", why);
	return t;
}

static void tell_listener(const struct listener *l, bool on)
{
	char address[ADDRESS_TEXT_MAX];
	address_show(&l->actual, address);
	if (!on && l->keeper == KEEPER_UNIT) /* it stays open */
		log_warning("no listen section asks for %s, passed as %s: nobody answers there",
			    address, l->title);
	else
		log_info("%slistening on %s (%s)", on ? "" : "no longer ", address, l->title);
}

void daemon_log_listeners(const struct snapshot *new, const struct snapshot *old)
{
	for (size_t i = 0; old && i < old->n_listeners; i++)
		if (!snapshot_has(new, old->listener[i]))
			tell_listener(old->listener[i], false);
	for (size_t i = 0; i < new->n_listeners; i++)
		if (!old || !snapshot_has(old, new->listener[i]))
			tell_listener(new->listener[i], true);
}

static void on_news(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	eventfd_t n;
	(void)what;
	eventfd_read(fd, &n);
	reload_news(d);
	stop_news(d);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	(void)fd;
	(void)what;
	if (watch_workers(d) && d->watchdog > 0)
		notify_send(&d->notify, "WATCHDOG=1");
	report_again(d);
	report_connections(d);
	admin_listen(d->admin, d->current->admin);
	admin_tick(d->admin);
	notify_retry(&d->notify);
	signals_look(d);
}

static void tell_errors(struct errors *e)
{
	for (size_t i = 0; i < errors_shown(e); i++)
		log_error("%s", errors_text(e, i));
	errors_clear(e);
}

/* Also to who has started it, and may look nowhere else. */
static void tell_not_started(const struct daemon *d, struct errors *e)
{
	do {
		for (size_t i = 0; i < errors_shown(e); i++)
			log_error("%s", errors_text(e, i));
		log_error("not started, exit %d", d->exit_code);
	} while (log_fall_back());
	errors_clear(e);
}

static unsigned count_cpus(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
	return n > WORKERS_MAX ? WORKERS_MAX : (unsigned)n;
}

/* What can fail for lack of memory or descriptors alone. */
static bool make_events(struct daemon *d)
{
	/* Once a second; with a watchdog, often enough that half its interval is never missed. */
	double seconds = d->watchdog > 0 && d->watchdog < 4 ? d->watchdog / 4 : 1;
	struct timeval tick = {(time_t)seconds,
			       (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
	d->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->base = loop_new(NULL);
	if (d->news_fd < 0 || !d->base)
		return false;
	d->news = event_new(d->base, d->news_fd, EV_READ | EV_PERSIST, on_news, d);
	d->tick = event_new(d->base, -1, EV_PERSIST, on_tick, d);
	d->deadline = evtimer_new(d->base, stop_deadline, d);
	d->reloads.overdue = evtimer_new(d->base, reload_overdue, d);
	bool answers = true;
	for (size_t i = 0; i < N_ANSWERS; i++)
		answers = (d->reloads.answer[i] = event_new(d->base, -1, 0, NULL, NULL)) && answers;
	d->admin = admin_new(d);
	return d->news && d->tick && d->deadline && d->reloads.overdue && answers && d->admin &&
	       event_add(d->news, NULL) == 0 && event_add(d->tick, &tick) == 0;
}

/* Everything that may fail, in order; finish() undoes as much of it as was done. */
static int start(struct daemon *d, struct errors *e)
{
	struct config *c = daemon_adjust(d, loader_load(&d->loader, e));
	if (!c) /* what says nothing about the file may be another time */
		return d->loader.judged ? EX_CONFIG : EXIT_FAILURE;
	struct log_target *log = daemon_open_log(c, e);
	if (log) {
		log_use(log);
		log_set_level(config_log_level(c));
	}
	log_notice("skeld " SKELD_VERSION " starts: pid %d, configuration %s, runtime directory %s",
		   (int)getpid(), d->options->config, d->options->runtime_dir);
	unsigned n = c->workers ? (unsigned)c->workers : count_cpus();
	size_t connections = privileges_raise_nofile(c, n); /* the listeners need some, too */
	if (!log || runtime_open(&d->runtime, d->options->runtime_dir, e) < 0 ||
	    !(d->current = snapshot_new(c, NULL, &d->passed, &d->retired, n, e))) {
		config_unref(c);
		return EXIT_FAILURE;
	}
	d->current->connections = connections;
	if (*c->user || *c->group)
		loader_end(&d->loader); /* it is root's, the next one will be the user's */
	if (privileges_drop(d->current, &d->runtime, e) < 0 ||
	    (!d->loader.pid && loader_start(&d->loader, e) < 0))
		return EXIT_FAILURE;
	if (faccessat(AT_FDCWD, d->options->config, R_OK, AT_EACCESS) < 0)
		log_warning("%s: a reload cannot read it as user \"%s\", group \"%s\": %s",
			    d->options->config, c->user, c->group, strerror(errno));
	d->named = calloc(n, sizeof(*d->named));
	if (!d->named || !make_events(d)) {
		errors_add(e, NULL, 0, "cannot make the event loop: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	sockets_keep(&d->notify, d->current, NULL);
	d->plane = plane_new(d->its, n, d->news_fd, e);
	if (!d->plane || plane_start(d->plane, d->current, e) < 0)
		return EXIT_FAILURE;
	privileges_prefer_this_thread();
	daemon_log_listeners(d->current, NULL);
	sockets_sort(&d->passed, d->current, &d->notify);
	report_init(d);
	admin_listen(d->admin, d->current->admin);
	if (signals_start(d) < 0) {
		errors_add(e, NULL, 0, "cannot handle signals: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	return runtime_announce(&d->runtime, e) < 0 ? EXIT_FAILURE : 0;
}

/* Stop the workers. False: one is stuck, and what it uses must stay. */
static bool end_workers(struct daemon *d)
{
	unsigned first = 0;
	if (!d->plane)
		return true;
	plane_close(d->plane);
	unsigned stuck = plane_join(d->plane, JOIN_SECONDS, &first);
	if (!stuck)
		return true;
	log_error("%u worker%s (the first is %u) did not end: stuck in a callback; the process "
		  "ends without waiting for it",
		  stuck, stuck == 1 ? "" : "s", first);
	d->exit_code = EXIT_FAILURE;
	return false;
}

static void free_events(struct daemon *d)
{
	struct event *events[] = {d->news,
				  d->tick,
				  d->deadline,
				  d->reloads.overdue,
				  d->reloads.answer[0],
				  d->reloads.answer[1]};
	for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++)
		if (events[i])
			event_free(events[i]);
	if (d->base)
		event_base_free(d->base);
	if (d->news_fd >= 0)
		close(d->news_fd);
}

/* Undo start(), in reverse; once, and after the loop. */
static void finish(struct daemon *d)
{
	bool started = d->state != STARTING;
	if (d->current) /* also after a failed start: a unix socket leaves no file behind */
		for (size_t i = 0; i < d->current->n_listeners; i++)
			listener_retire(d->current->listener[i]);
	admin_free(d->admin);
	bool ended = end_workers(d);
	signals_close(d);
	if (d->hooks && d->hooks->ends)
		d->hooks->ends(d->hooks->context, d);
	if (started)
		stats_log(&d->stats);
	signals_stop(d);
	if (ended) {
		plane_free(d->plane);
		snapshot_unref(d->current);
		free_events(d);
	}
	listeners_clear(&d->passed);
	listeners_clear(&d->retired);
	loader_end(&d->loader);
	runtime_close(&d->runtime);
	notify_close(&d->notify);
	free(d->reloads.error);
	free(d->named);
	signals_tell_late();
	if (started)
		log_notice("stopped after %lld s, exit %d",
			   (long long)((now_ns() - d->began) / 1000000000), d->exit_code);
	log_use(NULL);
	if (!ended)
		_exit(d->exit_code); /* exit(3) would pull the ground from under the stuck ones */
}

static void on_libevent_message(int severity, const char *message)
{
	static const int levels[] = {LOG_DEBUG, LOG_DEBUG, LOG_WARNING, LOG_ERR};
	log_line(levels[severity & 3], "libevent: %s", message);
}

/* libevent would exit(1) after it; nobody may be called any more. */
static void on_libevent_death(int error)
{
	log_error("libevent cannot go on (%d): the process ends", error);
	_exit(EXIT_FAILURE);
}

int daemon_run(const struct options *o, const struct service *its, const struct hooks *hooks)
{
	struct daemon d = {.options = o,
			   .its = its,
			   .hooks = hooks,
			   .schema = {its->name, its->options, its->config_size},
			   .loader = {o->config, &d.schema, .seconds = LOAD_SECONDS},
			   .started = time(NULL),
			   .began = now_ns(),
			   .news_fd = -1,
			   .runtime = {.dir = -1, .pid = -1}};
	struct errors e = {0};
	event_set_mem_functions(reserve_malloc, reserve_realloc, reserve_free);
	event_set_log_callback(on_libevent_message);
	event_set_fatal_callback(on_libevent_death);
	d.reloads.last_good = d.started;
	/* Before anything of ours is open: what is not there could be said to be passed. */
	sockets_take(&d.passed, &e);
	tell_errors(&e);
	notify_open(&d.notify);
	d.watchdog = notify_watchdog();
	d.exit_code = start(&d, &e);
	if (d.exit_code != 0) {
		tell_not_started(&d, &e);
	} else {
		daemon_set_state(&d, RUNNING);
		log_notice("ready: generation 1, %u worker%s, started in %.1f ms",
			   plane_workers(d.plane), plane_workers(d.plane) == 1 ? "" : "s",
			   (double)(now_ns() - d.began) / 1e6);
		if (hooks && hooks->ready)
			hooks->ready(hooks->context, &d);
		event_base_dispatch(d.base);
		if (d.state != STOPPED)
			stop_failed(&d, "the event loop");
	}
	finish(&d);
	return d.exit_code;
}
