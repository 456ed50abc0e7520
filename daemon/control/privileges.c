#include "control/privileges.h"

#include "admin/http.h"
#include "base/account.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int find_account(const struct config *c, struct account *a, struct errors *e)
{
	int error = *c->user ? account_find_user(c->user, a) : 0;
	if (error) {
		errors_add(e, NULL, 0, "cannot change to user \"%s\": %s", c->user,
			   error == -ENOENT ? "does not exist" : strerror(-error));
		return -1;
	}
	error = *c->group ? account_find_group(c->group, &a->gid) : 0;
	if (error)
		errors_add(e, NULL, 0, "cannot change to group \"%s\": %s", c->group,
			   error == -ENOENT ? "does not exist" : strerror(-error));
	return error ? -1 : 0;
}

int privileges_find_owner(const struct config *c, struct account *owner, struct errors *e)
{
	*owner = (struct account){geteuid(), getegid(), ""};
	if (!*c->user && !*c->group)
		return 0;
	if (geteuid() != 0) {
		errors_add(e, NULL, 0,
			   "only root can change user and group: start as root, or set "
			   "user = \"\" and group = \"\"");
		return -1;
	}
	return find_account(c, owner, e);
}

static bool change_to(const struct account *a)
{
	return (*a->login ? initgroups(a->login, a->gid) : setgroups(1, &a->gid)) == 0 &&
	       setresgid(a->gid, a->gid, a->gid) == 0 && setresuid(a->uid, a->uid, a->uid) == 0 &&
	       prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

int privileges_drop(const struct snapshot *s, const struct runtime *r, struct errors *e)
{
	const struct config *c = s->config;
	const struct account *a = &r->owner;
	log_chown(a->uid, a->gid);
	for (size_t i = 0; i < s->n_listeners; i++)
		listener_chown(s->listener[i], a->uid, a->gid);
	if (!change_to(a)) {
		errors_add(e, NULL, 0, "cannot change to user \"%s\", group \"%s\": %s", c->user,
			   c->group, strerror(errno));
		return -1;
	}
	prctl(PR_SET_DUMPABLE, 1); /* a core dump and a debugger still work, prctl(2) */
	/* Not faccessat(3): it calls faccessat2(2), which an old filter rejects with EPERM. The
	 * real and the effective ids are the same now. */
	if (syscall(SYS_faccessat, r->dir, ".", W_OK) < 0) {
		errors_add(e, NULL, 0, "user \"%s\" cannot write to the runtime directory %s: %s",
			   c->user, r->path, strerror(errno));
		return -1;
	}
	return 0;
}

/* Can this process create, rename and remove files beside PATH? */
static bool can_replace(const char *path)
{
	int length = (int)(strrchr(path, '/') - path);
	char *directory = strndup(path, length ? (size_t)length : 1);
	bool possible = !directory || access(directory, W_OK | X_OK) == 0;
	free(directory);
	return possible;
}

void privileges_warn_of_limits(const struct snapshot *s)
{
	const struct config *c = s->config;
	if (c->log.target == LOG_TO_FILE && !can_replace(c->log.file))
		log_warning("log directory not writable as user=\"%s\" group=\"%s\": %s; after a "
			    "rotation the daemon keeps writing to the old file, let logrotate "
			    "create the new one (option create), or change the owner of the "
			    "directory",
			    c->user, c->group, c->log.file);
	for (size_t i = 0; i < s->n_listeners; i++) {
		const char *path = listener_path(s->listener[i]);
		if (path && !can_replace(path))
			log_warning(
				"socket directory not writable as user=\"%s\" group=\"%s\": %s; "
				"the daemon cannot remove the file or create it again, "
				"use a directory that belongs to this user",
				c->user, c->group, path);
	}
}

size_t privileges_raise_nofile(const struct config *c, unsigned n)
{
	/* The daemon itself needs some: standard files, log, status file, reload, admin clients;
	 * each worker needs some for its event loop and its listening sockets. */
	size_t wanted = (size_t)c->limits.connections;
	size_t own = 64u + (*c->admin.address ? ADMIN_CLIENTS : 0u) + n * (5 + c->n_listen);
	size_t all = wanted + own + (size_t)c->limits.outgoing;
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= all)
		return wanted;
	rlim_t had = r.rlim_cur;
	r.rlim_cur = all < r.rlim_max ? all : r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r) < 0)
		r.rlim_cur = had;
	if (r.rlim_cur >= wanted + own)
		return wanted;
	size_t possible = r.rlim_cur > own ? (size_t)r.rlim_cur - own : 1;
	log_warning("limits.connections = %zu: only %zu can be open, RLIMIT_NOFILE is %llu; raise "
		    "LimitNOFILE= or ulimit -n",
		    wanted, possible, (unsigned long long)r.rlim_cur);
	return possible;
}
