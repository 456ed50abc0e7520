/* From kill() to what the handler wrote. */
#include "measure.h"
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OUTPUT = 65536, PATIENCE_MS = 5000 };

/* What the daemon wrote and was not looked at yet. */
struct output {
	char bytes[OUTPUT];
	size_t n;
};

static bool output_read(struct output *output)
{
	ssize_t n;

	if (output->n > OUTPUT / 2) {
		/* Keep a tail: the text may have come in halves. */
		memmove(output->bytes, output->bytes + output->n - 256, 256);
		output->n = 256;
	}
	n = read(STDIN_FILENO, output->bytes + output->n, OUTPUT - output->n);
	if (n == 0)
		diex("the output ended");
	if (n < 0 && errno != EAGAIN)
		die("read");
	output->n += n > 0 ? (size_t)n : 0;
	return n > 0;
}

static bool output_wait(struct output *output, const char *text)
{
	struct pollfd readable = {.fd = STDIN_FILENO, .events = POLLIN};

	for (;;) {
		if (memmem(output->bytes, output->n, text, strlen(text)))
			return true;
		if (poll(&readable, 1, PATIENCE_MS) != 1)
			return false;
		output_read(output);
	}
}

/* One signal may cause several lines: none of them may pass for the answer to the next. */
static void output_settle(struct output *output, double us)
{
	pause_us(us);
	while (output_read(output))
		;
	output->n = 0;
}

void probe_signal(int argc, char **argv)
{
	static struct output output;
	pid_t pid = (pid_t)number_between(argv[1], 1, 1 << 30, "PID");
	const char *text = argv[2];
	size_t count = (size_t)number_between(argv[3], 2, 1e7, "COUNT");
	double end = clock_us() + number_between(argv[4], 0.001, 3600, "SECONDS") * 1e6;
	struct samples delay = {0};

	(void)argc;
	be_prompt();
	if (fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK))
		die("stdin");
	/* An even number leaves a toggle as it was. */
	while ((delay.n < count && clock_us() < end) || delay.n % 2) {
		double sent;

		output_settle(&output, 500);
		sent = clock_us();
		if (kill(pid, SIGUSR2))
			die("process %d", pid);
		if (!output_wait(&output, text))
			diex("signal %zu had no effect in %d ms", delay.n + 1, PATIENCE_MS);
		samples_add(&delay, clock_us() - sent);
	}
	printf("p50_us %.2f\n", samples_at(&delay, 0.50));
	printf("p99_us %.2f\n", samples_at(&delay, 0.99));
	samples_free(&delay);
}
