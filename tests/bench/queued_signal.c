/*
 * queued_signal: ref_signal with the daemon's signal queue in front of libevent's handler.
 *
 * The daemon logs the sender of each signal, and finding the sender costs more than the signal
 * itself. This program measures the signal queue without that.
 */
#include "control/signal_queue.h"

#include <event2/event.h>
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
	static struct signal_arrival batch[SIGNAL_QUEUE_SIZE];

	(void)number, (void)what, (void)unused;
	for (size_t n = signal_queue_take(batch); n; n--)
		print_line("SIGUSR2\n", 8);
	signal_queue_resume();
}

int main(void)
{
	struct event_base *base = event_base_new();
	struct event *event = base ? evsignal_new(base, SIGUSR2, on_signal, NULL) : NULL;
	sigset_t handled;

	sigemptyset(&handled);
	sigaddset(&handled, SIGUSR2);
	if (!event || event_add(event, NULL) || signal_queue_install(SIGUSR2, &handled, true)) {
		fprintf(stderr, "queued_signal: cannot start libevent\n");
		return 1;
	}
	print_line("ready\n", 6);
	event_base_dispatch(base);
}
