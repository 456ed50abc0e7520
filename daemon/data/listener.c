#include "data/listener.h"

#include "base/log.h"
#include "data/udp_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const int no_interface = INT_MAX; /* the kernel gives interfaces small numbers */

static const char *path_of(const struct address *a)
{
	return ((const struct sockaddr_un *)&a->sa)->sun_path;
}

/* Remove a socket file that no process listens on: a crash left it behind. Keep all other files. */
static void remove_stale_file(const struct address *a)
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

static bool enable(int fd, int level, int option)
{
	int one = 1;
	return setsockopt(fd, level, option, &one, sizeof(one)) == 0;
}

static bool share_port(int fd)
{
	return enable(fd, SOL_SOCKET, SO_REUSEPORT);
}

/* Options that accepted sockets inherit, which saves system calls for each of them. */
static bool set_inherited_options(int fd)
{
	return enable(fd, IPPROTO_TCP, TCP_NODELAY) && enable(fd, SOL_SOCKET, SO_KEEPALIVE);
}

static bool set_options(int fd, const struct address *a, bool share)
{
	bool good = true;
	if (a->sa.ss_family == AF_UNIX)
		return true;
	if (a->sa.ss_family == AF_INET6)
		good = enable(fd, IPPROTO_IPV6, IPV6_V6ONLY);
	if (share)
		good = good && share_port(fd);
	if (a->datagram) /* not SO_REUSEADDR: a second socket would take all datagrams */
		return good && udp_socket_set_options(fd, a);
	return good && enable(fd, SOL_SOCKET, SO_REUSEADDR) && set_inherited_options(fd);
}

