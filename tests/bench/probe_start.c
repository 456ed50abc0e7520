/* The time from exec to READY=1, or to the first reply that a client receives. */
#include "measure.h"
#include "probe.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STOP_TIMEOUT_US = 100000 };

/* Act as the service manager. The socket is abstract, so that no file remains. */
static int open_notify_socket(void)
{
	const struct timeval timeout = {.tv_sec = 5};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[64];
	socklen_t size;
	int length = snprintf(name, sizeof(name), "@bench-notify-%d", getpid());
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path + 1, name + 1, (size_t)length - 1);
	size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
	    setenv("NOTIFY_SOCKET", name, 1))
		die("cannot open the notify socket %s", name);
	return fd;
}

static void wait_ready(int notify)
{
	char message[1024];

	do {
		ssize_t n = recv(notify, message, sizeof(message) - 1, 0);

		if (n < 0)
			die("no READY=1 received");
		message[n] = '\0';
	} while (!strstr(message, "READY=1"));
}

/* The kernel accepts connections for a daemon that is still starting, so wait for a reply. */
static void wait_reply(unsigned short port, const char *request, pid_t pid)
{
	double end = clock_us() + 5e6;
	char byte;

	while (clock_us() < end) {
		int fd = client_connect(port, 0, true);

		if (fd < 0) {
			if (waitpid(pid, NULL, WNOHANG) == pid)
				diex("process %d ended before it replied", pid);
			pause_us(50);
			continue;
		}
		if (!client_send(fd, request, strlen(request)) || !client_receive(fd, &byte, 1))
			die("no reply on port %d", port);
		close(fd);
		return;
	}
	diex("nothing listens on port %d", port);
}

/* In a new process group, so that stop() reaches the children, too. */
static pid_t spawn(char **command)
{
	pid_t pid = vfork();

	if (pid < 0)
		die("cannot create a process");
	if (pid == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		execvp(command[0], command);
		_exit(127);
	}
	return pid;
}

static void stop(pid_t pid)
{
	double end = clock_us() + STOP_TIMEOUT_US;

	kill(pid, SIGTERM);
	while (waitpid(pid, NULL, WNOHANG) == 0) {
		/* memcached needs a second to stop; do not wait for it. */
		if (clock_us() > end)
			kill(-pid, SIGKILL);
		pause_us(500);
	}
}

void probe_start(int argc, char **argv)
{
	bool by_ready = strcmp(argv[1], "ready") == 0;
	int count = (int)number_between(argv[2], 1, 1e5, "COUNT");
	unsigned short port = (unsigned short)number_between(argv[3], 1, 65535, "PORT");
	struct samples start = {0};
	int notify = by_ready ? open_notify_socket() : -1;

	(void)argc;
	for (int i = 0; i < count; i++) {
		double began = clock_us();
		pid_t pid = spawn(argv + 5);

		if (by_ready)
			wait_ready(notify);
		else
			wait_reply(port, argv[4], pid);
		samples_add(&start, clock_us() - began);
		stop(pid);
	}
	printf("start_us %.1f\n", samples_quantile(&start, 0.50));
	samples_free(&start);
	if (by_ready)
		close(notify);
}
