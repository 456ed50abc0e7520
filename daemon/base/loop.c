#include "base/loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* An epoll and a pair of sockets, and one more. */
enum { NEEDED = 4 };

static bool has_descriptors(void)
{
	int fds[NEEDED];
	size_t n = 0;
	while (n < NEEDED && (fds[n] = eventfd(0, EFD_CLOEXEC)) >= 0)
		n++;
	int why = errno;
	bool good = n == NEEDED;
	while (n)
		close(fds[--n]);
	errno = why;
	return good;
}

struct event_base *loop_new(const struct event_config *config)
{
	if (!has_descriptors())
		return NULL;
	return config ? event_base_new_with_config(config) : event_base_new();
}
