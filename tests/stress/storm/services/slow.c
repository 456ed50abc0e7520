/* A service for the stress tests: echo that blocks its worker for each answer and each reload. */
#include "service.h"

#include <poll.h>

struct slow_config {
	int64_t reload_ms, answer_ms;
};

static const struct service_option options[] = {
	{.name = "reload",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct slow_config, reload_ms),
	 .default_value = "0",
	 .max = 10000,
	 .unit = "milliseconds",
	 .help = "Time for which a reload blocks a worker"},
	{.name = "answer",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct slow_config, answer_ms),
	 .default_value = "0",
	 .max = 10000,
	 .unit = "milliseconds",
	 .help = "Time for which an answer blocks a worker"},
	{0},
};

static size_t slow_data(struct connection *c, const char *bytes, size_t n)
{
	const struct slow_config *config = worker_config(connection_worker(c));
	if (config->answer_ms)
		poll(NULL, 0, (int)config->answer_ms);
	connection_write(c, bytes, n);
	return n;
}

static void slow_reloaded(struct worker *w)
{
	const struct slow_config *config = worker_config(w);
	poll(NULL, 0, (int)config->reload_ms);
}

const struct service service = {
	.name = "slow",
	.options = options,
	.config_size = sizeof(struct slow_config),
	.protocol.data = slow_data,
	.reloaded = slow_reloaded,
};
