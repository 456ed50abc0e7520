/*
 * ref_epoll PORT [THREADS]: an echo server with the least possible work per message.
 *
 * epoll_wait, read, write: no timeouts, no limits, no accounting, and a short write closes the
 * connection. Any cost of another server beyond this is the cost of its features.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, BUFFER = 65536, BACKLOG = 4096 };

static int listen_on(unsigned short port)
{
	const int on = 1;
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, BACKLOG)) {
		perror("ref_epoll: cannot listen");
		exit(1);
	}
	return fd;
}

static void accept_all(int epoll, int listener)
{
	const int on = 1;
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct epoll_event watch = {.events = EPOLLIN, .data.fd = fd};

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &watch);
	}
}

static void echo(int fd, char *buffer)
{
	ssize_t n = read(fd, buffer, BUFFER);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || write(fd, buffer, (size_t)n) != n)
		close(fd);
}

static void *serve(void *listener_of_thread)
{
	const int listener = *(int *)listener_of_thread;
	const int epoll = epoll_create1(EPOLL_CLOEXEC);
	char *buffer = malloc(BUFFER);
	struct epoll_event watch = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];

	if (epoll < 0 || !buffer || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &watch)) {
		perror("ref_epoll: cannot start");
		exit(1);
	}
	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == listener)
				accept_all(epoll, listener);
			else
				echo(events[i].data.fd, buffer);
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int listeners[64], threads = argc > 2 ? atoi(argv[2]) : 1;

	if (argc < 2 || threads < 1 || threads > 64) {
		fprintf(stderr, "usage: ref_epoll PORT [THREADS]\n");
		return 64;
	}
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < threads; i++)
		listeners[i] = listen_on((unsigned short)atoi(argv[1]));
	for (int i = 1; i < threads; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, serve, &listeners[i])) {
			fprintf(stderr, "ref_epoll: cannot create a thread\n");
			return 1;
		}
	}
	serve(&listeners[0]);
}
