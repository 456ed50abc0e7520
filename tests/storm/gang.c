#include "gang.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { PATIENCE_SECONDS = 8, TALK = 16384 };

static struct sockaddr_in address_of(struct fixture *f, const char *title)
{
	char host[64];
	const char *text = listener_address(f, title), *port = strrchr(text, ':');
	struct sockaddr_in in = {.sin_family = AF_INET};
	MUST(port && (size_t)(port - text) < sizeof(host));
	memcpy(host, text, (size_t)(port - text));
	host[port - text] = '\0';
	in.sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10));
	MUST(inet_pton(AF_INET, host, &in.sin_addr) == 1);
	return in;
}

struct gang *gang_start_at(struct fixture *f, const char *title, unsigned n,
			   void (*does)(struct gang *g, unsigned i))
{
	struct gang *g =
		mmap(NULL, sizeof(*g), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(g != MAP_FAILED && n <= GANG_MAX);
	g->daemon = f->pid;
	g->address = address_of(f, title);
	for (unsigned i = 0; i < n; i++) {
		pid_t test = getpid(), pid = fork();
		MUST(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			signal(SIGPIPE, SIG_IGN);
			close(f->alive); /* the janitor waits for the test alone */
			if (getppid() == test)
				does(g, i);
			_exit(0);
		}
		g->pid[g->n++] = pid;
	}
	return g;
}

struct gang *gang_start(struct fixture *f, unsigned n, void (*does)(struct gang *g, unsigned i))
{
	return gang_start_at(f, "main", n, does);
}

void gang_stop(struct fixture *f, struct gang *g)
{
	atomic_store(&g->stop, true);
	while (g->n)
		reap(f, g->pid[--g->n]);
}

void gang_free(struct gang *g)
{
	munmap(g, sizeof(*g));
}

uint64_t gang_count(const struct gang *g, unsigned which)
{
	return atomic_load(&g->count[which]);
}

int gang_connect(const struct gang *g)
{
	const struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
	do {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		if (connect(fd, (const struct sockaddr *)&g->address, sizeof(g->address)) == 0)
			return fd;
		close(fd);
	} while (errno == EINPROGRESS && !atomic_load(&g->stop)); /* the backlog is full */
	return -1;
}

void gang_reset(int fd)
{
	const struct linger now = {.l_onoff = 1};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

void gang_talk(struct gang *g, unsigned i)
{
	static char said[TALK], heard[TALK];
	memset(said, 'a' + (int)i, sizeof(said));
	int fd = gang_connect(g);
	while (!atomic_load(&g->stop) && send(fd, said, sizeof(said), 0) == sizeof(said) &&
	       recv(fd, heard, sizeof(heard), MSG_WAITALL) == sizeof(heard) &&
	       memcmp(said, heard, sizeof(said)) == 0)
		atomic_fetch_add(&g->count[0], 1);
	close(fd);
}

bool is_long(void)
{
	return getenv("SKELD_STORM_LONG") != NULL;
}
