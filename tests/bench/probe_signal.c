/* The time from kill(2) to the line that the handler writes. */
#include "measure.h"
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OUTPUT = 65536, TIMEOUT_MS = 5000 };

/* Output of the daemon that was not searched yet. */
struct output {
	char bytes[OUTPUT];
	size_t n;
};

static bool output_read(struct output *output)
{
	ssize_t n;

	if (output->n > OUTPUT / 2) {
		/* Keep a tail: the text may be split between two reads. */
		memmove(output->bytes, output->bytes + output->n - 256, 256);
		output->n = 256;
	}
	n = read(STDIN_FILENO, output->bytes + output->n, OUTPUT - output->n);
	if (n == 0)
		diex("end of output");
	if (n < 0 && errno != EAGAIN)
		die("cannot read the output");
	output->n += n > 0 ? (size_t)n : 0;
	return n > 0;
}

static bool output_wait(struct output *output, const char *text)
{
	struct pollfd readable = {.fd = STDIN_FILENO, .events = POLLIN};

	for (;;) {
		if (memmem(output->bytes, output->n, text, strlen(text)))
			return true;
		if (poll(&readable, 1, TIMEOUT_MS) != 1)
			return false;
		output_read(output);
	}
}

/* A signal may cause several lines. Discard them, so that none counts for the next signal. */
static void output_discard(struct output *output, double us)
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
	set_low_latency();
	if (fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK))
		die("cannot make stdin non-blocking");
	/* An even number of signals restores the log level that SIGUSR2 toggles. */
	while ((delay.n < count && clock_us() < end) || delay.n % 2) {
		double sent;

		output_discard(&output, 500);
		sent = clock_us();
		if (kill(pid, SIGUSR2))
			die("cannot signal process %d", pid);
		if (!output_wait(&output, text))
			diex("signal %zu: no output within %d ms", delay.n + 1, TIMEOUT_MS);
		samples_add(&delay, clock_us() - sent);
	}
	printf("p50_us %.2f\n", samples_quantile(&delay, 0.50));
	printf("p99_us %.2f\n", samples_quantile(&delay, 0.99));
	samples_free(&delay);
}
