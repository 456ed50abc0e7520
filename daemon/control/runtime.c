#include "control/runtime.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const files[] = {"skeld.pid", "status", "stats.prom", ".new"};

/*
 * Two locks, on a byte each (fcntl(2)). The guard is an open file description's: nothing but the
 * end of the process takes it away. But it does not say whose it is; the other, a process's, does:
 * F_GETLK tells the pid, which no text in the file can be trusted to. A process loses it when it
 * closes any descriptor of the file, see runtime_hold().
 */
enum lock { LOCK_GUARD, LOCK_NAME };

static struct flock lock_of(enum lock byte)
{
	return (struct flock){
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
}

/*
 * Whose is the pid file that is there? Whoever held the lock may have removed it before he let go,
 * and somebody else may at any time: then it is not the one that is locked. Where that cannot be
 * known it is ours.
 */
enum owner { OURS, NOBODYS, ANOTHERS };

static enum owner whose(int dir, int fd)
{
	struct stat a, b;
	if (fstat(fd, &a) < 0)
		return OURS;
	if (fstatat(dir, "skeld.pid", &b, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? NOBODYS : OURS;
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino ? OURS : ANOTHERS;
}

/* Then it is somebody's file, put there by who may write to the directory. */
static bool has_another_name(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && st.st_nlink > 1;
}

static int lock(struct runtime *r, struct errors *e)
{
	for (;;) {
		struct flock guard = lock_of(LOCK_GUARD);
		r->pid = openat(r->dir, "skeld.pid", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
				0644);
		if (r->pid < 0) {
			errors_add(e, NULL, 0, "cannot open %s/skeld.pid: %s", r->path,
				   strerror(errno));
			return -1;
		}
		int failed = fcntl(r->pid, F_OFD_SETLK, &guard);
		bool other = !failed && has_another_name(r->pid);
		if (!failed && !other && whose(r->dir, r->pid) == OURS)
			return 0;
		int why = errno;
		close(r->pid);
		r->pid = -1;
		if (other) {
			errors_add(e, NULL, 0,
				   "cannot use %s/skeld.pid: the file has another name, too",
				   r->path);
			return -1;
		}
		if (!failed)
			continue;
		pid_t owner = runtime_owner(r->path);
		if ((why == EAGAIN || why == EACCES) && owner > 0)
			errors_add(e, NULL, 0,
				   "another instance runs: pid %d holds %s/skeld.pid; use another "
				   "--runtime-dir for a second one",
				   (int)owner, r->path);
		else if (why == EAGAIN || why == EACCES)
			errors_add(e, NULL, 0,
				   "another instance runs: it is just starting with %s, or cannot "
				   "be seen from here, see lslocks(8)",
				   r->path);
		else
			errors_add(e, NULL, 0, "cannot lock %s/skeld.pid: %s", r->path,
				   strerror(why));
		return -1;
	}
}

void runtime_hold(const struct runtime *r)
{
	struct flock name = lock_of(LOCK_NAME);
	fcntl(r->pid, F_SETLK, &name);
}

int runtime_open(struct runtime *r, const char *path, struct errors *e)
{
	*r = (struct runtime){.path = path, .dir = -1, .pid = -1};
	r->made = mkdir(path, 0755) == 0;
	r->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->dir < 0) {
		errors_add(e, NULL, 0, "cannot use the runtime directory %s: %s", path,
			   strerror(errno));
		return -1;
	}
	if (lock(r, e) == 0) {
		for (size_t i = 1; i < sizeof(files) / sizeof(*files); i++)
			unlinkat(r->dir, files[i], 0); /* of one that was killed */
		runtime_hold(r);		       /* from here on they are believed */
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
	if (whose(r->dir, r->pid) != OURS) { /* there may be another daemon's by now */
		errors_add(e, NULL, 0,
			   "cannot write %s/%s: skeld.pid was removed from there, and -s does not "
			   "find this daemon: restart it",
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
		errors_add(e, NULL, 0, "cannot write %s/%s: %s; the one that was there stays",
			   r->path, name, strerror(errno));
	if (fd >= 0)
		close(fd);
	return good ? 0 : -1;
}

void runtime_close(struct runtime *r)
{
	if (r->dir < 0)
		return;
	bool ours = whose(r->dir, r->pid) != ANOTHERS;
	for (size_t i = sizeof(files) / sizeof(*files); ours && i-- > 0;)
		if (unlinkat(r->dir, files[i], 0) < 0 && errno != ENOENT) /* the pid file last, */
			log_warning("%s/%s stays behind: %s", r->path, files[i], /* still locked */
				    strerror(errno));
	if (r->made && ours)
		rmdir(r->path);
	close(r->pid);
	close(r->dir);
	r->dir = r->pid = -1;
}

pid_t runtime_owner(const char *path)
{
	char name[4096];
	snprintf(name, sizeof(name), "%s/skeld.pid", path);
	/* Read-only is enough to ask, and works for those who may not write. */
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == EACCES)
		return -1;
	struct flock l = lock_of(LOCK_NAME);
	pid_t pid = 0;
	if (fd >= 0 && fcntl(fd, F_GETLK, &l) == 0 && l.l_type == F_WRLCK)
		pid = l.l_pid;
	if (fd >= 0)
		close(fd);
	return pid;
}
