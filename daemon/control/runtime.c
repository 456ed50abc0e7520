#include "control/runtime.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
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
 * Is the pid file in the directory still the one that we have open? Its last owner may have removed
 * it before we got the lock, and an operator may remove it at any time.
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

/* A second link may be an attack: writing our pid would overwrite the file that the link names. */
static bool has_other_links(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && st.st_nlink > 1;
}

enum lock_result { LOCK_HELD, LOCK_FAILED, LOCK_RETRY };

/* F_SETLK failed with errno: another process holds the lock or has just released it, or an error.
 */
static enum lock_result report_lock(const struct runtime *r, struct errors *e)
{
	struct flock holder = whole_file;
	int error = errno;
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

static enum lock_result try_lock(struct runtime *r, struct errors *e)
{
	r->pid = openat(r->dir, "skeld.pid", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (r->pid < 0) {
		errors_add(e, NULL, 0, "cannot open %s/skeld.pid: %s", r->path, strerror(errno));
		return LOCK_FAILED;
	}
	if (fcntl(r->pid, F_SETLK, &whole_file) < 0)
		return report_lock(r, e);
	if (has_other_links(r->pid)) {
		errors_add(e, NULL, 0, "cannot use %s/skeld.pid: the file has more than one link",
			   r->path);
		return LOCK_FAILED;
	}
	return check_pid_file(r->dir, r->pid) == PID_FILE_OURS ? LOCK_HELD : LOCK_RETRY;
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

static int open_directory(struct runtime *r, struct errors *e)
{
	r->made = mkdir(r->path, 0755) == 0;
	int error = r->made ? 0 : errno;
	r->dir = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->dir >= 0)
		return 0;
	if (errno == ENOENT && error != EEXIST)
		errors_add(e, NULL, 0, "cannot create the runtime directory %s: %s", r->path,
			   strerror(error));
	else
		errors_add(e, NULL, 0, "cannot open the runtime directory %s: %s", r->path,
			   strerror(errno));
	return -1;
}

int runtime_open(struct runtime *r, const char *path, struct errors *e)
{
	*r = (struct runtime){.path = path, .dir = -1, .pid = -1};
	if (open_directory(r, e) < 0)
		return -1;
	if (lock(r, e)) {
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
	int fd =
		openat(r->dir, ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	bool good = fd >= 0;
	for (size_t done = 0; good && done < length;) {
		ssize_t n = write(fd, text + done, length - done);
		good = n > 0;
		done += good ? (size_t)n : 0;
	}
	if (good && renameat(r->dir, ".new", r->dir, name) < 0)
		good = false;
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
	bool ours = check_pid_file(r->dir, r->pid) != PID_FILE_FOREIGN;
	for (size_t i = N_FILES; ours && i-- > 0;)
		if (unlinkat(r->dir, files[i], 0) < 0 && errno != ENOENT)
			log_warning("cannot remove %s/%s: %s", r->path, files[i], strerror(errno));
	if (r->made && ours)
		rmdir(r->path);
	close(r->pid);
	close(r->dir);
	r->dir = r->pid = -1;
}

pid_t runtime_owner(const char *path)
{
	char name[4096];
	struct flock holder = whole_file;
	pid_t pid = 0;
	snprintf(name, sizeof(name), "%s/skeld.pid", path);
	/* F_GETLK needs no write permission. */
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == EACCES)
		return -1;
	if (fd >= 0 && fcntl(fd, F_GETLK, &holder) == 0 && holder.l_type == F_WRLCK)
		pid = holder.l_pid;
	if (fd >= 0)
		close(fd);
	return pid;
}
