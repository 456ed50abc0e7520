/*
 * The configuration: config_parse() turns a file into a validated struct config, or into a list of
 * errors and no configuration.
 *
 * The configuration loader parses the file in a separate process (config/loader.h) and sends the
 * result to the daemon (config/codec.h). The control thread compares it with the configuration in
 * force, which may still change it. From the commit of the reload on, the configuration is part of
 * a snapshot and immutable: every thread that holds the snapshot reads it without a lock.
 */
#ifndef SKELD_CONFIG_H
#define SKELD_CONFIG_H

#include "base/errors.h"
#include "service_option.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

enum {
	WORKERS_MAX = 256,
	CONFIG_LISTEN_MAX = 64,	 /* listen sections */
	CONFIG_TLS_MAX = 256,	 /* tls sections */
	CONFIG_OPTIONS_MAX = 64, /* options of the service, and of each kind of section in it */
	CONFIG_NESTED_MAX = 256, /* sections inside the service's */
	CONFIG_BACKLOG = 1024	 /* the default of listen.backlog */
};

/* The line that ends a section, for errors that concern the whole section. */
struct location {
	char *file; /* owned; NULL: no file has this section */
	unsigned line;
};

struct listen_config {
	struct location location;
	char *title;   /* unique */
	char *address; /* "": off */
	int64_t backlog;
	int64_t proxy; /* boolean: connections begin with a PROXY header */
	char **tls;   /* titles of tls sections, ended by NULL; none: no TLS. NULL: no such build */
	char *mode;   /* of a unix socket's file, in octal; "": as it is */
	char *group;  /* of a unix socket's file; "": as it is */
	unsigned gid; /* of `group` */
};

struct tls_config {
	struct location location;
	char *title;	     /* unique */
	char *certificate;   /* path of a PEM file: the certificate, then those of its issuers */
	char *key;	     /* path of a PEM file */
	char *client_ca;     /* path of a PEM file; "": clients need no certificate */
	int64_t min_version; /* index in "1.2 1.3" */
};

/*
 * The configuration owns every string in it. No string is NULL, except `file` and in a location.
 * The schema (config/schema.c) has limited every number to its range.
 */
struct config {
	_Atomic unsigned refs;
	char *file; /* the absolute path that was read, without symbolic links; NULL: none */
	struct errors warnings; /* likely mistakes that are accepted */
	int64_t workers;	/* 0: one per CPU that the process may use */
	char *user, *group;
	int64_t lame_duck;     /* seconds */
	int64_t drain_timeout; /* seconds */
	struct {
		int64_t level;	/* index in "debug info notice warning error" */
		int64_t target; /* enum log_kind */
		int64_t format; /* enum log_format */
		char *file;
		struct location location;
	} log;
	struct {
		int64_t connections;
		int64_t idle_timeout; /* seconds, 0: none */
		int64_t buffer;	      /* bytes */
		int64_t memory;	      /* bytes */
		int64_t outgoing;
	} limits;
	struct {
		char *address; /* "": off */
		char **tls;    /* as in a listen section */
		struct location location;
	} admin;
	size_t n_tls;
	struct tls_config tls[CONFIG_TLS_MAX];
	size_t n_listen;
	struct listen_config listen[CONFIG_LISTEN_MAX];
	const struct service_schema *schema; /* not owned; outlives the configuration */
	void *service;			     /* the service's structure, described by its options */
	struct location service_location;
};

/* The facts about the service that the configuration needs, see config/service_schema.h. */
struct service_schema {
	const char *name;		      /* of its section */
	const struct service_option *options; /* NULL: none */
	size_t size;			      /* of the service's structure, in bytes */
	bool datagrams;			      /* listen.address may be a udp: address */
	bool no_connections; /* listen.address may be nothing else; without both, no listeners */
};

/*
 * Read, parse and validate FILE and the files that it includes. Returns a configuration with one
 * reference; or NULL, with every mistake appended to E with its FILE:LINE. If FILE is NULL, returns
 * the defaults. One call at a time in a process, because libconfuse's lexer is global. libconfuse
 * may end the process: the daemon calls this in the configuration loader only.
 */
struct config *config_parse(const char *file, const struct service_schema *service,
			    struct errors *e);

/* Returns the defaults without a listen section, or NULL if out of memory. */
struct config *config_new(const struct service_schema *service);
struct config *config_ref(struct config *c);
void config_unref(struct config *c); /* C may be NULL */

/* Remove all listen sections but the first N, and give the options of those their defaults. Returns
 * false if out of memory. No other thread may use C yet. */
bool config_reset_listen(struct config *c, size_t n);

/*
 * Print a file that loads to the same configuration (-T). Two comments precede each option: its
 * help; and the accepted values, the default, and whether a reload applies it. A section that may
 * occur several times and does not occur is printed with # before each line. conf/manual.awk
 * depends on this form.
 */
void config_print(const struct config *c, FILE *out);

/*
 * Call REPORT with a line for each difference ("limits.idle_timeout: 300 -> 60"), in which titles
 * and changed texts have quotes around them. An option that needs a restart keeps OLD's value in
 * NEW, and the line adds this. No other thread may use NEW yet. Returns false if memory ran out
 * before everything was reported.
 */
bool config_compare(const struct config *old, struct config *new,
		    void (*report)(void *context, const char *line), void *context);

/* The syslog level for log.level. */
int config_log_level(const struct config *c);

#endif
