#include "base/event_loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Descriptors of an event loop: epoll, a socket pair, and one spare. */
enum { DESCRIPTORS_NEEDED = 4 };

static bool can_open_descriptors(void)
{
	int fds[DESCRIPTORS_NEEDED];
	size_t n = 0;
	while (n < DESCRIPTORS_NEEDED && (fds[n] = eventfd(0, EFD_CLOEXEC)) >= 0)
		n++;
	int error = errno;
	bool good = n == DESCRIPTORS_NEEDED;
	while (n)
		close(fds[--n]);
	errno = error;
	return good;
}

struct event_base *event_loop_new(const struct event_config *config)
{
	if (!can_open_descriptors())
		return NULL;
	return config ? event_base_new_with_config(config) : event_base_new();
}
