/*
 * The runtime directory: the locked pid file, and files that are replaced atomically. Control
 * thread. A `-s` command reads the files from another process.
 */
#ifndef SKELD_RUNTIME_H
#define SKELD_RUNTIME_H

#include "base/errors.h"

#include <stdbool.h>
#include <sys/types.h>

struct runtime {
	const char *path;
	int dir, pid; /* descriptors of the directory and of the locked pid file */
	bool made;    /* this process created the directory, and removes it at the end */
};

/*
 * Open the directory, create it if it is missing, lock the pid file and remove the files of a
 * daemon that was killed. Returns -1 and an error if that fails or another instance holds the lock.
 */
int runtime_open(struct runtime *r, const char *path, struct errors *e);

/* Write our pid into the locked file, for scripts: the daemon has started. */
int runtime_announce(const struct runtime *r, struct errors *e);

/* Replace file NAME by TEXT atomically: a reader sees the old file or the new one. */
int runtime_replace(const struct runtime *r, const char *name, const char *text, size_t length,
		    struct errors *e);

/* Remove the files, and the directory if runtime_open() created it. */
void runtime_close(struct runtime *r);

/*
 * The process that holds the lock in directory PATH. The text of the file is not trusted. Returns 0
 * if there is none, -1 and EACCES if the file may not be read.
 */
pid_t runtime_owner(const char *path);

#endif
