#include "data/listener.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { SYN = 0x02, ACK = 0x10 }; /* RFC 9293, 3.1 */

static const char *path_of(const struct address *a)
{
	return ((const struct sockaddr_un *)&a->sa)->sun_path;
}

/* A socket file that nobody listens on is left over from a crash. Anything else stays. */
static void remove_stale(const struct address *a)
{
	struct stat st;
	if (lstat(path_of(a), &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)&a->sa, a->length) < 0 && errno == ECONNREFUSED)
		unlink(path_of(a));
	close(fd);
}

static int open_socket(const struct address *a, bool share)
{
	int one = 1, family = a->sa.ss_family;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	bool good = true;
	if (family == AF_UNIX) {
		remove_stale(a);
	} else {
		/* TCP_NODELAY is inherited by what is accepted: no system call for each. */
		good = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
		       setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0 &&
		       (family != AF_INET6 ||
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) == 0) &&
		       (!share || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0);
	}
	if (good && bind(fd, (const struct sockaddr *)&a->sa, a->length) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/*
 * The first socket is bound without SO_REUSEPORT, so that an address which another process has is
 * refused: with it, the kernel would silently share connections with a second daemon of the same
 * user. Once it listens, it lets the others in.
 */
static int open_sockets(struct listener *l, size_t n, bool share)
{
	for (size_t i = 0; i < n; i++) {
		int fd = open_socket(&l->actual, share || i > 0);
		if (fd < 0)
			return -1;
		l->fds[l->n_fds++] = fd;
		if (i > 0 || l->asked.sa.ss_family == AF_UNIX)
			continue;
		l->actual.length = sizeof(l->actual.sa);
		if (getsockname(fd, (struct sockaddr *)&l->actual.sa, &l->actual.length) < 0)
			return -1;
	}
	return 0;
}

/* So that the file is removed later, and no other one. */
static int remember_file(struct listener *l)
{
	struct stat st;
	if (l->actual.sa.ss_family != AF_UNIX)
		return 0;
	if (lstat(path_of(&l->actual), &st) < 0)
		return -1;
	l->device = st.st_dev;
	l->inode = st.st_ino;
	return 0;
}

static void cannot_listen(const struct listen_config *c, const struct address *a, struct errors *e)
{
	int why = errno;
	char text[ADDRESS_TEXT_MAX];
	address_show(a, text);
	errors_add(e, c->place.file, c->place.line, "cannot listen on %s (%s): %s", text, c->title,
		   strerror(why));
}

struct listener *listener_open(const struct listen_config *c, const struct address *a, size_t n,
			       bool share, struct errors *e)
{
	if (a->sa.ss_family == AF_UNIX)
		n = 1;
	struct listener *l = calloc(1, sizeof(*l) + n * sizeof(int));
	if (l)
		*l = (struct listener){
			.refs = 1, .title = strdup(c->title), .asked = *a, .actual = *a};
	bool opened = l && l->title && open_sockets(l, n, share) == 0;
	if (opened && remember_file(l) == 0)
		return l;
	cannot_listen(c, a, e);
	if (opened)
		unlink(path_of(a)); /* bound a moment ago */
	if (l)
		listener_unref(l);
	return NULL;
}

int listener_listen(const struct listener *l, const struct listen_config *c, struct errors *e)
{
	int one = 1;
	for (size_t i = 0; i < l->n_fds; i++) {
		if (listen(l->fds[i], (int)c->backlog) == 0 &&
		    (i > 0 || l->inode ||
		     setsockopt(l->fds[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0))
			continue;
		cannot_listen(c, &l->actual, e);
		return -1;
	}
	return 0;
}

static bool is_listening(int fd, struct address *a)
{
	int type = 0, accepts = 0, family;
	socklen_t length = sizeof(type);
	a->length = sizeof(a->sa);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &length) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a->sa, &a->length) < 0)
		return false;
	family = a->sa.ss_family;
	return type == SOCK_STREAM && accepts &&
	       (family == AF_INET || family == AF_INET6 || family == AF_UNIX);
}

