/* The service of the watchdog test: echo, but "stick\n" blocks the worker forever. */
#include "service.h"

#include <poll.h>
#include <string.h>

static size_t stuck_data(struct connection *c, const char *bytes, size_t n)
{
	if (n >= 6 && memcmp(bytes, "stick\n", 6) == 0)
		for (;;)
			poll(NULL, 0, -1);
	connection_write(c, bytes, n);
	return n;
}

const struct service service = {.name = "stuck", .protocol.data = stuck_data};
