#include "control/daemon.h"

#include "admin/http.h"
#include "base/clock.h"
#include "base/cpus.h"
#include "base/event_loop.h"
#include "base/log.h"
#include "base/thread.h"
#include "config/service_schema.h"
#include "control/health.h"
#include "control/memory.h"
#include "control/privileges.h"
#include "control/reload.h"
#include "control/report.h"
#include "control/shutdown.h"
#include "control/state.h"
#include "control/systemd_sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

static void on_workers(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	eventfd_t n;
	(void)what;
	eventfd_read(fd, &n);
	reload_check(d);
	shutdown_check(d);
}

/*
 * PID 1 of a container inherits the orphans of other processes there, for example of health checks;
 * without a wait they fill the container's limit of processes. __WNOTHREAD leaves out the children
 * of the workers: the service waits for them.
 */
static void reap_orphans(struct daemon *d)
{
	pid_t pid;
	while (getpid() == 1 && (pid = waitpid(-1, NULL, WNOHANG | __WNOTHREAD)) > 0)
		loader_reaped(&d->loader, pid);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	(void)fd;
	(void)what;
	if (health_check(d) && d->watchdog_seconds > 0)
		notify_send(&d->notify, "WATCHDOG=1");
	health_check_socket_files(d);
	report_tick(d);
	notify_retry(&d->notify);
	signals_check(d);
	reap_orphans(d);
}

/* Returns the number of workers, and the reason for it in WHY. */
static unsigned choose_workers(const struct config *c, char *why, size_t size)
{
	struct cpus cpus;
	if (c->workers) {
		snprintf(why, size, "configured");
		return (unsigned)c->workers;
	}
	cpus_count(&cpus);
	int n = snprintf(why, size, "processors=%u", cpus.allowed);
	if (cpus.quota > 0)
		snprintf(why + n, size - (size_t)n, " quota=%.2f", cpus.quota);
	return cpus.usable > WORKERS_MAX ? WORKERS_MAX : cpus.usable;
}

/* Once a second; with a watchdog, four times in its interval, so that half of it is never missed.
 */
