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

/* FILE and SERVICE are the caller's, and stay as they are, SECONDS may change; the rest is ours. */
struct loader {
	const char *file;
	const struct config_service *service;
	double seconds;	     /* for a load, at most */
	bool judged;	     /* by the last load: what is wrong is wrong with the file */
	pid_t pid;	     /* 0: there is none */
	pid_t group;	     /* of the last one */
	int64_t not_before;  /* monotonic ns: it did not answer, and is not asked again yet */
	int orders, answers; /* sockets and pipes to it */
};

/*
 * Start it, as the user that this process is. To be called while there is one thread: fork(2)
 * copies locks that others hold, libc's among them. -1 and an error when it cannot be.
 */
int loader_start(struct loader *l, struct errors *e);

/*
 * What config_parse() makes of the file, in the loader. That it takes longer is an error. When
 * somebody has ended it, or it had to be, another one is started, whatever threads there are: the
 * worst that can come of a lock is that this one does not answer, either.
 */
struct config *loader_load(struct loader *l, struct errors *e);

enum { LOAD_SECONDS = 5 }; /* are enough for every machine and file */

/* End it, if there is one. */
void loader_end(struct loader *l);

#endif
