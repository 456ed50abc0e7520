/*
 * probe: one moment in the life of a daemon, measured from outside.
 */
#include "probe.h"

#include "measure.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Below the ports the kernel gives to clients, so that no client takes it meanwhile. */
static void probe_port(int argc, char **argv)
{
	(void)argc, (void)argv;
	srandom((unsigned)getpid() ^ (unsigned)clock_us());
	for (int tries = 0; tries < 1000; tries++) {
		unsigned short port = (unsigned short)(10000 + random() % 20000);
		struct sockaddr_in address = {.sin_family = AF_INET,
					      .sin_port = htons(port),
					      .sin_addr.s_addr = htonl(INADDR_ANY)};
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		bool taken = bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0;

		close(fd);
		if (!taken) {
			printf("%d\n", port);
			return;
		}
	}
	diex("no free port");
}

static void probe_wait(int argc, char **argv)
{
	unsigned short port = (unsigned short)number_between(argv[1], 1, 65535, "PORT");
	pid_t pid = (pid_t)number_between(argv[2], 1, 1 << 30, "PID");
	double end = clock_us() + 5e6;

	(void)argc;
	while (clock_us() < end && kill(pid, 0) == 0) {
		int fd = client_connect(port, 0, true);

		if (fd >= 0) {
			close(fd);
			return;
		}
		pause_us(1000);
	}
	diex("nothing listens on port %d", port);
}

static void probe_memory(int argc, char **argv)
{
	struct memory memory = process_memory((pid_t)number_between(argv[1], 1, 1 << 30, "PID"));

	(void)argc;
	printf("pss_bytes %.0f\nprivate_bytes %.0f\n", memory.pss, memory.private_used);
}

static const struct command {
	const char *name;
	void (*run)(int argc, char **argv);
	int arguments; /* at least */
	const char *usage;
} commands[] = {
	{"port", probe_port, 0, "                 print a free port"},
	{"wait", probe_wait, 2, "PORT PID         until PID listens on PORT, 5 s at most"},
	{"memory", probe_memory, 1, "PID            pss_bytes and private_bytes, with children"},
	{"hold", probe_hold, 3,
	 "PORT COUNT PID [stop]\n"
	 "                        COUNT connections, each used once, then idle: bytes_each;\n"
	 "                        with stop: SIGINT until PID is gone, drain_us, and reset"},
	{"signal", probe_signal, 4,
	 "PID TEXT COUNT SECONDS <OUTPUT-OF-PID\n"
	 "                        SIGUSR2 until TEXT comes out, COUNT times or for SECONDS:\n"
	 "                        p50_us, p99_us"},
	{"start", probe_start, 5,
	 "ready|answer COUNT PORT REQUEST COMMAND...\n"
	 "                        COMMAND until READY=1, or until REQUEST is answered: start_us"},
	{"reload", probe_reload, 5,
	 "TEMPLATE CONFIG PID PORT COUNT [REQUEST]\n"
	 "                        a new CONFIG and SIGHUP until a new connection is told the new\n"
	 "                        text: served_us; until none is told the old: settled_us; errors"},
	{"reloads", probe_reloads, 5,
	 "TEMPLATE CONFIG PID RATE SECONDS\n"
	 "                        RATE times a second a new CONFIG and SIGHUP: sent"},
};

static void print_usage(FILE *to)
{
	fputs("usage: probe COMMAND ARGUMENT...\n", to);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].usage);
}

int main(int argc, char **argv)
{
	raise_descriptor_limit();
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 >= commands[i].arguments) {
			commands[i].run(argc - 1, argv + 1);
			return 0;
		}
	}
	print_usage(stderr);
	return 64;
}
