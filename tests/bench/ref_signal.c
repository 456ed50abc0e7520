/*
 * ref_signal: bare libevent, one evsignal_new() on SIGUSR2, one line per call.
 *
 * Prints `ready` when the handler is installed. `probe signal` measures from kill(2) to the line.
 */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void print_line(const char *line, size_t size)
{
	if (write(STDOUT_FILENO, line, size) != (ssize_t)size)
		exit(1);
}

static void on_signal(evutil_socket_t number, short what, void *unused)
{
	(void)number, (void)what, (void)unused;
	print_line("SIGUSR2\n", 8);
}

int main(void)
{
	struct event_base *base = event_base_new();
	struct event *event = base ? evsignal_new(base, SIGUSR2, on_signal, NULL) : NULL;

	if (!event || event_add(event, NULL)) {
		fprintf(stderr, "ref_signal: cannot start libevent\n");
		return 1;
	}
	print_line("ready\n", 6);
	event_base_dispatch(base);
}
