#include "control/runtime.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* In the order of their creation; removed in reverse, the locked one last. */
static const char *const files[] = {"skeld.pid", "status", "stats.prom", ".new"};
enum { N_FILES = sizeof(files) / sizeof(*files) };

/*
 * The lock: a record lock on the whole pid file, fcntl(2). The kernel releases it when the process
 * ends for any reason, and F_GETLK names its owner, so that no text has to be trusted. The process
 * would also lose the lock by closing any other descriptor of the file: the daemon opens it once.
 */
static const struct flock whole_file = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

/*
 * Is the pid file in the directory still the one that is open? Its last owner may have removed it
 * before this process got the lock, and an operator may remove it at any time.
 */
enum pid_file { PID_FILE_OURS, PID_FILE_MISSING, PID_FILE_FOREIGN };

static enum pid_file check_pid_file(int dir, int fd)
{
	struct stat ours, there;
	if (fstat(fd, &ours) < 0)
		return PID_FILE_OURS;
	if (fstatat(dir, "skeld.pid", &there, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? PID_FILE_MISSING : PID_FILE_OURS;
	return ours.st_dev == there.st_dev && ours.st_ino == there.st_ino ? PID_FILE_OURS
									  : PID_FILE_FOREIGN;
}

/* Does the file have the mode and owner that this file gives it? Otherwise it belongs to another
 * version or user. */
static bool is_private(const struct runtime *r)
{
	struct stat st;
	return fstat(r->pid, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
	       st.st_uid == r->owner.uid && !(st.st_mode & (S_IRWXG | S_IRWXO));
}

/* A daemon holds a write lock; another user may hold a read lock on a file that is not private. */
static bool is_held_by_daemon(int fd)
{
	struct flock reader = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	return fcntl(fd, F_GETLK, &reader) == 0 && reader.l_type == F_WRLCK;
}

enum lock_result { LOCK_HELD, LOCK_FAILED, LOCK_RETRY };

/* F_SETLK failed with ERROR: another process holds the lock or has just released it, or an error.
 */
static enum lock_result report_lock(const struct runtime *r, int error, struct errors *e)
{
	struct flock holder = whole_file;
	if (error != EAGAIN && error != EACCES) {
		errors_add(e, NULL, 0, "cannot lock %s/skeld.pid: %s", r->path, strerror(error));
		return LOCK_FAILED;
	}
	if (fcntl(r->pid, F_GETLK, &holder) == 0 && holder.l_type == F_UNLCK)
		return LOCK_RETRY;
	if (holder.l_pid > 0)
		errors_add(e, NULL, 0,
			   "another instance is running: pid=%d holds %s/skeld.pid; use another "
			   "--runtime-dir for a second instance",
			   (int)holder.l_pid, r->path);
	else
		errors_add(e, NULL, 0,
			   "another instance is running: %s/skeld.pid is locked, perhaps from "
			   "another pid namespace, see lslocks(8)",
			   r->path);
	return LOCK_FAILED;
}

/* Returns false and errno if that fails; EAGAIN: the file was just removed. */
static bool open_pid_file(struct runtime *r, bool *created)
{
	r->pid = openat(r->dir, "skeld.pid", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	*created = r->pid >= 0;
	if (*created)
		return r->owner.uid == geteuid() || fchown(r->pid, r->owner.uid, r->owner.gid) == 0;
	if (errno == EEXIST) {
		r->pid = openat(r->dir, "skeld.pid", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		if (r->pid < 0 && errno == ENOENT)
			errno = EAGAIN;
	}
	return r->pid >= 0;
}

static enum lock_result try_lock(struct runtime *r, struct errors *e)
{
	bool created;
	if (!open_pid_file(r, &created)) {
		if (errno == EAGAIN)
			return LOCK_RETRY;
		errors_add(e, NULL, 0, "cannot open %s/skeld.pid: %s", r->path, strerror(errno));
		return LOCK_FAILED;
	}
	bool usable = created || is_private(r);
	int error = fcntl(r->pid, F_SETLK, &whole_file) < 0 ? errno : 0;
	if (error && (usable || is_held_by_daemon(r->pid)))
		return report_lock(r, error, e);
	if (check_pid_file(r->dir, r->pid) != PID_FILE_OURS)
		return LOCK_RETRY;
	if (usable)
		return LOCK_HELD;
	if (unlinkat(r->dir, "skeld.pid", 0) == 0)
		return LOCK_RETRY;
	errors_add(e, NULL, 0, "cannot replace %s/skeld.pid: %s", r->path, strerror(errno));
	return LOCK_FAILED;
}

static bool lock(struct runtime *r, struct errors *e)
{
	enum lock_result result;
	while ((result = try_lock(r, e)) != LOCK_HELD) {
		if (r->pid >= 0)
			close(r->pid);
		r->pid = -1;
		if (result == LOCK_FAILED)
			return false;
	}
	return true;
}

/* Can only root and this user place a symbolic link in DIR? */
static bool is_trusted(int dir)
{
	struct stat st;
	return fstat(dir, &st) == 0 && (st.st_uid == 0 || st.st_uid == geteuid()) &&
	       !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/* Open the directory NAME in DIR. */
static int enter(int dir, const char *name, int flags)
{
	struct stat st;
	int follow = is_trusted(dir) ? 0 : O_NOFOLLOW;
	int fd = openat(dir, name, flags | follow | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOTDIR && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		errno = S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
	return fd;
}

static int open_path(char *path)
{
	int dir = open(*path == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *rest = NULL;
	for (char *name = strtok_r(path, "/", &rest); name && dir >= 0;
	     name = strtok_r(NULL, "/", &rest)) {
		int next = enter(dir, name, O_PATH), error = errno;
		close(dir);
		errno = error;
		dir = next;
	}
	return dir;
}

/* Open the directory, after it was created if it is missing. Returns 0, or -1 and an error. */
static int open_directory(struct runtime *r, struct errors *e)
{
	char parent[PATH_MAX], last[PATH_MAX];
	size_t length = strlen(r->path);
	errno = ENAMETOOLONG;
	int dir = length < PATH_MAX ? open_path(dirname(strcpy(parent, r->path))) : -1;
	const char *name = length < PATH_MAX ? basename(strcpy(last, r->path)) : "";
	r->made = dir >= 0 && mkdirat(dir, name, 0755) == 0;
	int error = errno; /* why the directory could not be created */
	r->dir = dir >= 0 ? enter(dir, name, O_RDONLY) : -1;
	if (r->dir < 0 && dir >= 0 && errno != ENOENT)
		errors_add(e, NULL, 0, "cannot open the runtime directory %s: %s", r->path,
			   strerror(errno));
	else if (r->dir < 0)
		errors_add(e, NULL, 0, "cannot create the runtime directory %s: %s", r->path,
			   strerror(error));
	if (dir >= 0)
		close(dir);
	return r->dir < 0 ? -1 : 0;
}

/* Give the directory to the owner if this process created it, else check whose it is. */
static int own_directory(const struct runtime *r, struct errors *e)
{
	struct stat st;
	uid_t us = geteuid();
	if (r->made && r->owner.uid != us && fchown(r->dir, r->owner.uid, r->owner.gid) < 0) {
		errors_add(e, NULL, 0, "cannot change the owner of the runtime directory %s: %s",
			   r->path, strerror(errno));
		return -1;
	}
	if (fstat(r->dir, &st) < 0 || st.st_uid == 0 || st.st_uid == us ||
	    st.st_uid == r->owner.uid)
		return 0;
	errors_add(e, NULL, 0,
		   "the runtime directory %s belongs to uid %u: expected root or the user of the "
		   "daemon",
		   r->path, (unsigned)st.st_uid);
	return -1;
}

int runtime_open(struct runtime *r, const char *path, const struct account *owner, struct errors *e)
{
	*r = (struct runtime){.path = path, .dir = -1, .pid = -1};
	r->owner = owner ? *owner : (struct account){geteuid(), getegid(), ""};
	if (open_directory(r, e) < 0)
		return -1;
	if (own_directory(r, e) == 0 && lock(r, e)) {
		for (size_t i = 1; i < N_FILES; i++)
			unlinkat(r->dir, files[i], 0);
		return 0;
	}
	close(r->dir);
	r->dir = -1;
	return -1;
}

int runtime_announce(const struct runtime *r, struct errors *e)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(r->pid, 0) == 0 && pwrite(r->pid, text, (size_t)n, 0) == n)
		return 0;
	errors_add(e, NULL, 0, "cannot write %s/skeld.pid: %s", r->path, strerror(errno));
	return -1;
}

int runtime_replace(const struct runtime *r, const char *name, const char *text, size_t length,
		    struct errors *e)
{
	if (check_pid_file(r->dir, r->pid) != PID_FILE_OURS) { /* another daemon may run there */
		errors_add(e, NULL, 0,
			   "cannot write %s/%s: skeld.pid was removed from the directory, so -s "
			   "cannot find this daemon; restart it",
			   r->path, name);
		return -1;
	}
	unlinkat(r->dir, ".new", 0); /* it may be a link to a file elsewhere */
	int fd = openat(r->dir, ".new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	bool good = fd >= 0;
	for (size_t done = 0; good && done < length;) {
		ssize_t n = write(fd, text + done, length - done);
		good = n > 0;
		done += good ? (size_t)n : 0;
	}
	good = good && renameat(r->dir, ".new", r->dir, name) == 0;
	if (!good)
		errors_add(e, NULL, 0, "cannot write %s/%s: %s; the previous file stays", r->path,
			   name, strerror(errno));
	if (fd >= 0)
		close(fd);
	return good ? 0 : -1;
}

void runtime_close(struct runtime *r)
{
	if (r->dir < 0)
		return;
	enum pid_file found = check_pid_file(r->dir, r->pid);
	for (size_t i = N_FILES; found != PID_FILE_FOREIGN && i-- > 0;)
		if (unlinkat(r->dir, files[i], 0) < 0 && errno != ENOENT)
			log_warning("cannot remove %s/%s: %s", r->path, files[i], strerror(errno));
	if (r->made && found == PID_FILE_OURS) /* else the path may lead to another directory */
		rmdir(r->path);
	close(r->pid);
	close(r->dir);
	r->dir = r->pid = -1;
}

pid_t runtime_owner(const char *path)
{
	char name[4096];
	struct flock holder = whole_file;
	pid_t pid = RUNTIME_NO_OWNER;
	snprintf(name, sizeof(name), "%s/skeld.pid", path);
	/* F_GETLK needs no write permission. */
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == EACCES ? RUNTIME_UNREADABLE : RUNTIME_NO_OWNER;
	if (fcntl(fd, F_GETLK, &holder) == 0 && holder.l_type == F_WRLCK)
		pid = holder.l_pid > 0 ? holder.l_pid : RUNTIME_ELSEWHERE;
	close(fd);
	return pid;
}
