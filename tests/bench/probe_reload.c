/*
 * Reloads, one watched or many in a row. TEMPLATE is a configuration that holds @N@ somewhere,
 * a number that goes up with each reload; CONFIG is what the daemon reads.
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
	FIRST = 1000, /* CONFIG holds this number at the start; always four digits */
	LAST = 9999,
	PAUSE_US = 100,	   /* between connections: at this rate nginx serves the new soonest */
	QUIET_US = 150000, /* without the old generation, and it is taken for gone */
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
		die("%s", template);
	n = fread(config->template, 1, ROOM - 1, file);
	fclose(file);
	if (n == ROOM - 1 || !strstr(config->template, "@N@"))
		diex("%s: too long, or without @N@", template);
}

static void config_write(const struct config *config, int number)
{
	char temporary[4096];
	const char *rest = config->template, *at;
	FILE *file;

	snprintf(temporary, sizeof(temporary), "%s.new", config->path);
	file = fopen(temporary, "we");
	if (!file)
		die("%s", temporary);
	while ((at = strstr(rest, "@N@"))) {
		fprintf(file, "%.*s%d", (int)(at - rest), rest, number);
		rest = at + 3;
	}
	fputs(rest, file);
	if (fclose(file) || rename(temporary, config->path))
		die("%s", config->path);
}

/*
 * The generation a new connection is told: the number after "generation-" in what it receives.
 * 0 when it is told none.
 */
static int ask(unsigned short port, const char *request, unsigned source)
{
	static const char word[] = "generation-";
	char answer[4096];
	size_t have = 0;
	int told = 0, fd = client_connect(port, source, true);

	if (fd < 0)
		return 0;
	if (*request && !client_send(fd, request, strlen(request)))
		have = sizeof(answer);
	while (have < sizeof(answer) - 1) {
		ssize_t n = recv(fd, answer + have, sizeof(answer) - 1 - have, 0);
		const char *at;

		if (n <= 0)
			break;
		have += (size_t)n;
		answer[have] = '\0';
		at = strstr(answer, word);
		if (at && strlen(at) >= sizeof(word) - 1 + 4) {
			told = atoi(at + sizeof(word) - 1);
			break;
		}
	}
	close(fd);
	return told;
}

struct reload_times {
	struct samples served, settled;
	long errors;
};

/*
 * Served: the first connection that is told the new generation. Settled: the first after the
 * last one that was told an old one; servers that replace processes serve both for a while.
 */
static void watch_reload(const struct config *config, pid_t pid, unsigned short port,
			 const char *request, int number, struct reload_times *times)
{
	double began, served = 0, settled = 0, elapsed = 0;

	config_write(config, number);
	began = clock_us();
	if (kill(pid, SIGHUP))
		die("process %d", pid);
	for (unsigned source = 0; !settled || elapsed < settled + QUIET_US; source++) {
		int told = ask(port, request, source);

		elapsed = clock_us() - began;
		times->errors += told == 0;
		if (told == number) {
			served = served ? served : elapsed;
			settled = settled ? settled : elapsed;
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
		watch_reload(&config, pid, port, argc > 6 ? argv[6] : "", FIRST + i, &times);
	printf("served_us %.1f\n", samples_at(&times.served, 0.50));
	printf("settled_us %.1f\n", samples_at(&times.settled, 0.50));
	printf("errors %ld\n", times.errors);
	samples_free(&times.served);
	samples_free(&times.settled);
	free(config.template);
}

void probe_reloads(int argc, char **argv)
{
	struct config config;
	pid_t pid = (pid_t)number_between(argv[3], 1, 1 << 30, "PID");
	double period = 1e6 / number_between(argv[4], 1, 1e5, "RATE");
	double due = clock_us();
	double end = due + number_between(argv[5], 0.001, 3600, "SECONDS") * 1e6;
	int sent = 0;

	(void)argc;
	be_prompt();
	config_open(&config, argv[1], argv[2]);
	while (due < end) {
		config_write(&config, FIRST + 1 + sent % (LAST - FIRST));
		if (kill(pid, SIGHUP))
			die("process %d", pid);
		sent++;
		due += period;
		if (due > clock_us())
			pause_us(due - clock_us());
	}
	printf("sent %d\n", sent);
	free(config.template);
}