bool listeners_adopt(struct listeners *all, int fd, const char *name, enum keeper keeper,
		     struct errors *e)
{
	struct address a = {0};
	struct listener *l = NULL;
	size_t at = 0;
	int one = 1;
	char *title = strdup(name);
	if (!is_listening(fd, &a)) {
		errors_add(e, NULL, 0, "descriptor %d (%s) is no listening stream socket: closed",
			   fd, name);
	} else {
		while (at < all->n && !(all->listener[at]->keeper == keeper &&
					address_equal(&all->listener[at]->actual, &a)))
			at++;
		size_t n = at < all->n ? all->listener[at]->n_fds : 0;
		if (title && at < LISTENERS_MAX)
			l = realloc(at < all->n ? all->listener[at] : NULL,
				    sizeof(*l) + (n + 1) * sizeof(int));
		if (!l)
			errors_add(e, NULL, 0, "descriptor %d (%s): %s: closed", fd, name,
				   at < LISTENERS_MAX ? "out of memory" : "too many");
	}
	if (!l) {
		free(title);
		close(fd);
		return false;
	}
	all->listener[at] = l;
	if (at == all->n) {
		all->n++;
		*l = (struct listener){
			.refs = 1, .keeper = keeper, .title = title, .asked = a, .actual = a};
		title = NULL;
		remember_file(l);
	}
	free(title);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	/* One that we stored may have been left with the filter of listener_retire(). */
	if (keeper == KEEPER_STORE)
		setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof(one));
	if (a.sa.ss_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	l->fds[l->n_fds++] = fd;
	return true;
}

void listeners_remember(struct listeners *all, struct listener *l)
{
	if (all->n < LISTENERS_MAX)
		all->listener[all->n++] = listener_ref(l);
}

void listeners_prune(struct listeners *all)
{
	size_t kept = 0;
	for (size_t i = 0; i < all->n; i++)
		if (atomic_load(&all->listener[i]->refs) > 1)
			all->listener[kept++] = all->listener[i];
		else
			listener_unref(all->listener[i]);
	all->n = kept;
}

bool listeners_forget(struct listeners *all, const struct listener *l)
{
	size_t i = 0;
	while (i < all->n && all->listener[i] != l)
		i++;
	if (i == all->n)
		return false;
	listener_unref(all->listener[i]);
	all->listener[i] = all->listener[--all->n];
	return true;
}

void listeners_clear(struct listeners *all)
{
	while (all->n)
		listener_unref(all->listener[--all->n]);
}

bool listener_is_for(const struct listener *l, size_t j, unsigned i, unsigned n)
{
	return l->n_fds < n ? i % l->n_fds == j : j % n == i;
}

void listener_set_backlog(const struct listener *l, int backlog)
{
	if (l->keeper == KEEPER_UNIT)
		return;
	for (size_t i = 0; i < l->n_fds; i++)
		listen(l->fds[i], backlog);
}

void listener_retire(const struct listener *l)
{
	/*
	 * A filter that drops each SYN (socket(7), SO_ATTACH_FILTER; it sees the TCP header, flags
	 * in byte 13): nobody begins any more, those who have begun get through. If it cannot be
	 * had, the gap between the last accept(2) and close(2) is microseconds.
	 */
	struct sock_filter no_syn[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
				       BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN | ACK),
				       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1),
				       BPF_STMT(BPF_RET | BPF_K, 0),
				       BPF_STMT(BPF_RET | BPF_K, UINT32_MAX)};
	struct sock_fprog program = {sizeof(no_syn) / sizeof(*no_syn), no_syn};
	struct stat st;
	if (l->keeper != KEEPER_NONE)
		return;
	for (size_t i = 0; i < l->n_fds; i++)
		if (l->asked.sa.ss_family == AF_UNIX)
			shutdown(l->fds[i], SHUT_RD); /* connect(2) is refused, the queue stays */
		else
			setsockopt(l->fds[i], SOL_SOCKET, SO_ATTACH_FILTER, &program,
				   sizeof(program));
	if (!l->inode)
		return;
	const char *path = path_of(&l->asked);
	int there = lstat(path, &st);
	if (there == 0 && st.st_dev == l->device && st.st_ino == l->inode)
		there = unlink(path);
	if (there < 0 && errno != ENOENT)
		log_warning("%s stays behind: %s", path, strerror(errno));
}

void listener_revive(const struct listener *l)
{
	int one = 1;
	for (size_t i = 0; i < l->n_fds; i++)
		setsockopt(l->fds[i], SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof(one));
}

void listener_give_to(const struct listener *l, uid_t uid, gid_t gid)
{
	if (l->inode && l->keeper == KEEPER_NONE && lchown(path_of(&l->actual), uid, gid) < 0)
		log_warning("the socket %s cannot be given to uid %u: %s", path_of(&l->actual),
			    (unsigned)uid, strerror(errno));
}

struct listener *listener_ref(struct listener *l)
{
	atomic_fetch_add(&l->refs, 1);
	return l;
}

void listener_unref(struct listener *l)
{
	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	for (size_t i = 0; i < l->n_fds; i++)
		close(l->fds[i]);
	free(l->title);
	free(l);
}
