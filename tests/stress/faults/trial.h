/*
 * A trial runs one phase of the daemon's life with one failing call. It uses the real daemon with
 * the library of inject.c in front of libc. Two configurations, which differ in a listener, the
 * log file and an option, take turns. Mistakes are collected and printed at the end.
 */
#ifndef SKELD_TESTS_TRIAL_H
#define SKELD_TESTS_TRIAL_H

#include "harness.h"
#include "inject.h"

/* The listening addresses: MAIN always, the next four in one configuration each; SECURE is left to
 * the test, which adds the listener to `service`. */
enum place { MAIN, LOCAL_A, LOCAL_B, PORT_A, PORT_B, ADMIN, SECURE, N_PLACES };

enum answer { ANSWERED, REFUSED, CLOSED, HUNG };

struct trial {
	struct inject *page;
	int side; /* the current configuration: 0 or 1 */
	char address[N_PLACES][96];
	const char *service[2]; /* the rest of the configuration, by side */
	const char *request;	/* what a client sends; NULL: bytes that come back */
	long memory_step;	/* of the allocations, each of these fails; 0: every one */
	struct text before[2];	/* the log of the clean run of this phase, by side */
	size_t fds[2];		/* the number of descriptors after it */
	/* The current run. */
	const char *phase;
	enum call call;
	int error;
	long nth;
	struct text wrong;
	long reloads; /* requests to this daemon */
	size_t runs, hits, n_wrong;
	size_t as_if_nothing, reported, rejected, not_started; /* outcomes of the failed calls */
};

extern const char *const call_names[N_CALLS];

struct trial *trial_new(const char *phase);
/* Print all mistakes, and fail the test if there are any. */
void trial_free(struct trial *t);

void trial_arm(struct trial *t, enum call call, int error, long nth);
void trial_disarm(struct trial *t);
bool trial_hit(const struct trial *t);
/* Has the caller of the failed call PART in "library:function+offset ..."? */
bool trial_caller(const struct trial *t, const char *part);

void trial_wrong(struct trial *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Write the configuration of this side to the file. */
void trial_configure(struct trial *t, int side);
/* Spawn the daemon. Returns true when it is ready; false if it has ended (daemon_pid is 0, CODE has
 * the exit code). */
bool trial_start(struct trial *t, int *code);
/*
 * Wait for the end until the deadline. Returns the exit code, 256 if the daemon had to be killed.
 */
int trial_end(void);
/* Poll until CONDITION holds. Returns false at the deadline, or if the daemon has ended. */
#define TRY(condition)                                                                             \
	({                                                                                         \
		int64_t until_ = deadline();                                                       \
		bool true_;                                                                        \
		while (!(true_ = (condition)) && trial_turn(until_))                               \
			;                                                                          \
		true_;                                                                             \
	})
bool trial_turn(int64_t until);

/* The lines of both logs since trial_forget(). */
void trial_forget(void);
const char *trial_log(void);
/* Does the log have a warning or an error? */
bool trial_reported(void);
/* The log without the parts that differ between runs. */
char *trial_essence(void);

int trial_dial(struct trial *t, enum place at); /* a blocking socket, -1: refused */
/* Send BYTES bytes to PLACE and wait for the echo, or send the request and wait for an answer. A
 * large message is sent completely before reading. */
enum answer trial_talk(struct trial *t, enum place at, size_t bytes);
/*
 * GET PATH from the admin server. Returns the status; 0: closed without an answer, -1: no answer.
 */
int trial_get(struct trial *t, const char *path);
bool trial_serves(struct trial *t,
		  int side); /* are all addresses of this side served, and no others? */
size_t trial_fds(void);
void trial_reload(struct trial *t); /* SIGHUP */
void trial_dump(void);		    /* send SIGUSR1 and wait for stats.prom */
/* Does the status file have all outcomes? It may be late, because writing it may have failed. */
bool trial_has_reloaded(struct trial *t);
const char *trial_status(const char *key); /* "" if there is no such file */
bool trial_file(const char *name);	   /* in the runtime directory */

#endif
