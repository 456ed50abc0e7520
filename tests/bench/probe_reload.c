/*
 * Reloads: measure each one, or send many. The daemon reads CONFIG. Each reload writes it from
 * TEMPLATE, with a new number in place of @N@.
 */
#include "measure.h"
#include "probe.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	FIRST = 1000, /* the number in CONFIG at the start; four digits, like all numbers */
	LAST = 9999,
	PAUSE_US = 100,	   /* between connections; nginx is fastest with this pause */
	QUIET_US = 150000, /* without the old number: the reload is complete */
};

struct config {
	char *template; /* NUL-terminated, owned */
	const char *path;
};

static void config_open(struct config *config, const char *template, const char *path)
{
	enum { ROOM = 65536 };
	FILE *file = fopen(template, "re");
	size_t n;

	config->path = path;
	config->template = calloc(1, ROOM);
	if (!file || !config->template)
		die("cannot read %s", template);
	n = fread(config->template, 1, ROOM - 1, file);
	fclose(file);
	if (n == ROOM - 1 || !strstr(config->template, "@N@"))
		diex("%s: longer than %d bytes, or without @N@", template, ROOM);
}

static void config_write(const struct config *config, int number)
{
	char temporary[4096];
	const char *rest = config->template, *at;
	FILE *file;

	snprintf(temporary, sizeof(temporary), "%s.new", config->path);
	file = fopen(temporary, "we");
	if (!file)
		die("cannot write %s", temporary);
	while ((at = strstr(rest, "@N@"))) {
		fprintf(file, "%.*s%d", (int)(at - rest), rest, number);
		rest = at + 3;
	}
	fputs(rest, file);
	if (fclose(file) || rename(temporary, config->path))
		die("cannot write %s", config->path);
}

/*
 * Open a connection and read the number after "generation-" in the bytes received. Returns 0 if
 * there is none.
 */
static int read_generation(unsigned short port, const char *request, unsigned source)
{
	static const char marker[] = "generation-";
	char reply[4096];
	size_t received = 0;
	int generation = 0, fd = client_connect(port, source, true);

	if (fd < 0)
		return 0;
	if (*request && !client_send(fd, request, strlen(request)))
		received = sizeof(reply);
	while (received < sizeof(reply) - 1) {
		ssize_t n = recv(fd, reply + received, sizeof(reply) - 1 - received, 0);
		const char *at;

		if (n <= 0)
			break;
		received += (size_t)n;
		reply[received] = '\0';
		at = strstr(reply, marker);
		if (at && strlen(at) >= sizeof(marker) - 1 + 4) {
			generation = atoi(at + sizeof(marker) - 1);
			break;
		}
	}
	close(fd);
	return generation;
}

struct reload_times {
	struct samples served, settled;
	long errors;
};

/*
 * Served: the first connection that receives the new number. Settled: the first one after the last
 * that received an old number. A server that replaces its processes serves both for a while.
 */
static void measure_reload(const struct config *config, pid_t pid, unsigned short port,
			   const char *request, int number, struct reload_times *times)
{
	double began, served = 0, settled = 0, elapsed = 0;

	config_write(config, number);
	began = clock_us();
	if (kill(pid, SIGHUP))
		die("cannot signal process %d", pid);
	for (unsigned source = 0; settled <= 0 || elapsed < settled + QUIET_US; source++) {
		int generation = read_generation(port, request, source);

		elapsed = clock_us() - began;
		times->errors += generation == 0;
		if (generation == number) {
			served = served > 0 ? served : elapsed;
			settled = settled > 0 ? settled : elapsed;
		} else {
			settled = 0;
		}
		if (elapsed > 5e6)
			diex("reload %d is not served after 5 s, %ld errors", number - FIRST,
			     times->errors);
		pause_us(PAUSE_US);
	}
	samples_add(&times->served, served);
	samples_add(&times->settled, settled);
}

void probe_reload(int argc, char **argv)
{
	struct config config;
	struct reload_times times = {0};
	pid_t pid = (pid_t)number_between(argv[3], 1, 1 << 30, "PID");
	unsigned short port = (unsigned short)number_between(argv[4], 1, 65535, "PORT");
	int count = (int)number_between(argv[5], 1, LAST - FIRST, "COUNT");

	config_open(&config, argv[1], argv[2]);
	for (int i = 1; i <= count; i++)
		measure_reload(&config, pid, port, argc > 6 ? argv[6] : "", FIRST + i, &times);
	printf("served_us %.1f\n", samples_quantile(&times.served, 0.50));
	printf("settled_us %.1f\n", samples_quantile(&times.settled, 0.50));
	printf("errors %ld\n", times.errors);
	samples_free(&times.served);
	samples_free(&times.settled);
	free(config.template);
}

void probe_reloads(int argc, char **argv)
{
	struct config config;
	pid_t pid = (pid_t)number_between(argv[3], 1, 1 << 30, "PID");
	double period_us = 1e6 / number_between(argv[4], 1, 1e5, "RATE");
	double due_us = clock_us();
	double end_us = due_us + number_between(argv[5], 0.001, 3600, "SECONDS") * 1e6;
	int sent = 0;

	(void)argc;
	set_low_latency();
	config_open(&config, argv[1], argv[2]);
	while (due_us < end_us) {
		config_write(&config, FIRST + 1 + sent % (LAST - FIRST));
		if (kill(pid, SIGHUP))
			die("cannot signal process %d", pid);
		sent++;
		due_us += period_us;
		if (due_us > clock_us())
			pause_us(due_us - clock_us());
	}
	printf("sent %d\n", sent);
	free(config.template);
}
