/*
 * The configuration loader: a child process that reads and parses the configuration for the daemon.
 *
 * libconfuse ends the process if memory is short, and a read from a hung file system may never
 * return. In the loader process, both only cause the reload to be rejected, in the latter case
 * after `timeout_seconds`. The daemon does not trust the answer either, see config/codec.h.
 *
 * The loader waits for requests. For each it forks a parser, which writes its answer to a pipe and
 * exits; then the loader reports the parser's wait status. A parser thus starts from a process with
 * one thread, and libconfuse's globals and memory end with it.
 *
 *	daemon --request, status--- loader --fork-- parser --answer--> daemon
 *
 * Why a standing process, and not a fork(2) for each reload: a fork of the daemon copies the page
 * tables of its whole heap in the control thread (0.5 ms with an empty heap, 5 ms with 100 MB,
 * 20 ms with 1 GB), and it copies locks that workers hold. To execute the program again takes about
 * as long as a whole reload.
 *
 * Only one thread uses a loader.
 */
#ifndef SKELD_LOADER_H
#define SKELD_LOADER_H

#include "base/time_limit.h"
#include "config/config.h"

#include <sys/types.h>

enum { LOADER_TIMEOUT_SECONDS = 5 };

struct loader {
	/* Set by the caller. They must stay valid as long as the loader. */
	const char *file;
	const struct service_schema *service;
	double timeout_seconds; /* time limit of one load */

	/* Result of the last load, for the caller. */
	bool busy;	 /* requested, and loader_result() was not called yet */
	bool conclusive; /* the errors are in the file: another try would give the same ones */

	/* Private, except that the caller waits until one of the descriptors is readable. */
	pid_t pid;	/* 0: there is no process */
	bool is_reaped; /* loader_reaped() was called for it */
	pid_t group;	/* process group of the last loader and its parsers; 0: none yet */
	int request_fd; /* sequenced-packet socket: requests to the loader, wait statuses from it */
	int answer_fd;	/* pipe: answers from the parsers */
	char *text;	/* the answer so far: LENGTH of ROOM bytes */
	size_t room, length;
	int status; /* of the parser, as in wait(2); negative errno: it was not started */
	int error;  /* errno: there will be no answer; ETIME: the time limit is over */
	struct time_limit limit;
};

/*
 * Start the process, with the credentials of this one. Call it while there is one thread: fork(2)
 * copies locks that other threads hold. Returns 0, or -1 with an error.
 */
int loader_start(struct loader *l, struct errors *e);

/*
 * Request a load. Returns 0, or -1 with an error if it cannot be requested. Restarts a process that
 * has ended, even while there are other threads: at worst, a copied lock stops the new process and
 * the load times out.
 */
int loader_request(struct loader *l, struct errors *e);

/*
 * Call this when request_fd or answer_fd is readable, and at intervals, so that the time limit
 * works. Does not block. Returns true when the load is over: call loader_result(), which may close
 * both descriptors.
 */
bool loader_poll(struct loader *l);

/* Returns the configuration, or NULL with the errors of config_parse() or of the load. */
struct config *loader_result(struct loader *l, struct errors *e);

/* Request a load and wait for the result. */
struct config *loader_load(struct loader *l, struct errors *e);

/*
 * Kill the process, if there is one. A process that a file system blocks stays until the file
 * system answers; loader_cancel() waits for it for 50 ms, loader_stop() for a second.
 */
void loader_cancel(struct loader *l);
void loader_stop(struct loader *l);

/* The caller has waited for PID, which may be the process. */
void loader_reaped(struct loader *l, pid_t pid);

/* Does this thread fork a loader, or is this process a loader or a parser? A handler of
 * pthread_atfork(3) must not change the signals of these. */
bool loader_is_forking(void);

#endif
