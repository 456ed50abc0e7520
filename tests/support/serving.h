/*
 * One worker that serves clients in the thread of the test. The test runs each turn of its loop
 * and advances its clock; callbacks may contain checks. The test defines the callbacks of the
 * service.
 */
#ifndef SKELD_TESTS_SERVING_H
#define SKELD_TESTS_SERVING_H

#include "data/acceptor.h"
#include "data/connection.h"
#include "data/connection_list.h"
#include "data/worker_loop.h"
#include "data/workers.h"
#include "fixture.h"
#include "service_thread.h"

struct serving {
	/* Set by the test. */
	const char *listen; /* more options of the listener's section */
	int (*opened)(struct connection *c);
	size_t (*data)(struct connection *c, const char *bytes, size_t n);
	void (*closed)(struct connection *c);
	void (*draining)(struct connection *c);
	void (*writable)(struct connection *c);
	void (*ended)(struct connection *c);
	void (*ending)(struct connection *c, enum ending_reason why);
	void (*drain)(struct worker *w);
	void (*datagram)(struct worker *w, const struct datagram_peer *from, const char *bytes,
			 size_t n);

	/* Recorded. */
	unsigned n_opened, n_data, n_writable, n_ended, n_draining, n_ending, n_closed, n_reloaded,
		n_drain, n_datagrams;
	struct connection *last; /* the last opened connection */
	char offered[4096];	 /* "[what data was called with]", one after the other */

	struct worker *w;
	struct workers *workers;
	struct snapshot *snapshot; /* the current snapshot */
	int progress_fd;	   /* eventfd of the control plane */
};
extern struct serving serving;

enum { COUNTED }; /* the service's own counter */

/* Serve on a free port of 127.0.0.1 with the configuration CONF ("limits { buffer = 4096 }"). */
void serve(const char *conf);
struct snapshot *snapshot_of(const char *conf, const struct snapshot *old);
void serving_publish(const char *conf); /* a reload that the worker has acknowledged */

/* The end of a test: close and free everything, and check that nothing is left. */
void serving_end(void);

/* Run one turn of the loop without waiting. */
void step(void);

/* Run the loop until CONDITION holds. */
#define STEP_UNTIL(condition)                                                                      \
	for (int64_t until_ = deadline(); !(condition); step())                                    \
		if (is_past(until_))                                                               \
	fail_test("timeout while waiting for: %s", #condition)

/* Run the loop until no event is left. */
void step_all(void);

/* Advance the worker's clock by SECONDS. */
void pass_time(unsigned seconds);

uint64_t count_of(size_t counter);
uint64_t closed_by(enum close_reason why);

/* A `data` callback that echoes everything and counts it in COUNTED. */
size_t echo(struct connection *c, const char *bytes, size_t n);
/* The same for whole lines; it does not consume an incomplete line. */
size_t echo_lines(struct connection *c, const char *bytes, size_t n);

/* Has the worker reported progress to the control plane since the last call? */
bool has_progress(void);

/* A connected and accepted client; its socket is non-blocking. */
int client_new(void);
/* Serve with the callback DATA, and send TEXT from a client. Returns the client. */
int serve_one(size_t (*data)(struct connection *c, const char *bytes, size_t n), const char *conf,
	      const char *text);
/* Reduce the socket buffers of the last connection. */
void slow_down(void);
void client_send(int fd, const char *text);
/* Expect TEXT as the next bytes. */
void client_expect(int fd, const char *text);
/* Expect N bytes of pattern(0, N). */
void client_expect_pattern(int fd, size_t n);
/* Expect EOF and no bytes before it. */
void client_expect_end(int fd);

/* N bytes; each is the lower 8 bits of its offset, which begins with FIRST. */
const char *pattern(size_t first, size_t n);

#endif