/* Returns a bound socket, or -1 and errno. */
static int open_socket(const struct address *a, bool share)
{
	int family = a->sa.ss_family, type = a->datagram ? SOCK_DGRAM : SOCK_STREAM;
	if (a->no_interface) {
		errno = ENODEV;
		return -1;
	}
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (family == AF_UNIX)
		remove_stale_file(a);
	if (set_options(fd, a, share) && bind(fd, (const struct sockaddr *)&a->sa, a->length) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/*
 * The first socket is bound and listens without SO_REUSEPORT, so that an address which another
 * process uses is an error. With the option, the kernel would share the connections with a second
 * daemon of the same user. Until one of them listens, SO_REUSEADDR lets all sockets bind to the
 * port (socket(7)). listener_listen() then sets SO_REUSEPORT on the first socket too. UDP sockets
 * have no such state: the first one gets SO_REUSEPORT once it is bound.
 */
static int open_sockets(struct listener *l, size_t n, bool share)
{
	for (size_t i = 0; i < n; i++) {
		int fd = open_socket(&l->actual, share || i > 0);
		if (fd < 0)
			return -1;
		l->fds[l->n_fds++] = fd;
		if (i > 0 || l->configured.sa.ss_family == AF_UNIX)
			continue;
		l->actual.length = sizeof(l->actual.sa);
		if (getsockname(fd, (struct sockaddr *)&l->actual.sa, &l->actual.length) < 0 ||
		    (l->actual.datagram && !share_port(fd)))
			return -1;
	}
	return 0;
}

/* Record which file bind(2) has created, so that only this one is removed later. */
static int record_file(struct listener *l)
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

/* Report errno. */
static void add_error(const struct listen_config *c, const struct address *a, struct errors *e)
{
	int error = errno;
	char text[ADDRESS_TEXT_MAX];
	address_format(a, text);
	errors_add(e, c->location.file, c->location.line, "cannot listen on %s (listen \"%s\"): %s",
		   a->no_interface ? c->address : text, c->title, strerror(error));
}

/* Is the file of a unix socket still there, and not that of a socket unit? */
static bool has_own_file(const struct listener *l)
{
	struct stat st;
	return l->inode && l->keeper != KEEPER_UNIT && lstat(path_of(&l->actual), &st) == 0 &&
	       st.st_dev == l->device && st.st_ino == l->inode;
}

int listener_set_access(struct listener *l, const struct listen_config *c)
{
	const char *path = path_of(&l->actual);
	if (!has_own_file(l))
		return 0;
	if (c->group && *c->group) {
		if (lchown(path, (uid_t)-1, c->gid) < 0)
			return -1;
		l->gid = c->gid;
		l->has_gid = true;
	}
	return c->mode && *c->mode ? chmod(path, (mode_t)strtoul(c->mode, NULL, 8)) : 0;
}

/* Returns a listener without sockets and with room for MAX_FDS, or NULL. */
static struct listener *alloc_listener(const char *title, const struct address *a, size_t max_fds)
{
	struct listener *l = calloc(1, sizeof(*l) + max_fds * sizeof(int));
	char *copy = strdup(title);
	if (!l || !copy) {
		free(l);
		free(copy);
		return NULL;
	}
	*l = (struct listener){.refs = 1, .title = copy, .configured = *a, .actual = *a};
	return l;
}

struct listener *listener_open(const struct listen_config *c, const struct address *a, size_t n,
			       bool share, struct errors *e)
{
	if (a->sa.ss_family == AF_UNIX)
		n = 1;
	struct listener *l = alloc_listener(c->title, a, n);
	bool opened = l && open_sockets(l, n, share) == 0;
	if (opened && record_file(l) == 0 && listener_set_access(l, c) == 0)
		return l;
	add_error(c, a, e);
	if (opened && a->sa.ss_family == AF_UNIX)
		unlink(path_of(a)); /* bind(2) created it */
	if (l)
		listener_unref(l);
	return NULL;
}

int listener_listen(const struct listener *l, const struct listen_config *c, struct errors *e)
{
	for (size_t i = 0; i < l->n_fds && !l->actual.datagram; i++) {
		bool is_first_of_port = i == 0 && l->actual.sa.ss_family != AF_UNIX;
		if (listen(l->fds[i], (int)c->backlog) == 0 &&
		    (!is_first_of_port || share_port(l->fds[i])))
			continue;
		add_error(c, &l->actual, e);
		return -1;
	}
	return 0;
}

/* Store the address of FD in A. Returns false if FD is neither a listening stream socket nor a UDP
 * socket that receives from all peers. */
static bool is_listening(int fd, struct address *a)
{
	int type = 0, protocol = 0, listening = 0, family;
	struct sockaddr_storage peer;
	socklen_t length = sizeof(type), peer_length = sizeof(peer);
	a->length = sizeof(a->sa);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a->sa, &a->length) < 0)
		return false;
	family = a->sa.ss_family;
	a->datagram = type == SOCK_DGRAM && protocol == IPPROTO_UDP;
	if (a->datagram)
		return address_port(a) &&
		       getpeername(fd, (struct sockaddr *)&peer, &peer_length) < 0;
	return type == SOCK_STREAM && listening &&
	       (family == AF_INET || family == AF_INET6 || family == AF_UNIX);
}

/* Was listener_retire() called for this socket? */
static bool refuses_connections(int fd)
{
	int interface = 0;
	socklen_t length = sizeof(interface);
	return getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &interface, &length) == 0 &&
	       interface == no_interface;
}

/* Make room for one more listener. */
static bool make_room(struct listeners *all)
{
	struct listener **larger = realloc(all->listener, (all->n + 1) * sizeof(*larger));
	if (larger)
		all->listener = larger;
	return larger;
}

/* Add FD to the listener with this address and keeper, or to a new one. Returns NULL or an error.
 */
static const char *add_socket(struct listeners *all, int fd, const struct address *a,
			      const char *name, enum keeper keeper)
{
	size_t i = 0;
	while (i < all->n &&
	       !(all->listener[i]->keeper == keeper && address_equal(&all->listener[i]->actual, a)))
		i++;
	if (i == LISTENERS_MAX)
		return "too many";
	struct listener *l = NULL;
	if (i == all->n)
		l = make_room(all) ? alloc_listener(name, a, 1) : NULL;
	else /* no other reference exists, the listener may move */
		l = realloc(all->listener[i],
			    sizeof(*l) + (all->listener[i]->n_fds + 1) * sizeof(int));
	if (!l)
		return "out of memory";
	all->listener[i] = l;
	if (i == all->n) {
		all->n++;
		l->keeper = keeper;
		l->refuses = refuses_connections(fd);
		record_file(l);
	}
	l->fds[l->n_fds++] = fd;
	return NULL;
}

