#include "peer.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct address address_of(const char *text)
{
	struct address a;
	cr_assert(address_parse(text, &a), "%s", text);
	return a;
}

int peer_connect(const struct address *a)
{
	int fd =
		socket(a->sa.ss_family, (a->datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	MUST(fd >= 0);
	if (connect(fd, (const struct sockaddr *)&a->sa, a->length) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int peer_begin(const struct address *a)
{
	int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	MUST(fd >= 0);
	MUST(connect(fd, (const struct sockaddr *)&a->sa, a->length) == 0 || errno == EINPROGRESS);
	return fd;
}

int peer_connect_half(const struct address *a)
{
	int zero = 0, fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(fd >= 0);
	MUST(setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &zero, sizeof(zero)) == 0);
	MUST(connect(fd, (const struct sockaddr *)&a->sa, a->length) == 0);
	return fd;
}

struct peer peer_listen(struct address *a)
{
	int port[2], end[2], one = 1;
	MUST(pipe2(port, O_CLOEXEC) == 0 && pipe2(end, O_CLOEXEC) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(end[1]);
		int fd = socket(a->sa.ss_family, SOCK_STREAM, 0);
		bool good = (a->sa.ss_family == AF_UNIX ||
			     setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0) &&
			    bind(fd, (const struct sockaddr *)&a->sa, a->length) == 0 &&
			    listen(fd, 5) == 0 &&
			    getsockname(fd, (struct sockaddr *)&a->sa, &a->length) == 0;
		unsigned number = address_port(a);
		if (good && write(port[1], &number, sizeof(number)) == sizeof(number))
			good = read(end[0], &one, 1) == 0;
		_exit(good ? 0 : 1);
	}
	unsigned number;
	close(port[1]);
	close(end[0]);
	MUST(pid > 0 && read(port[0], &number, sizeof(number)) == sizeof(number));
	close(port[0]);
	address_set_port(a, number);
	return (struct peer){pid, end[1]};
}

void peer_end(struct peer p)
{
	int status;
	close(p.end);
	MUST(waitpid(p.pid, &status, 0) == p.pid && status == 0);
}
