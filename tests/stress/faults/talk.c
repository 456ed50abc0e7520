/* The clients of a trial: blocking sockets, with a deadline. */
#include "trial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CHUNK = 65536, TALK_SECONDS = 10 };

int trial_dial(struct trial *t, enum place at)
{
	struct timeval patience = {.tv_sec = TALK_SECONDS};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET};
	bool local = strncmp(t->address[at], "unix:", 5) == 0;
	int fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", t->address[at] + strlen("unix:"));
	if (!local) {
		char host[32];
		const char *colon = strchr(t->address[at], ':');
		snprintf(host, sizeof(host), "%.*s", (int)(colon - t->address[at]), t->address[at]);
		in.sin_port = htons((uint16_t)atoi(colon + 1));
		inet_pton(AF_INET, host, &in.sin_addr);
	}
	if (connect(fd, local ? (struct sockaddr *)&un : (struct sockaddr *)&in,
		    local ? sizeof(un) : sizeof(in)) == 0)
		return fd;
	close(fd);
	return -1;
}

enum answer trial_talk(struct trial *t, enum place at, size_t bytes)
{
	static char chunk[CHUNK];
	int fd = trial_dial(t, at);
	if (fd < 0)
		return REFUSED;
	enum answer a = ANSWERED;
	if (t->request) {
		bytes = 1; /* of the answer */
		a = send(fd, t->request, strlen(t->request), MSG_NOSIGNAL) > 0 ? a : CLOSED;
	}
	for (size_t sent = 0; sent < bytes && a == ANSWERED && !t->request;) {
		size_t n = bytes - sent < CHUNK ? bytes - sent : CHUNK;
		ssize_t r = send(fd, chunk, n, MSG_NOSIGNAL);
		if (r < 0)
			a = errno == EAGAIN ? HUNG : CLOSED;
		else
			sent += (size_t)r;
	}
	for (size_t got = 0; got < bytes && a == ANSWERED;) {
		ssize_t r = recv(fd, chunk, CHUNK, 0);
		if (r <= 0)
			a = r < 0 && errno == EAGAIN ? HUNG : CLOSED;
		else
			got += (size_t)r;
	}
	close(fd);
	return a;
}

int trial_get(struct trial *t, const char *path)
{
	char text[1 << 16];
	size_t got = 0;
	ssize_t r;
	int fd = trial_dial(t, ADMIN), code = 0;
	if (fd < 0)
		return 0;
	int n = snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\n\r\n", path);
	send(fd, text, (size_t)n, MSG_NOSIGNAL);
	while ((r = recv(fd, text + got, sizeof(text) - 1 - got, 0)) > 0)
		got += (size_t)r;
	bool hung = r < 0 && errno == EAGAIN;
	close(fd);
	text[got] = '\0';
	return hung ? -1 : sscanf(text, "HTTP/1.%*c %d", &code) == 1 ? code : 0;
}

/* At once; or if the kernel cannot refuse for a TCP socket, when the listener is closed. */
static bool is_refused(struct trial *t, enum place at)
{
	if (strncmp(t->address[at], "unix:", 5) == 0)
		return trial_talk(t, at, 5) == REFUSED;
	return TRY(trial_talk(t, at, 5) == REFUSED);
}

bool trial_serves(struct trial *t, int side)
{
	enum place local[] = {LOCAL_A, LOCAL_B}, port[] = {PORT_A, PORT_B};
	return trial_talk(t, MAIN, 5) == ANSWERED && trial_talk(t, local[side], 5) == ANSWERED &&
	       trial_talk(t, port[side], 5) == ANSWERED && is_refused(t, local[!side]) &&
	       is_refused(t, port[!side]);
}
