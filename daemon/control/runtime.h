/*
 * The runtime directory: the locked pid file, and files that are replaced atomically. Control
 * thread. A `-s` command reads the files from another process.
 */
#ifndef SKELD_RUNTIME_H
#define SKELD_RUNTIME_H

#include "base/account.h"
#include "base/errors.h"

#include <stdbool.h>
#include <sys/types.h>

struct runtime {
	const char *path;
	struct account owner; /* the user and group that the daemon will run as */
	int dir, pid;	      /* descriptors of the directory and of the locked pid file */
	bool made;	      /* this process created the directory, and removes it at the end */
};

/*
 * Open the directory, create it if it is missing, lock the pid file and remove the files of a
 * daemon that was killed. OWNER NULL: the user of this process. Returns -1 and an error if that
 * fails or another instance holds the lock.
 *
 * Root must not be led to another directory, whose files it would remove: a symbolic link counts
 * only where no other user can place one, and the directory must belong to root, to this user or
 * to the owner. No other user can open the pid file, because even a read lock would keep a daemon
 * from starting.
 */
int runtime_open(struct runtime *r, const char *path, const struct account *owner,
		 struct errors *e);

/* Write the pid of this process into the locked file, for scripts: the daemon has started. */
int runtime_announce(const struct runtime *r, struct errors *e);

/* Replace file NAME by TEXT atomically: a reader sees the old file or the new one. */
int runtime_replace(const struct runtime *r, const char *name, const char *text, size_t length,
		    struct errors *e);

/* Remove the files, and the directory if runtime_open() created it. */
void runtime_close(struct runtime *r);

enum {
	RUNTIME_NO_OWNER = 0,
	RUNTIME_UNREADABLE = -1, /* this user may not read the pid file */
	RUNTIME_ELSEWHERE = -2,	 /* there is one, in another pid namespace */
};

/* Returns the process that holds the lock in directory PATH, or one of the above. The text of the
 * file is not trusted. */
pid_t runtime_owner(const char *path);

#endif
