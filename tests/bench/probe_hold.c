/* What idle connections cost, and how long it takes to be rid of them. */
#include "measure.h"
#include "probe.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MESSAGE = 64, BATCH = 100 };

/*
 * Connections that were served once: one that only waits in the backlog costs nothing yet.
 * Some at a time, for the backlog is not endless either.
 */
static void open_and_use(unsigned short port, int *fds, unsigned count)
{
	char sent[MESSAGE], answer[MESSAGE];

	memset(sent, 'x', sizeof(sent));
	for (unsigned i = 0; i < count; i++) {
		fds[i] = client_connect(port, i, true);
		if (fds[i] < 0 || !client_send(fds[i], sent, sizeof(sent)))
			die("connection %u", i + 1);
		if ((i + 1) % BATCH && i + 1 < count)
			continue;
		for (unsigned j = i / BATCH * BATCH; j <= i; j++) {
			if (!client_receive(fds[j], answer, sizeof(answer)))
				die("connection %u has no answer", j + 1);
			if (memcmp(sent, answer, sizeof(sent)) != 0)
				diex("connection %u has a wrong answer", j + 1);
		}
	}
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
	open_and_use(port, fds, 1);
	close(fds[0]);
	before = process_memory(pid);
	open_and_use(port, fds, count);
	after = process_memory(pid);
	printf("bytes_each %.0f\n", (after.private_used - before.private_used) / count);
	if (argc > 4 && strcmp(argv[4], "stop") == 0) {
		pause_us(3e6); /* until they are idle: a drain waits a little for the others */
		printf("drain_us %.0f\n", stop(pid));
		printf("reset %u\n", count_reset(fds, count));
	}
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
	free(fds);
}
