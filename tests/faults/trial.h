/*
 * A trial: one phase in the daemon's life with one call that fails. The daemon is the real one,
 * with the library of inject.c before libc; two configurations that differ in a listener, in the
 * log file and in an option take turns. What a trial finds wrong is noted, all of it told at the
 * end: one failure rarely comes alone.
 */
#ifndef SKELD_TESTS_TRIAL_H
#define SKELD_TESTS_TRIAL_H

#include "../integration/harness.h"
#include "inject.h"

/* Where the daemon listens: at MAIN always, at each of the others in one configuration. */
enum place { MAIN, LOCAL_A, LOCAL_B, PORT_A, PORT_B, ADMIN, N_PLACES };

enum answer { ANSWERED, REFUSED, CLOSED, HUNG };

struct trial {
	struct fixture *f;
	struct inject *page;
	int side; /* of the two configurations, the one that is served: 0 or 1 */
	char address[N_PLACES][96];
	struct text before[2]; /* what the clean run of this phase logged, by side */
	size_t fds[2];	       /* and how many descriptors there were after it */
	/* The present one. */
	const char *phase;
	enum call call;
	int error;
	long nth;
	struct text wrong;
	long reloads; /* asked of this daemon */
	size_t runs, hits, n_wrong;
	size_t as_if_nothing, told, rejected, not_started; /* outcomes of hits */
};

extern const char *const call_names[N_CALLS];

struct trial *trial_new(const char *phase);
/* Tells what was wrong, and fails the test if anything was. */
void trial_free(struct trial *t);

void trial_arm(struct trial *t, enum call call, int error, long nth);
void trial_disarm(struct trial *t);
bool trial_hit(const struct trial *t);
/* Who made the call that failed: PART of "library:function+offset ...". */
bool trial_caller(const struct trial *t, const char *part);

void trial_wrong(struct trial *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Write the configuration of this side. */
void trial_configure(struct trial *t, int side);
/* Spawn the daemon. True: it is ready; false: it has ended, f->pid is 0 and CODE its exit code. */
bool trial_start(struct trial *t, int *code);
/* Wait for the end, at most for a deadline; 256 when it had to be killed. */
int trial_end(struct trial *t);
/* Poll until CONDITION, at most for a deadline; false: in vain, or the daemon has ended. */
#define TRY(t, condition)                                                                          \
	({                                                                                         \
		int64_t until_ = deadline();                                                       \
		bool true_;                                                                        \
		while (!(true_ = (condition)) && trial_turn(t, until_))                            \
			;                                                                          \
		true_;                                                                             \
	})
bool trial_turn(struct trial *t, int64_t until);

/* A line of each log since trial_forget(). */
void trial_forget(struct trial *t);
const char *trial_log(struct trial *t);
/* Is there a warning or an error in it? */
bool trial_told(struct trial *t);
/* The log without what differs from run to run. */
char *trial_essence(struct trial *t);

int trial_dial(struct trial *t, enum place at); /* a blocking socket, -1: refused */
/* Say something at PLACE, and wait for the echo. BYTES large: without reading meanwhile. */
enum answer trial_talk(struct trial *t, enum place at, size_t bytes);
/* What the admin server answers to GET PATH: a status; 0: it hung up, -1: it does not answer. */
int trial_get(struct trial *t, const char *path);
bool trial_serves(struct trial *t, int side); /* all that this side promises, and nothing else */
size_t trial_fds(const struct trial *t);
void trial_reload(struct trial *t); /* SIGHUP */
void trial_dump(struct trial *t);   /* SIGUSR1; stats.prom, which is its end, is there after it */
/* Does the status file tell the outcome of all? It may be late: writing it may be what failed. */
bool trial_has_reloaded(struct trial *t);
const char *trial_status(struct trial *t, const char *key); /* "" when there is none */
bool trial_file(struct trial *t, const char *name);	    /* in the runtime directory */

#endif
