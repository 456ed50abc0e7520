/* Memory of idle connections, and the duration of a drain with them. */
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
 * Open connections and use each once: a connection in the backlog costs the server nothing yet. In
 * batches, because the backlog is limited.
 */
static void open_and_use(unsigned short port, int *fds, unsigned count)
{
	char sent[MESSAGE], reply[MESSAGE];

	memset(sent, 'x', sizeof(sent));
	for (unsigned i = 0; i < count; i++) {
		fds[i] = client_connect(port, i, true);
		if (fds[i] < 0 || !client_send(fds[i], sent, sizeof(sent)))
			die("cannot open connection %u", i + 1);
		if ((i + 1) % BATCH && i + 1 < count)
			continue;
		for (unsigned j = i / BATCH * BATCH; j <= i; j++) {
			if (!client_receive(fds[j], reply, sizeof(reply)))
				die("no reply on connection %u", j + 1);
			if (memcmp(sent, reply, sizeof(sent)) != 0)
				diex("wrong reply on connection %u", j + 1);
		}
	}
}

/* Returns the time from SIGINT to the end of PID. */
static double stop(pid_t pid)
{
	struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	double began = clock_us();

	if (ended.fd < 0 || kill(pid, SIGINT))
		die("cannot signal process %d", pid);
	if (poll(&ended, 1, 30000) != 1)
		diex("process %d has not ended after 30 s", pid);
	return clock_us() - began;
}

/* Connections that ended with an error instead of a normal close. */
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
		die("cannot allocate %u connections", count);
	/* The first connection allocates memory that is needed only once. */
	open_and_use(port, fds, 1);
	close(fds[0]);
	before = process_memory(pid);
	open_and_use(port, fds, count);
	after = process_memory(pid);
	printf("bytes_each %.0f\n", (after.private_used - before.private_used) / count);
	if (argc > 4 && strcmp(argv[4], "stop") == 0) {
		pause_us(3e6); /* a drain closes a connection at once if it was idle for 2 s */
		printf("drain_us %.0f\n", stop(pid));
		printf("reset %u\n", count_reset(fds, count));
	}
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
	free(fds);
}
