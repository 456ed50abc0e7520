#include "data/udp_socket.h"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

bool udp_socket_set_options(int fd, const struct address *a)
{
	bool v6 = a->sa.ss_family == AF_INET6;
	int on = 1, off = 0;
	/* A socket that was passed in may receive several datagrams as one. Old kernels, which
	 * cannot do that, do not know the option. */
	setsockopt(fd, IPPROTO_UDP, UDP_GRO, &off, sizeof(off));
	/* An answer has to leave from the address that received the request: on a wildcard, the
	 * kernel would choose another one. */
	return v6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) == 0
		  : setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) == 0;
}

/*
 * A connected socket receives only from its peer. The peer is the socket's own address, or with a
 * wildcard the loopback address: no other socket sends from there. If the system has no route to
 * it, the socket receives until it is closed.
 *
 * Not connect(3): the thread sanitizer reports it as a race with the recvmmsg(2) of a worker. The
 * kernel locks the socket.
 */
void udp_socket_retire(int fd, const struct address *a)
{
	syscall(SYS_connect, fd, &a->sa, a->length);
}

uint32_t udp_socket_drops(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t length = sizeof(info);
	getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &length);
	return info[SK_MEMINFO_DROPS];
}
