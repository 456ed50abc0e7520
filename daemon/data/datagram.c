#include "data/datagram.h"

#include "data/udp_socket.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	BATCH = 32,		 /* datagrams in one system call, and in one turn of the loop */
	DATAGRAM_MAX = 65535,	 /* bytes, the length field of UDP has 16 bits */
	SLOT = 65536 + 192,	 /* no power of two: the first bytes share no cache lines */
	GATHERED_MAX = 131072,	 /* bytes of answers */
	QUEUE_LENGTH_MAX = 65536 /* no socket has more datagrams in its queue */
};

struct datagram_socket {
	struct worker *worker;
	struct listener *listener;
	struct event event;
	uint64_t id; /* datagram_peer.socket */
	const char *title;
	uint32_t drops; /* drops of the kernel, counted so far */
	bool full;	/* the socket accepted no more answers in this turn of the loop */
	bool retired;
	TAILQ_ENTRY(datagram_socket) entry;
};

/* Room for the control message of IP_PKTINFO or IPV6_PKTINFO. */
union control {
	struct cmsghdr aligned;
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct batch {
	struct mmsghdr message[BATCH];
	struct iovec data[BATCH];
	struct datagram_peer peer[BATCH];
	union control control[BATCH];
};

/* Allocated for the first UDP listener. Pages that are never used take no memory. */
struct datagrams {
	TAILQ_HEAD(, datagram_socket) sockets;
	uint64_t last_id;
	bool in_callback;   /* the answers are sent when it has returned */
	struct event flush; /* sends answers that the service gave outside of `datagram` */
	struct batch in, out;
	struct datagram_socket *out_socket[BATCH];
	unsigned n_out;
	size_t n_gathered; /* bytes */
	char gathered[GATHERED_MAX];
	char received[BATCH][SLOT];
};

static void count_dropped(struct worker *w, enum drop_reason reason, uint64_t n)
{
	worker_add(w, COUNT_DATAGRAMS_DROPPED + (size_t)reason, n);
}

/* Answers. */

/* Send the N messages. Messages that a full socket does not accept are dropped. */
static void send_messages(struct datagram_socket *s, struct mmsghdr *message, unsigned n)
{
	while (n) {
		int sent =
			sendmmsg(event_get_fd(&s->event), message, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		unsigned done = sent > 0 ? (unsigned)sent : 1; /* the first message failed */
		if (sent > 0) {
			worker_add(s->worker, COUNT_DATAGRAMS_SENT, done);
		} else {
			s->full = errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM;
			done = s->full ? n : 1;
			count_dropped(s->worker, DROPPED_SEND, done);
		}
		message += done;
		n -= done;
	}
}

static void send_gathered(struct datagrams *d)
{
	for (unsigned first = 0, end; first < d->n_out; first = end) {
		struct datagram_socket *s = d->out_socket[first];
		for (end = first + 1; end < d->n_out && d->out_socket[end] == s;)
			end++;
		send_messages(s, d->out.message + first, end - first);
	}
	d->n_out = 0;
	d->n_gathered = 0;
}

static void end_turn(struct datagrams *d)
{
	struct datagram_socket *s;
	send_gathered(d);
	TAILQ_FOREACH (s, &d->sockets, entry)
		s->full = false;
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	end_turn(arg);
}

static struct datagram_socket *find_socket(const struct worker *w, uint64_t id)
{
	struct datagram_socket *s = NULL;
	if (w->datagrams)
		TAILQ_FOREACH (s, &w->datagrams->sockets, entry)
			if (s->id == id)
				break;
	return s;
}

const char *datagram_listener(const struct datagram_peer *p)
{
	return p->listener;
}

const struct sockaddr *datagram_peer_address(const struct datagram_peer *p, socklen_t *length)
{
	*length = p->address.any.sa_family == AF_INET6 ? sizeof(p->address.v6)
						       : sizeof(p->address.v4);
	return &p->address.any;
}

/* Write the control message that chooses the source address. Returns its length. */
static socklen_t set_source(const struct datagram_peer *to, union control *c)
{
	bool v6 = to->address.any.sa_family == AF_INET6;
	struct in6_pktinfo info6 = {to->local, to->interface};
	struct in_pktinfo info4 = {0};
	size_t length = v6 ? sizeof(info6) : sizeof(info4);
	memcpy(&info4.ipi_spec_dst, &to->local.s6_addr[12], sizeof(info4.ipi_spec_dst));
	c->aligned = (struct cmsghdr){.cmsg_len = (socklen_t)CMSG_LEN(length),
				      .cmsg_level = v6 ? IPPROTO_IPV6 : IPPROTO_IP,
				      .cmsg_type = v6 ? IPV6_PKTINFO : IP_PKTINFO};
	memcpy(CMSG_DATA(&c->aligned), v6 ? (void *)&info6 : (void *)&info4, length);
	return (socklen_t)CMSG_SPACE(length);
}

static void gather(struct datagrams *d, struct datagram_socket *s, const struct datagram_peer *to,
		   const void *bytes, size_t n)
{
	unsigned i = d->n_out++;
	struct batch *b = &d->out;
	socklen_t length;
	b->peer[i] = *to;
	datagram_peer_address(to, &length);
	b->data[i] = (struct iovec){d->gathered + d->n_gathered, n};
	b->message[i].msg_hdr = (struct msghdr){.msg_name = &b->peer[i].address,
						.msg_namelen = length,
						.msg_iov = &b->data[i],
						.msg_iovlen = 1,
						.msg_control = &b->control[i]};
	b->message[i].msg_hdr.msg_controllen = set_source(to, &b->control[i]);
	d->out_socket[i] = s;
	memcpy(d->gathered + d->n_gathered, bytes, n);
	d->n_gathered += n;
}

int datagram_send(struct worker *w, const struct datagram_peer *to, const void *bytes, size_t n)
{
	struct datagrams *d = w->datagrams;
	struct datagram_socket *s = find_socket(w, to->socket);
	if (s && n <= DATAGRAM_MAX && (d->n_out == BATCH || d->n_gathered + n > GATHERED_MAX))
		send_gathered(d);
	if (!s || n > DATAGRAM_MAX || s->full) {
		count_dropped(w, DROPPED_SEND, 1);
		return -1;
	}
	gather(d, s, to, bytes, n);
	if (!d->in_callback)
		event_active(&d->flush, EV_TIMEOUT, 1);
	return 0;
}

/* Receiving. */

/* Store the address that received message M in P->local, an IPv4 address in the last bytes. No
 * answer can have a multicast address as source: then it is ::, and the kernel chooses. */
static void get_local_address(struct msghdr *m, struct datagram_peer *p)
{
	struct in_pktinfo info4;
	struct in6_pktinfo info6;
	p->local = in6addr_any;
	p->interface = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			memcpy(&info4, CMSG_DATA(c), sizeof(info4));
			memcpy(&p->local.s6_addr[12], &info4.ipi_spec_dst,
			       sizeof(info4.ipi_spec_dst));
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			memcpy(&info6, CMSG_DATA(c), sizeof(info6));
			if (IN6_IS_ADDR_LINKLOCAL(&info6.ipi6_addr))
				p->interface = info6.ipi6_ifindex;
			if (!IN6_IS_ADDR_MULTICAST(&info6.ipi6_addr))
				p->local = info6.ipi6_addr;
		}
}

static void prepare_batch(struct datagrams *d, size_t limit)
{
	struct batch *b = &d->in;
	for (unsigned i = 0; i < BATCH; i++) {
		b->data[i] = (struct iovec){d->received[i], limit};
		b->message[i].msg_hdr =
			(struct msghdr){.msg_name = &b->peer[i].address,
					.msg_namelen = sizeof(b->peer[i].address),
					.msg_iov = &b->data[i],
					.msg_iovlen = 1,
					.msg_control = &b->control[i],
					.msg_controllen = (socklen_t)sizeof(b->control[i])};
	}
}

static void deliver(const struct datagram_socket *s, struct batch *b, unsigned i)
{
	struct worker *w = s->worker;
	struct msghdr *m = &b->message[i].msg_hdr;
	if (m->msg_flags & MSG_TRUNC) {
		count_dropped(w, DROPPED_TRUNCATED, 1);
		return;
	}
	worker_add(w, COUNT_DATAGRAMS_RECEIVED, 1);
	get_local_address(m, &b->peer[i]);
	b->peer[i].socket = s->id;
	b->peer[i].listener = s->title;
	w->workers->service->datagram(w, &b->peer[i], b->data[i].iov_base, b->message[i].msg_len);
}

/* Receive one batch from FD, a socket of S's listener. Returns the number of datagrams, 0 if there
 * are no more. */
static unsigned receive_batch(struct datagram_socket *s, int fd)
{
	struct worker *w = s->worker;
	struct datagrams *d = w->datagrams;
	int64_t limit = w->snapshot->config->limits.buffer;
	prepare_batch(d, limit < DATAGRAM_MAX ? (size_t)limit : DATAGRAM_MAX);
	int n = recvmmsg(fd, d->in.message, BATCH, MSG_DONTWAIT, NULL);
	d->in_callback = true;
	for (int i = 0; i < n; i++)
		deliver(s, &d->in, (unsigned)i);
	d->in_callback = false;
	end_turn(d);
	return n > 0 ? (unsigned)n : 0;
}

static void on_datagrams(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	receive_batch(arg, fd);
}

/* Pass on what the kernel received before the listener was retired, from the sockets of all
 * workers: another worker may be stuck. */
static void receive_queued(struct datagram_socket *s)
{
	const struct listener *l = s->listener;
	for (size_t i = 0; i < l->n_fds; i++)
		for (unsigned n = 1, all = 0; n && all < QUEUE_LENGTH_MAX; all += n)
			n = receive_batch(s, l->fds[i]);
}

/* Sockets. */

/* Fewer sockets than workers are shared: only the first worker of each socket counts. */
static void count_drops(struct datagram_socket *s)
{
	if (s->worker->index >= s->listener->n_fds)
		return;
	uint32_t drops = udp_socket_drops(event_get_fd(&s->event));
	if (drops == s->drops)
		return;
	count_dropped(s->worker, DROPPED_KERNEL, (uint32_t)(drops - s->drops));
	s->drops = drops;
}

static void close_socket(struct datagram_socket *s)
{
	event_del(&s->event);
	TAILQ_REMOVE(&s->worker->datagrams->sockets, s, entry);
	listener_unref(s->listener);
	free(s);
}

static struct datagrams *new_datagrams(struct worker *w)
{
	struct datagrams *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	TAILQ_INIT(&d->sockets);
	event_assign(&d->flush, w->base, -1, 0, on_flush, d);
	return d;
}

static struct datagram_socket *find_socket_of(const struct worker *w, const struct listener *l,
					      int fd)
{
	struct datagram_socket *s;
	TAILQ_FOREACH (s, &w->datagrams->sockets, entry)
		if (s->listener == l && event_get_fd(&s->event) == fd)
			break;
	return s;
}

bool datagrams_add(struct worker *w, struct listener *l, int fd, const char *title)
{
	if (!w->datagrams && !(w->datagrams = new_datagrams(w)))
		return false;
	struct datagram_socket *s = find_socket_of(w, l, fd);
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return false;
		s->worker = w;
		s->listener = listener_ref(l);
		/* Unique in the process: the peer of another worker is not found. */
		s->id = ++w->datagrams->last_id * WORKERS_MAX + w->index;
		event_assign(&s->event, w->base, fd, EV_READ | EV_PERSIST, on_datagrams, s);
		TAILQ_INSERT_TAIL(&w->datagrams->sockets, s, entry);
	}
	s->title = worker_keep_title(w, title);
	s->retired = false; /* the worker catches up: datagrams_keep() follows */
	return event_pending(&s->event, EV_READ, NULL) || event_add(&s->event, NULL) == 0;
}

