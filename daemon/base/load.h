/*
 * Who reads a configuration: a process of its own, the loader.
 *
 * No file is to end the daemon, or to hold it up. libconfuse ends the process that it is part of
 * when it is refused memory, and a file system may never answer: then this is rejected as what is
 * wrong with a file is, and the daemon goes on. Nor is the loader believed, see base/wire.h.
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
	pid_t pid;	     /* 0: there is none */
	int orders, answers; /* sockets and pipes to it */
};

/*
 * Start it, as the user that this process is. To be called while there is one thread: fork(2)
 * copies locks that others hold, libc's among them. -1 and an error when it cannot be.
 */
int loader_start(struct loader *l, struct errors *e);

/*
 * What config_parse() makes of the file, in the loader, which is started if there is none. That it
 * takes longer is an error.
 */
struct config *loader_load(struct loader *l, struct errors *e);

enum { LOAD_SECONDS = 5 }; /* are enough for every machine and file */

/* End it, if there is one. */
void loader_end(struct loader *l);

#endif
