/*
 * The state of the control plane: the structure that every file of this folder works on, the one
 * function that changes the state, and functions that several of the files share.
 *
 * The control plane is one thread with one event base. It is driven by signals, by timers and by
 * the workers' eventfd. It never waits for a worker, a file or a lock, and serves no connection.
 */
#ifndef SKELD_STATE_H
#define SKELD_STATE_H

#include "config/loader.h"
#include "control/notify.h"
#include "control/runtime.h"
#include "control/signals.h"
#include "data/load.h"
#include "data/workers.h"
#include "metrics/process.h"
#include "metrics/registry.h"

#include <event2/event.h>
#include <time.h>

enum state { STARTING, RUNNING, RELOADING, LAME_DUCK, DRAINING, STOPPED, N_STATES };

/* Seconds for each step of a stop once drain_timeout is over. */
enum {
	CLOSE_SECONDS = 2, /* the workers close the connections that are left */
	JOIN_SECONDS = 2,  /* the worker threads end */
	LOAD_SECONDS = 1,  /* an abandoned load of the service returns */
	STOP_MARGIN_SECONDS = CLOSE_SECONDS + JOIN_SECONDS + LOAD_SECONDS /* announced to systemd */
};

enum reload_outcome { RELOAD_NONE, RELOAD_OK, RELOAD_REJECTED };

enum { N_LOADER_EVENTS = 2 }; /* descriptors on which the loader reports */

struct reload_state {
	uint64_t ok, rejected; /* reloads so far */
	enum reload_outcome last_outcome;
	char *last_error;    /* of the last reload if it was rejected, else NULL; owned */
	time_t last_success; /* seconds since the epoch: the current configuration was loaded */
	int64_t started_ns;  /* the reload that runs now; CLOCK_MONOTONIC */
	bool queued;	     /* another reload was requested while one was running */
	/* Between the parse and the commit. */
	struct config *config; /* owned; NULL: none */
	struct errors changes; /* "option: old -> new", logged by the commit */
	struct event *loader_events[N_LOADER_EVENTS], *load_event;
	struct event *overdue_timer;
};

/* Called by the control thread, for the self-test. Each may be NULL. */
struct daemon_hooks {
	void (*adjust_config)(void *context, struct config *c);
	void (*ready)(void *context, struct daemon *d);
	void (*signal_handled)(void *context, struct daemon *d, const struct signal_arrival *a);
	void (*state_changed)(void *context, struct daemon *d);
	void (*stopping)(void *context, struct daemon *d); /* before anything is freed */
	void *context;
};

struct daemon {
	const char *config_file;
	const char *runtime_dir;
	const struct service *service;
	const struct daemon_hooks *hooks; /* may be NULL */
	struct service_schema schema;
	struct loader loader;
	struct load load;
	struct event_base *base;
	enum state state;
	int exit_code;
	double started;	    /* seconds since the epoch */
	int64_t started_ns; /* the same moment, CLOCK_MONOTONIC: the wall clock may be set */
	struct runtime runtime;
	struct notify notify;
	struct registry registry;
	struct signals signals;
	struct listeners passed;  /* by the service manager */
	struct listeners retired; /* removed, and still open */
	struct snapshot *current;
	struct workers *workers;
	struct admin *admin;
	int workers_fd;		     /* eventfd: a worker has made progress */
	size_t reported_connections; /* the number in the last STATUS= */
	int64_t status_sent_ns;	     /* the last STATUS=, CLOCK_MONOTONIC */
	bool status_is_stale;	     /* the status file could not be written */
	struct event *workers_event, *tick, *stop_timer;
	struct reload_state reload;
	char workers_reason[64];   /* why there are so many workers, for the log */
	bool *reported_stuck;	   /* for each worker: the log says that it does not answer */
	int64_t health_checked_ns; /* monotonic */
	bool past_deadline;	   /* drain_timeout is over */
	bool service_has_begun;	   /* its `begin` has succeeded, or there is none */
	double stop_deadline; /* of the lame duck, then of the drain: monotonic seconds; 0: none */
	double watchdog_seconds; /* interval that the service manager expects; 0: none */
};

/*
 * Change the state: log it, write the status file and notify the service manager. Nothing else
 * assigns d->state.
 */
void daemon_set_state(struct daemon *d, enum state s);

/* Leave the event loop; the process then ends with this exit code. */
void daemon_leave(struct daemon *d, int exit_code);

/*
 * Start timer E. Counts from now: libevent's cached time is when the loop woke up, and the process
 * may have been stopped since.
 */
void daemon_set_timer(struct daemon *d, struct event *e, long long seconds);

/* Apply the hook adjust_config to C, which may be NULL. Returns C. */
struct config *daemon_adjust_config(struct daemon *d, struct config *c);

/* Open the log that C describes. Returns NULL and an error if it cannot be opened. */
struct log_target *daemon_open_log(const struct config *c, struct errors *e);

/* Log the addresses that NEW listens on and OLD (may be NULL) did not, and the reverse. */
void daemon_log_listeners(const struct snapshot *new, const struct snapshot *old);

#endif
