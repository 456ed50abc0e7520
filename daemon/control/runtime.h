/*
 * The runtime directory: the locked pid file, and files that are replaced in one step.
 * Control thread; `-s` reads them from another process.
 */
#ifndef SKELD_RUNTIME_H
#define SKELD_RUNTIME_H

#include "base/errors.h"

#include <stdbool.h>
#include <sys/types.h>

struct runtime {
	const char *path;
	int dir, pid; /* descriptors; pid is locked for life */
	bool made;    /* the directory is ours: remove it at the end */
};

/*
 * Open the directory, make it if it is missing, and take the lock. -1 and an error when it cannot
 * be had, or another instance has it.
 */
int runtime_open(struct runtime *r, const char *path, struct errors *e);

/*
 * Have our pid named as the owner's; once more after anything that may have opened and closed the
 * pid file in this process: who logs into it, say.
 */
void runtime_hold(const struct runtime *r);

/* Write our pid into the locked file: we are there. */
int runtime_announce(const struct runtime *r, struct errors *e);

/* Replace file NAME by TEXT: a reader sees the old one or the new one. */
int runtime_replace(const struct runtime *r, const char *name, const char *text, size_t length,
		    struct errors *e);

/* Remove the files, and the directory if we made it. */
void runtime_close(struct runtime *r);

/* Who holds the lock in directory PATH; 0 when nobody does, -1 and EACCES when that cannot be seen.
 * Never believes the file's text. */
pid_t runtime_owner(const char *path);

#endif
