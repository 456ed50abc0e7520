/* probe: measures one operation of a daemon from outside. */
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

/* Below the ephemeral ports, so that no client takes the port before the server does. */
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
		bool in_use = bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0;

		close(fd);
		if (!in_use) {
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
	int min_arguments;
	const char *usage;
} commands[] = {
	{"port", probe_port, 0, "                 print a free port"},
	{"wait", probe_wait, 2, "PORT PID         wait up to 5 s until PID listens on PORT"},
	{"memory", probe_memory, 1,
	 "PID            pss_bytes and private_bytes, including children"},
	{"hold", probe_hold, 3,
	 "PORT COUNT PID [stop]\n"
	 "                        open COUNT connections, use each once: bytes_each;\n"
	 "                        stop: from SIGINT to the end of PID: drain_us, reset"},
	{"signal", probe_signal, 4,
	 "PID TEXT COUNT SECONDS <OUTPUT-OF-PID\n"
	 "                        from SIGUSR2 to TEXT in the output, COUNT times or for SECONDS:\n"
	 "                        p50_us, p99_us"},
	{"start", probe_start, 5,
	 "ready|answer COUNT PORT REQUEST COMMAND...\n"
	 "                        from COMMAND to READY=1 or to a reply to REQUEST: start_us"},
	{"reload", probe_reload, 5,
	 "TEMPLATE CONFIG PID PORT COUNT [REQUEST]\n"
	 "                        new CONFIG, SIGHUP; time until a connection gets the new text:\n"
	 "                        served_us; until none gets the old one: settled_us; errors"},
	{"reloads", probe_reloads, 5,
	 "TEMPLATE CONFIG PID RATE SECONDS\n"
	 "                        write a new CONFIG and send SIGHUP, RATE times per second: sent"},
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
		if (strcmp(argv[1], commands[i].name) == 0 &&
		    argc - 2 >= commands[i].min_arguments) {
			commands[i].run(argc - 1, argv + 1);
			return 0;
		}
	}
	print_usage(stderr);
	return 64;
}
