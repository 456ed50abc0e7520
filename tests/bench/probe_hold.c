/* What idle connections cost, and how long it takes to be rid of them. */
#include "measure.h"
#include "probe.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MESSAGE = 64 };

/* A connection that was served once: one that only waits in the backlog costs nothing yet. */
static int open_and_use(unsigned short port, unsigned number)
{
	char sent[MESSAGE], answer[MESSAGE];
	int fd = client_connect(port, number, true);

	memset(sent, 'x', sizeof(sent));
	if (fd < 0 || !client_send(fd, sent, sizeof(sent)) ||
	    !client_receive(fd, answer, sizeof(answer)))
		die("connection %u", number + 1);
	if (memcmp(sent, answer, sizeof(sent)) != 0)
		diex("connection %u was answered something else", number + 1);
	return fd;
}

static double stop(pid_t pid)
{
	struct pollfd gone = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	double began = clock_us();

	if (gone.fd < 0 || kill(pid, SIGINT))
		die("process %d", pid);
	if (poll(&gone, 1, 30000) != 1)
		diex("process %d is still there after 30 s", pid);
	return clock_us() - began;
}

/* Connections that ended in anything but an orderly close. */
static unsigned count_reset(const int *fds, unsigned count)
{
	unsigned reset = 0;
	char byte;

	for (unsigned i = 0; i < count; i++)
		reset += recv(fds[i], &byte, 1, MSG_DONTWAIT) != 0;
	return reset;
}

void probe_hold(int argc, char **argv)
{
	unsigned short port = (unsigned short)number_between(argv[1], 1, 65535, "PORT");
	unsigned count = (unsigned)number_between(argv[2], 1, 1e6, "COUNT");
	pid_t pid = (pid_t)number_between(argv[3], 1, 1 << 30, "PID");
	int *fds = calloc(count, sizeof(*fds));
	struct memory before, after;

	if (!fds)
		die("%u connections", count);
	/* The first one brings in what is needed once, not once each. */
	close(open_and_use(port, 0));
	before = process_memory(pid);
	for (unsigned i = 0; i < count; i++)
		fds[i] = open_and_use(port, i);
	after = process_memory(pid);
	printf("bytes_each %.0f\n", (after.private_used - before.private_used) / count);
	if (argc > 4 && strcmp(argv[4], "stop") == 0) {
		printf("drain_us %.0f\n", stop(pid));
		printf("reset %u\n", count_reset(fds, count));
	}
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
	free(fds);
}
