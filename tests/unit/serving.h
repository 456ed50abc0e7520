/*
 * One worker that serves clients in the test's own thread: its loop is turned by hand, its clock
 * moved by hand, and callbacks may check what they see. What the service does with its data is the
 * test's, see `script`.
 */
#ifndef SKELD_TESTS_SERVING_H
#define SKELD_TESTS_SERVING_H

#include "data/connection.h"
#include "data/plane.h"
#include "data/worker.h"
#include "service.h"

struct serving {
	/* What the test may set. */
	const char *listen; /* more options of the listener's section */
	int (*opened)(struct connection *c);
	size_t (*data)(struct connection *c, const char *bytes, size_t n);
	void (*closed)(struct connection *c);
	void (*draining)(struct connection *c);
	void (*drain)(struct worker *w);

	/* What happened. */
	unsigned n_opened, n_data, n_draining, n_closed, n_reloaded, n_drain;
	struct connection *last; /* that was opened */
	char offered[4096];	 /* "[what data was called with]", one after the other */

	struct worker *w;
	struct plane *plane;
	struct snapshot *snapshot; /* the newest */
	int news_fd;		   /* eventfd, as of the control plane */
};
extern struct serving serving;

enum { COUNTED }; /* the service's own counter */

/* Serve on a free port of 127.0.0.1 by this configuration ("limits { buffer = 4096 }"). */
void serve(const char *conf);
struct snapshot *snapshot_of(const char *conf, const struct snapshot *old);
void serving_publish(const char *conf); /* a reload, taken over */

/* The last of a test: close all, free all, leave nothing. */
void serving_end(void);

/* Turn the loop once, without waiting. */
void step(void);

/* Turn until CONDITION holds, for 10 s at most. */
#define STEP_UNTIL(condition)                                                                      \
	for (int64_t until_ = in_ten_seconds(); !(condition); step())                              \
	cr_assert(!is_past(until_), "%s", #condition)
int64_t in_ten_seconds(void);
bool is_past(int64_t until);

/* Turn until nothing happens any more. */
void step_all(void);

/* SECONDS go by. */
void pass_time(unsigned seconds);

uint64_t count_of(size_t counter);
uint64_t closed_by(enum close_reason why);

/* A service's data: all that comes goes back, and is COUNTED. */
size_t echo(struct connection *c, const char *bytes, size_t n);
/* The same, of whole lines; the rest waits for its end. */
size_t echo_lines(struct connection *c, const char *bytes, size_t n);

/* The control plane was told something since the last call. */
bool has_news(void);

/* A client, connected and accepted. Not blocking. */
int client_new(void);
/* Serve with this `data`, and have a client say this. */
int serve_one(size_t (*data)(struct connection *c, const char *bytes, size_t n), const char *conf,
	      const char *says);
/* Have the kernel keep little of what the last connection sends. */
void slow_down(void);
void client_send(int fd, const char *text);
/* All that comes until there are N bytes, is TEXT. */
void client_expect(int fd, const char *text);
/* N bytes come, with each the lower 8 bits of its place. */
void client_expect_pattern(int fd, size_t n);
/* The end comes, and nothing before it. */
void client_expect_end(int fd);

/* N bytes, of which each is the lower 8 bits of its place after FIRST. */
const char *pattern(size_t first, size_t n);

#endif
