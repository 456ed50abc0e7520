/*
 * ref_bufferevent PORT [THREADS]: an echo server as in libevent's documentation.
 *
 * evconnlistener and bufferevent, with one event_base per thread.
 */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_read(struct bufferevent *connection, void *unused)
{
	(void)unused;
	bufferevent_write_buffer(connection, bufferevent_get_input(connection));
}

static void on_event(struct bufferevent *connection, short what, void *unused)
{
	(void)unused;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		bufferevent_free(connection);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer,
		      int peer_size, void *base)
{
	const int on = 1;
	struct bufferevent *connection;

	(void)listener, (void)peer, (void)peer_size;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	connection = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!connection) {
		close(fd);
		return;
	}
	bufferevent_setcb(connection, on_read, NULL, on_event, NULL);
	bufferevent_enable(connection, EV_READ | EV_WRITE);
}

static struct event_base *listening_base(unsigned short port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct event_base *base = event_base_new();

	if (!base || !evconnlistener_new_bind(base, on_accept, base,
					      LEV_OPT_REUSEABLE | LEV_OPT_REUSEABLE_PORT |
						      LEV_OPT_CLOSE_ON_FREE,
					      4096, (struct sockaddr *)&address, sizeof(address))) {
		perror("ref_bufferevent: cannot listen");
		exit(1);
	}
	return base;
}

static void *serve(void *base)
{
	event_base_dispatch(base);
	return NULL;
}

int main(int argc, char **argv)
{
	struct event_base *bases[64];
	int threads = argc > 2 ? atoi(argv[2]) : 1;

	if (argc < 2 || threads < 1 || threads > 64) {
		fprintf(stderr, "usage: ref_bufferevent PORT [THREADS]\n");
		return 64;
	}
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < threads; i++)
		bases[i] = listening_base((unsigned short)atoi(argv[1]));
	for (int i = 1; i < threads; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, serve, bases[i])) {
			fprintf(stderr, "ref_bufferevent: cannot create a thread\n");
			return 1;
		}
	}
	serve(bases[0]);
}
