#include "control/privileges.h"

#include "admin/http.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* SCHED_FLAG_KEEP_POLICY of linux/sched.h, which conflicts with sched.h. */
enum { KEEP_POLICY = 0x08 };

int privileges_find_owner(const struct config *c, struct owner *owner, struct errors *e)
{
	*owner = (struct owner){geteuid(), getegid()};
	if (!*c->user && !*c->group)
		return 0;
	if (geteuid() != 0) {
		errors_add(e, NULL, 0,
			   "only root can change user and group: start as root, or set "
			   "user = \"\" and group = \"\"");
		return -1;
	}
	errno = 0;
	const struct passwd *user = *c->user ? getpwnam(c->user) : NULL;
	const struct group *group = *c->group ? getgrnam(c->group) : NULL;
	if ((*c->user && !user) || (*c->group && !group)) {
		errors_add(e, NULL, 0, "cannot change to %s \"%s\": %s",
			   *c->user && !user ? "user" : "group",
			   *c->user && !user ? c->user : c->group,
			   errno ? strerror(errno) : "does not exist");
		return -1;
	}
	*owner = (struct owner){user ? user->pw_uid : 0, group ? group->gr_gid : user->pw_gid};
	return 0;
}

int privileges_drop(const struct snapshot *s, const struct runtime *r, struct errors *e)
{
	const struct config *c = s->config;
	uid_t uid = r->owner.uid;
	gid_t gid = r->owner.gid;
	if (!*c->user && !*c->group)
		return 0;
	log_chown(uid, gid);
	for (size_t i = 0; i < s->n_listeners; i++)
		listener_chown(s->listener[i], uid, gid);
	bool good = (*c->user ? initgroups(c->user, gid) : setgroups(1, &gid)) == 0 &&
		    setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0 &&
		    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
	prctl(PR_SET_DUMPABLE, 1); /* a core dump and a debugger still work, prctl(2) */
	if (!good) {
		errors_add(e, NULL, 0, "cannot change to user \"%s\", group \"%s\": %s", c->user,
			   c->group, strerror(errno));
		return -1;
	}
	if (faccessat(r->dir, ".", W_OK, AT_EACCESS) < 0) {
		errors_add(e, NULL, 0, "user \"%s\" cannot write to the runtime directory %s: %s",
			   c->user, r->path, strerror(errno));
		return -1;
	}
	return 0;
}

void privileges_prefer_this_thread(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attributes = {.size = 48, .flags = KEEP_POLICY, .runtime = 100000};
	errno = 0;
	attributes.nice = getpriority(PRIO_PROCESS, 0);
	syscall(SYS_sched_setattr, 0, &attributes, 0);
}

size_t privileges_raise_nofile(const struct config *c, unsigned n)
{
	/* The daemon itself needs some: standard files, log, status file, reload, admin clients;
	 * each worker needs some for its event loop and its listening sockets. */
	size_t wanted = (size_t)c->limits.connections;
	size_t own = 64u + (*c->admin.address ? ADMIN_CLIENTS : 0u) + n * (4 + c->n_listen);
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= wanted + own)
		return wanted;
	rlim_t had = r.rlim_cur;
	r.rlim_cur = wanted + own < r.rlim_max ? wanted + own : r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r) < 0)
		r.rlim_cur = had;
	else if (r.rlim_cur >= wanted + own)
		return wanted;
	size_t possible = r.rlim_cur > own ? r.rlim_cur - own : 1;
	log_warning("limits.connections = %zu: only %zu can be open, RLIMIT_NOFILE is %llu; raise "
		    "LimitNOFILE= or ulimit -n",
		    wanted, possible, (unsigned long long)r.rlim_cur);
	return possible;
}