static void retire_socket(struct datagram_socket *s)
{
	event_del(&s->event);
	if (s->listener->keeper != KEEPER_UNIT)
		receive_queued(s);
	count_drops(s);
	s->retired = true;
}

void datagrams_keep(struct worker *w, const struct snapshot *s)
{
	struct datagram_socket *d;
	if (!w->datagrams)
		return;
	TAILQ_FOREACH (d, &w->datagrams->sockets, entry)
		if (!d->retired && (!s || !snapshot_serves(s, d->listener)))
			retire_socket(d);
	if (!w->holds)
		datagrams_close_retired(w);
}

void datagrams_close_retired(struct worker *w)
{
	struct datagram_socket *s, *next;
	if (!w->datagrams)
		return;
	end_turn(w->datagrams); /* answers that were given outside of `datagram` */
	for (s = TAILQ_FIRST(&w->datagrams->sockets); s; s = next) {
		next = TAILQ_NEXT(s, entry);
		if (s->retired)
			close_socket(s);
	}
}

void datagrams_tick(struct worker *w)
{
	struct datagram_socket *s;
	if (w->datagrams)
		TAILQ_FOREACH (s, &w->datagrams->sockets, entry)
			count_drops(s);
}

void datagrams_free(struct worker *w)
{
	struct datagram_socket *s;
	if (!w->datagrams)
		return;
	while ((s = TAILQ_FIRST(&w->datagrams->sockets)))
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): TAILQ_REMOVE precedes each free() */
		close_socket(s);
	event_del(&w->datagrams->flush);
	free(w->datagrams);
}