bool listeners_adopt(struct listeners *all, int fd, const char *name, enum keeper keeper,
		     struct errors *e)
{
	struct address a = {0};
	const char *error = is_listening(fd, &a)
				    ? add_socket(all, fd, &a, name, keeper)
				    : "neither a listening stream socket nor a UDP socket";
	if (error) {
		errors_add(e, NULL, 0, "descriptor %d (%s): %s; closed", fd, name, error);
		close(fd);
		return false;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (a.datagram)
		udp_socket_set_options(fd, &a);
	else if (a.sa.ss_family != AF_UNIX)
		set_inherited_options(fd);
	return true;
}

void listeners_remember(struct listeners *all, struct listener *l)
{
	if (make_room(all))
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

void listeners_clear(struct listeners *all)
{
	while (all->n)
		listener_unref(all->listener[--all->n]);
	free(all->listener);
	all->listener = NULL;
}

bool listener_is_assigned(const struct listener *l, size_t socket_index, unsigned worker,
			  unsigned n_workers)
{
	return l->n_fds < n_workers ? worker % l->n_fds == socket_index
				    : socket_index % n_workers == worker;
}

void listener_set_backlog(const struct listener *l, int backlog)
{
	if (l->keeper == KEEPER_UNIT || l->actual.datagram)
		return;
	for (size_t i = 0; i < l->n_fds; i++)
		listen(l->fds[i], backlog);
}

/*
 * Bind FD to a network interface that does not exist: the kernel no longer finds the socket for a
 * new connection. The queue and the handshakes that have begun are not affected; shutdown(2) and
 * close(2) would reset both. A socket can be bound to one interface only, without CAP_NET_RAW:
 * this cannot be undone, and fails for an IPv6 link-local address.
 */
static bool refuse_connections(int fd)
{
	return setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &no_interface, sizeof(no_interface)) ==
	       0;
}

static void remove_file(const struct listener *l)
{
	struct stat st;
	const char *path = path_of(&l->actual);
	int result = lstat(path, &st);
	if (result == 0 && st.st_dev == l->device && st.st_ino == l->inode)
		result = unlink(path);
	if (result < 0 && errno != ENOENT)
		log_warning("cannot remove socket file %s: %s", path, strerror(errno));
}

void listener_retire(struct listener *l)
{
	if (l->keeper != KEEPER_NONE)
		return;
	for (size_t i = 0; i < l->n_fds; i++)
		if (l->actual.datagram)
			udp_socket_retire(l->fds[i], &l->actual);
		else if (l->actual.sa.ss_family == AF_UNIX)
			/* The kernel then refuses connect(2) and keeps the queue. */
			shutdown(l->fds[i], SHUT_RD);
		else if (refuse_connections(l->fds[i]))
			l->refuses = true;
	if (l->inode)
		remove_file(l);
}

const char *listener_path(const struct listener *l)
{
	return l->inode && l->keeper == KEEPER_NONE ? path_of(&l->actual) : NULL;
}

bool listener_file_missing(const struct listener *l)
{
	struct stat st;
	const char *path = listener_path(l);
	if (!path)
		return false;
	if (stat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR;
	return st.st_dev != l->device || st.st_ino != l->inode;
}

void listener_chown(const struct listener *l, uid_t uid, gid_t gid)
{
	char address[ADDRESS_TEXT_MAX];
	const char *path = listener_path(l);
	bool good = !path || lchown(path, uid, l->has_gid ? l->gid : gid) == 0;
	bool ours = l->keeper != KEEPER_UNIT && l->actual.sa.ss_family != AF_UNIX;
	for (size_t i = 0; ours && i < l->n_fds; i++)
		good = fchown(l->fds[i], uid, gid) == 0 && good;
	address_format(&l->actual, address);
	if (!good)
		log_warning("cannot change the owner of socket %s to uid %u: %s", address,
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