static struct timeval tick_interval(const struct daemon *d)
{
	double seconds =
		d->watchdog_seconds > 0 && d->watchdog_seconds < 4 ? d->watchdog_seconds / 4 : 1;
	return (struct timeval){(time_t)seconds,
				(suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
}

/* Fails only for lack of memory or descriptors. */
static bool make_events(struct daemon *d)
{
	struct timeval tick = tick_interval(d);
	bool good = true;
	d->workers_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->base = event_loop_new(NULL);
	if (d->workers_fd < 0 || !d->base)
		return false;
	d->workers_event = event_new(d->base, d->workers_fd, EV_READ | EV_PERSIST, on_workers, d);
	d->tick = event_new(d->base, -1, EV_PERSIST, on_tick, d);
	d->stop_timer = evtimer_new(d->base, shutdown_on_timer, d);
	d->reload.overdue_timer = evtimer_new(d->base, reload_overdue, d);
	for (size_t i = 0; i < N_LOADER_EVENTS; i++) {
		d->reload.loader_events[i] = event_new(d->base, -1, 0, NULL, NULL);
		good = good && d->reload.loader_events[i];
	}
	d->reload.load_event = event_new(d->base, -1, 0, NULL, NULL);
	d->admin = admin_new(d->base,
			     &(struct admin_callbacks){d, report_print_metrics, report_print_status,
						       report_print_json, health_is_ready});
	return good && d->workers_event && d->tick && d->stop_timer && d->reload.overdue_timer &&
	       d->reload.load_event && d->admin && event_add(d->workers_event, NULL) == 0 &&
	       event_add(d->tick, &tick) == 0;
}

/* The steps of a start, in order. Each returns 0, or the exit code with errors in E. finish()
 * undoes the steps that were done. */

static int start_log(struct errors *e)
{
	int error = log_start();
	if (error)
		errors_add(e, NULL, 0, "cannot start the thread that writes the log: %s",
			   strerror(error));
	return error ? EXIT_FAILURE : 0;
}

static int protect_children(struct errors *e)
{
	int error = signals_protect_children();
	if (error)
		errors_add(e, NULL, 0, "cannot install the signal handlers: %s", strerror(error));
	return error ? EXIT_FAILURE : 0;
}

static int open_configuration(struct daemon *d, struct config **config, struct errors *e)
{
	struct config *c = *config = daemon_adjust_config(d, loader_load(&d->loader, e));
	if (!c) /* 78 only if the file itself is bad: anything else may succeed later */
		return d->loader.conclusive ? EX_CONFIG : EXIT_FAILURE;
	struct log_target *log = daemon_open_log(c, e);
	if (log) {
		log_switch(log);
		log_set_level(config_log_level(c));
		log_set_format((enum log_format)c->log.format);
	}
	log_notice("starting: skeld " SKELD_VERSION " pid=%d config=\"%s\" runtime_dir=\"%s\"",
		   (int)getpid(), c->file ? c->file : d->config_file, d->runtime_dir);
	errors_log(&c->warnings, LOG_WARNING, "config_warning");
	return log ? 0 : EXIT_FAILURE;
}

/* Runs before privileges are dropped, often as root. */
static int load_files(struct daemon *d, struct config *c, struct loaded **loaded, struct errors *e)
{
	if (!load_is_needed(d->service, c))
		return 0;
	*loaded = load_wait(&d->load, c, NULL, e);
	if (*loaded)
		return 0;
	return d->load.conclusive ? EX_CONFIG : EXIT_FAILURE;
}

static int open_resources(struct daemon *d, struct config *c, unsigned n_workers, struct errors *e)
{
	size_t connections = privileges_raise_nofile(c, n_workers); /* listeners need some, too */
	struct account owner;
	memory_check(c);
	if (privileges_find_owner(c, &owner, e) == 0 &&
	    runtime_open(&d->runtime, d->runtime_dir, &owner, e) == 0)
		d->current = snapshot_new(c, NULL, &d->passed, &d->retired, n_workers, e);
	if (!d->current)
		return EXIT_FAILURE;
	d->current->connections = connections;
	snapshot_apply_sections(d->current); /* of stored sockets */
	return 0;
}

/* Load the files again as the user, as a reload does. Root can read all of them. */
static void warn_of_unreadable_files(struct daemon *d, struct config *c)
{
	struct errors e = {0};
	config_unref(loader_load(&d->loader, &e));
	for (size_t i = 0; i < errors_stored(&e); i++)
		log_warning(
			"configuration unreadable as user=\"%s\" group=\"%s\": %s; reloads will "
			"be rejected, allow this user to read the file",
			c->user, c->group, errors_text(&e, i));
	errors_clear(&e);
	if (load_is_needed(d->service, c))
		loaded_unref(load_wait(&d->load, c, d->current->tls, &e));
	for (size_t i = 0; i < errors_stored(&e); i++)
		log_warning("files not loaded as user=\"%s\" group=\"%s\": %s; reloads will be "
			    "rejected, allow this group to read the files (mode 0640), or use "
			    "LoadCredential= of systemd",
			    c->user, c->group, errors_text(&e, i));
	errors_clear(&e);
}

static int drop_privileges(struct daemon *d, struct errors *e)
{
	struct config *c = d->current->config;
	if (!*c->user && !*c->group)
		return 0;
	loader_stop(&d->loader); /* it runs as root; the next one will not */
	if (privileges_drop(d->current, &d->runtime, e) < 0 || loader_start(&d->loader, e) < 0)
		return EXIT_FAILURE;
	privileges_warn_of_limits(d->current);
	warn_of_unreadable_files(d, c);
	return 0;
}

static int begin_service(struct daemon *d, struct errors *e)
{
	const struct service *svc = d->service;
	if (svc->begin && svc->begin(d->current->config->service) < 0) {
		errors_add(e, NULL, 0, "service %s failed to begin", svc->name);
		return EXIT_FAILURE;
	}
	d->service_has_begun = true;
	return 0;
}

static int start_workers(struct daemon *d, unsigned n, struct errors *e)
{
	d->reported_stuck = calloc(n, sizeof(*d->reported_stuck));
	if (!d->reported_stuck || !make_events(d)) {
		errors_add(e, NULL, 0, "cannot create the event loop: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	systemd_sockets_keep(&d->notify, d->current, NULL);
	d->workers = workers_new(d->service, n, d->workers_fd, e);
	if (!d->workers || workers_start(d->workers, d->current, e) < 0)
		return EXIT_FAILURE;
	thread_prefer();
	daemon_log_listeners(d->current, NULL);
	systemd_sockets_sort(&d->passed, d->current, &d->notify);
	return 0;
}

static void register_metrics(struct daemon *d)
{
	report_register_metrics(d);
	signals_register_metrics(d, &d->registry);
	workers_register_metrics(d->workers, &d->registry);
	process_metrics_register(&d->registry, &d->started);
}

static int begin_control(struct daemon *d, struct errors *e)
{
	register_metrics(d);
	admin_listen(d->admin, d->current);
	if (signals_start(d) < 0) {
		errors_add(e, NULL, 0, "cannot install the signal handlers: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	return runtime_announce(&d->runtime, e) < 0 ? EXIT_FAILURE : 0;
}

static int start(struct daemon *d, struct errors *e)
{
	struct config *c = NULL;
	struct loaded *loaded = NULL;
	unsigned n = 0;
	int code = start_log(e);
	if (code == 0)
		code = protect_children(e);
	if (code == 0)
		code = open_configuration(d, &c, e);
	if (code == 0)
		code = load_files(d, c, &loaded, e);
	if (code == 0) {
		n = choose_workers(c, d->workers_reason, sizeof(d->workers_reason));
		code = open_resources(d, c, n, e);
	}
	if (d->current) {
		snapshot_set_loaded(d->current, loaded);
		tls_sites_log(d->current->tls, NULL);
		errors_log(loaded_warnings(loaded), LOG_WARNING, "tls_warning");
	} else { /* else the snapshot owns both */
		loaded_unref(loaded);
		config_unref(c);
	}
	if (code == 0)
		code = drop_privileges(d, e);
	if (code == 0)
		code = begin_service(d, e);
	if (code == 0)
		code = start_workers(d, n, e);
	if (code == 0)
		code = begin_control(d, e);
	return code;
}

/* Log to stderr too if the log is elsewhere: an operator at a terminal may see only stderr. */
static void log_failed_start(const struct daemon *d, struct errors *e)
{
	do {
		errors_log(e, LOG_ERR, "start_error");
		log_error("start failed: exit=%d", d->exit_code);
	} while (log_switch_to_stderr());
}

/* After a drain, the service's `stop` may use what is left of drain_timeout, or until the next stop
 * signal. */
static void await_workers(struct daemon *d)
{
	const double check_seconds = 0.1;
	uint64_t stops = signals_stops_received();
	while (d->exit_code == 0 && clock_seconds(CLOCK_MONOTONIC) < d->stop_deadline &&
	       signals_stops_received() == stops && !workers_quit(d->workers, check_seconds))
		;
}

/* Returns false if a worker is stuck: what it uses must then stay allocated. */
static bool end_workers(struct daemon *d)
{
	unsigned first = 0;
	if (!d->workers)
		return true;
	workers_close_connections(d->workers);
	await_workers(d);
	unsigned stuck = workers_join(d->workers, JOIN_SECONDS, &first);
	if (!stuck)
		return true;
	log_error("workers did not end: count=%u first=%u; a callback of the service is stuck, "
		  "exiting without them",
		  stuck, first);
	d->exit_code = EXIT_FAILURE;
	return false;
}

static void free_events(struct daemon *d)
{
	struct event *events[] = {d->workers_event,
				  d->tick,
				  d->stop_timer,
				  d->reload.overdue_timer,
				  d->reload.loader_events[0],
				  d->reload.loader_events[1],
				  d->reload.load_event};
	for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++)
		if (events[i])
			event_free(events[i]);
	if (d->base)
		event_base_free(d->base);
	if (d->workers_fd >= 0)
		close(d->workers_fd);
}

/* Call the service's `end` when no other code of the service can run. Returns false if a load has
 * not returned. */
static bool end_service(struct daemon *d)
{
	if (!load_end(&d->load, LOAD_SECONDS * 1000)) {
		log_warning("load has not returned: the file system may be hung; "
			    "exiting without it");
		return false;
	}
	if (d->service_has_begun && d->service->end)
		d->service->end();
	return true;
}

/* Returns false if a thread still runs code of the service: what it uses must stay allocated. */
static bool free_all(struct daemon *d, bool workers_ended)
{
	bool ended = false;
	if (workers_ended) {
		workers_release_snapshots(d->workers);
		snapshot_unref(d->current);
		free_events(d);
		ended = end_service(d);
	}
	if (ended) /* until now, threads of the service could call worker_post() */
		workers_free(d->workers);
	listeners_clear(&d->passed);
	listeners_clear(&d->retired);
	loader_stop(&d->loader);
	runtime_close(&d->runtime);
	notify_close(&d->notify);
	free(d->reload.last_error);
	free(d->reported_stuck);
	return ended;
}

/* Undo start() in reverse. Runs once, after the event loop, also after a start that failed. */
static void finish(struct daemon *d)
{
	bool started = d->state != STARTING;
	if (d->current) /* removes the files of unix sockets */
		for (size_t i = 0; i < d->current->n_listeners; i++)
			listener_retire(d->current->listener[i]);
	admin_free(d->admin);
	bool ended = end_workers(d);
	signals_close(d);
	if (d->hooks && d->hooks->stopping)
		d->hooks->stopping(d->hooks->context, d);
	if (started)
		registry_log(&d->registry);
	signals_stop(d);
	ended = free_all(d, ended);
	signals_log_late();
	if (started)
		log_notice("stopped: seconds=%lld exit=%d",
			   (long long)((now_ns() - d->started_ns) / 1000000000), d->exit_code);
	log_stop();
	if (!ended)
		_exit(d->exit_code); /* exit(3) would free what the stuck threads still use */
}

static void on_libevent_message(int severity, const char *message)
{
	static const int levels[] = {LOG_DEBUG, LOG_DEBUG, LOG_WARNING, LOG_ERR};
	log_line(levels[severity & 3], "libevent: %s", message);
}

/* libevent calls exit(1) if this returns; the handlers of atexit(3) must not run. */
static void on_libevent_fatal(int error)
{
	log_error("libevent failed: error=%d, exiting", error);
	log_flush();
	_exit(EXIT_FAILURE);
}

static void run(struct daemon *d)
{
	log_flush(); /* the log is complete when READY=1 is sent */
	daemon_set_state(d, RUNNING);
	log_send_fields();
	log_notice("ready: generation=1 workers=%u (%s) start_ms=%.1f", workers_count(d->workers),
		   d->workers_reason, (double)(now_ns() - d->started_ns) / 1e6);
	if (d->hooks && d->hooks->ready)
		d->hooks->ready(d->hooks->context, d);
	event_base_dispatch(d->base);
	if (d->state != STOPPED)
		shutdown_after_failure(d, "the event loop");
}

int daemon_run(const struct daemon_settings *settings, const struct service *svc,
	       const struct daemon_hooks *hooks)
{
	struct daemon d = {
		.config_file = settings->config_file,
		.runtime_dir = settings->runtime_dir,
		.service = svc,
		.hooks = hooks,
		.schema = service_schema_of(svc),
		.loader = {settings->config_file, &d.schema,
			   .timeout_seconds = LOADER_TIMEOUT_SECONDS},
		.load = {svc, settings->config_file, .timeout_seconds = LOADER_TIMEOUT_SECONDS},
		.started = clock_seconds(CLOCK_REALTIME),
		.started_ns = now_ns(),
		.workers_fd = -1,
		.runtime = {.dir = -1, .pid = -1}};
	struct errors e = {0};
	event_set_log_callback(on_libevent_message);
	event_set_fatal_callback(on_libevent_fatal);
	d.reload.last_success = (time_t)d.started;
	/* First, before a descriptor of the daemon can be mistaken for a passed one. */
	systemd_sockets_take(&d.passed, &e);
	errors_log(&e, LOG_ERR, "start_error");
	errors_clear(&e);
	notify_open(&d.notify);
	d.watchdog_seconds = notify_watchdog();
	d.exit_code = start(&d, &e);
	if (d.exit_code == 0)
		run(&d);
	else
		log_failed_start(&d, &e);
	errors_clear(&e);
	finish(&d);
	return d.exit_code;
}
