/*
 * The configuration: a file in, an immutable struct config out, or errors and nothing.
 *
 * One thread only while parsing (libconfuse's parser is global); a loaded configuration is never
 * changed again and is read by any thread that holds the snapshot it is part of.
 */
#ifndef SKELD_CONFIG_H
#define SKELD_CONFIG_H

#include "base/errors.h"
#include "base/option.h"

#include <stdatomic.h>
#include <stdio.h>

enum { WORKERS_MAX = SKELD_WORKERS ? 256 : 1 };
enum { CONFIG_LISTEN_MAX = 64, CONFIG_OPTIONS_MAX = 64 }; /* options of the service */

/* Where something was said: the end of a section. FILE is NULL where nothing was. */
struct place {
	char *file; /* owned */
	unsigned line;
};

struct listen_config {
	struct place place;
	char *title;
	char *address; /* "" = off */
	int64_t backlog;
	int64_t proxy; /* connections begin with a PROXY header */
};

struct config {
	_Atomic unsigned refs;
	int64_t workers; /* 0 = one per CPU that the process may use */
	char *user, *group;
	int64_t lame_duck;     /* seconds */
	int64_t drain_timeout; /* seconds */
	struct {
		int64_t level;	/* index in "debug info notice warning error" */
		int64_t target; /* enum log_kind */
		char *file;
		struct place place;
	} log;
	struct {
		int64_t connections;
		int64_t idle_timeout; /* seconds, 0 = none */
		int64_t buffer;	      /* bytes */
	} limits;
	struct {
		char *address; /* "" = off */
		struct place place;
	} admin;
	size_t n_listen;
	struct listen_config listen[CONFIG_LISTEN_MAX];
	struct { /* what was read for it, and for how long */
		unsigned long long bytes, files, ns;
	} read;
	const struct config_service *schema;
	void *service; /* the service's own structure, filled from its own table */
};

/* The section that the service brings. */
struct config_service {
	const char *name;	      /* of the section */
	const struct option *options; /* NULL: it has none */
	size_t size;		      /* of its structure */
};

/*
 * Read, parse and validate FILE and what it includes. Everything that is wrong is appended to E,
 * each with its FILE:LINE, and then the result is NULL. FILE NULL gives the defaults. The result
 * has one reference. libconfuse may end this process: the daemon asks its loader, base/load.h.
 */
struct config *config_parse(const char *file, const struct config_service *service,
			    struct errors *e);

/* The defaults, and no listen section. NULL: out of memory. */
struct config *config_new(const struct config_service *service);
struct config *config_ref(struct config *c);
void config_unref(struct config *c); /* NULL: nothing */

/*
 * Print a file that loads to the same configuration (-T). Above each option stand two comments in a
 * form that conf/manual.awk reads: its help; what is accepted, its default, and whether it is live.
 */
void config_print(const struct config *c, FILE *out);

/*
 * Call TELL with a line ("limits.idle_timeout: 300 -> 60") for each difference. An option that
 * needs a restart takes OLD's value in NEW, and its line says so. NEW is not yet shared. False:
 * there was not enough memory for all of it.
 */
bool config_compare(const struct config *old, struct config *new,
		    void (*tell)(void *context, const char *line), void *context);

/* The syslog level for log.level. */
int config_log_level(const struct config *c);

#endif
