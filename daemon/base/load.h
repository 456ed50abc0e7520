/*
 * Who reads a configuration: a process of its own, the loader.
 *
 * No file is to end the daemon. libconfuse ends the process that it is part of when it is refused
 * memory, and a file system may never answer: then the file is rejected, and the daemon goes on, in
 * the latter case after a while. Nor is the loader believed, see base/wire.h.
 *
 * Of control/ alone, on one thread.
 */
#ifndef SKELD_LOAD_H
#define SKELD_LOAD_H

#include "base/config.h"

#include <sys/types.h>

/* FILE, SERVICE and SECONDS are the caller's, and stay as they are; the rest is ours. */
struct loader {
	const char *file;
	const struct config_service *service;
	double seconds;	     /* for a load, at most */
	bool busy;	     /* it was asked, and its answer was not taken */
	bool judged;	     /* by the last load: what is wrong is wrong with the file */
	pid_t pid;	     /* 0: there is none */
	pid_t group;	     /* of the last one */
	int orders, answers; /* sockets and pipes to it */
	/* The answer, as far as it has come. */
	char *text;
	size_t room, length;
	int status;	      /* of the child, wait(2); or -errno: there was none */
	int error;	      /* errno: there will be none; ETIME: it took too long */
	int64_t looked, left; /* ns */
};

/*
 * Start it, as the user that this process is. To be called while there is one thread: fork(2)
 * copies locks that others hold, libc's among them. -1 and an error when it cannot be.
 */
int loader_start(struct loader *l, struct errors *e);

/*
 * Ask for what config_parse() makes of the file. -1 and an error when there is nobody to ask. When
 * somebody has ended it, or it had to be, another one is started, whatever threads there are: the
 * worst that can come of a lock is that this one does not answer, either.
 */
int loader_ask(struct loader *l, struct errors *e);

/*
 * To be called whenever ORDERS or ANSWERS can be read, and every now and then, which is how it is
 * seen that it takes too long. Does not wait. True: it is over, and loader_take() has the outcome;
 * it may close the two.
 */
bool loader_look(struct loader *l);
struct config *loader_take(struct loader *l, struct errors *e);

/* The three in one, for who may wait. */
struct config *loader_load(struct loader *l, struct errors *e);

enum { LOAD_SECONDS = 5 }; /* are enough for every machine and file */

/*
 * End it, if there is one, whatever it was asked. What its file system keeps may stay for as long
 * as that does not answer: it is waited for a moment (drop), or for a second at most (end).
 */
void loader_drop(struct loader *l);
void loader_end(struct loader *l);

#endif
