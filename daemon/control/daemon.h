/*
 * The control plane: one thread, one event base, one structure that is passed everywhere.
 *
 * It never waits for the data plane, never does its work, and is driven by signals, by the
 * workers' news, and by timers.
 */
#ifndef SKELD_DAEMON_H
#define SKELD_DAEMON_H

#include "base/load.h"
#include "base/process.h"
#include "base/stats.h"
#include "control/admin.h"
#include "control/notify.h"
#include "control/options.h"
#include "control/runtime.h"
#include "control/signals.h"
#include "control/sockets.h"
#include "data/plane.h"

#include <event2/event.h>
#include <time.h>

enum state { STARTING, RUNNING, RELOADING, LAME_DUCK, DRAINING, STOPPED, N_STATES };
extern const char *const state_names[N_STATES];

/* After the deadline of a drain. A worker whose processor others have is not stuck. */
enum {
	CLOSE_SECONDS = 2, /* for the workers to close what it has left */
	JOIN_SECONDS = 2,  /* and to end */
	MARGIN_SECONDS =
		CLOSE_SECONDS + JOIN_SECONDS + 1 /* for all of it: what the manager allows */
};

enum outcome { OUTCOME_NONE, OUTCOME_OK, OUTCOME_REJECTED };

enum { N_ANSWERS = 2 }; /* descriptors on which the loader says something */

struct reloads {
	uint64_t ok, rejected;
	enum outcome last;
	char *error;	  /* of the last one, when it was rejected */
	time_t last_good; /* when the present configuration was loaded, seconds since the epoch */
	int64_t began;	  /* the running one, monotonic ns */
	bool again;	  /* one more was asked for while one was running */
	struct event *answer[N_ANSWERS], *overdue;
};

/* The self-test looks on, and runs on addresses of its own. */
struct hooks {
	void (*adjust)(void *context, struct config *c);
	void (*ready)(void *context, struct daemon *d);
	void (*handled)(void *context, struct daemon *d, const struct arrival *a);
	void (*changed)(void *context, struct daemon *d); /* the state */
	void (*ends)(void *context, struct daemon *d);	  /* nothing was freed yet */
	void *context;
};

struct daemon {
	const struct options *options;
	const struct service *its;
	const struct hooks *hooks; /* may be NULL */
	struct config_service schema;
	struct loader loader;
	struct event_base *base;
	enum state state;
	int exit_code;
	time_t started; /* by the clock on the wall */
	int64_t began;	/* the same, monotonic ns: that clock may be set */
	struct process process;
	struct runtime runtime;
	struct notify notify;
	struct stats stats;
	struct signals signals;
	struct listeners passed;  /* by the service manager */
	struct listeners retired; /* removed, but a worker that is stuck may still have them */
	struct snapshot *current;
	struct plane *plane;
	struct admin *admin;
	int news_fd;	  /* eventfd: a worker has something to say */
	size_t told_open; /* connections, as the manager was last told */
	bool stale;	  /* the status file could not be written */
	struct event *news, *tick, *deadline;
	struct reloads reloads;
	bool *named;	 /* workers that the log says do not answer */
	bool late;	 /* the drain's deadline has passed */
	double watchdog; /* seconds within which the manager wants to hear of us, 0 = never */
};

/* Run until stopped. Returns the exit code. HOOKS may be NULL. */
int daemon_run(const struct options *o, const struct service *its, const struct hooks *hooks);

/* daemon.c: the one place where the state changes. Logged, in the status file, told to systemd. */
void daemon_set_state(struct daemon *d, enum state s);

/*
 * daemon.c: add E, to come in so many seconds. Of now: for libevent it is still the moment in which
 * its loop woke up, and the process may have stood still since.
 */
void daemon_set_timer(struct daemon *d, struct event *e, long long seconds);

/* daemon.c: leave the loop, with this exit code. */
void daemon_leave(struct daemon *d, int exit_code);

/* daemon.c: C (may be NULL), adjusted by the hooks. */
struct config *daemon_adjust(struct daemon *d, struct config *c);

/* daemon.c: open the log that C asks for. */
struct log_target *daemon_open_log(const struct config *c, struct errors *e);

/* daemon.c: say which addresses NEW listens on and OLD (may be NULL) did not, and the reverse. */
void daemon_log_listeners(const struct snapshot *new, const struct snapshot *old);

/* watch.c: a worker that does not answer is named in the log, and once more when it is back. True:
 * all answer in time, and the service manager may be told that all is well. */
bool watch_workers(struct daemon *d);

/* watch.c: it runs, and every worker answers. False: WHY (SIZE bytes) says what is missing. */
bool daemon_is_ready(const struct daemon *d, char *why, size_t size);

/* reload.c */
void reload_begin(struct daemon *d);
void reload_again(struct daemon *d);   /* one more after the running one */
void reload_news(struct daemon *d);    /* workers may have taken the new snapshot */
void reload_abandon(struct daemon *d); /* the daemon stops: nobody waits any more */
void reload_overdue(evutil_socket_t fd, short what, void *arg);

/* stop.c */
void stop_begin(struct daemon *d); /* be a lame duck for a while, drain, then leave */
void stop_now(struct daemon *d);   /* leave, exit 1 */
void stop_news(struct daemon *d);  /* workers may be drained, or have failed */
void stop_failed(struct daemon *d, const char *what); /* leave, exit 1: WHAT ended by itself */
void stop_deadline(evutil_socket_t fd, short what, void *arg);

/* report.c */

/* The status file; then FIRST ("READY=1\n", may be "") and STATUS= in one datagram: whoever waited
 * for the datagram finds the file as it is now. */
void report_status(struct daemon *d, const char *first);
void report_again(struct daemon *d);	   /* the status file, if it could not be written */
void report_connections(struct daemon *d); /* STATUS= once more, if their number has changed */
void report_stats(struct daemon *d);	   /* the dump: log lines and stats.prom */
void report_init(struct daemon *d);	   /* the registry */

/* What the runtime files hold; and the status as JSON, with the last signals and their senders. */
void report_print_status(const struct daemon *d, FILE *out);
void report_print_stats(const struct daemon *d, FILE *out);
void report_print_json(const struct daemon *d, FILE *out);

#endif
