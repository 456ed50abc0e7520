/* A service for the storms: echo, but it takes its time, for an answer and for a reload. */
#include "service.h"

#include <poll.h>

struct slow_config {
	int64_t reload, answer;
};

static const struct option options[] = {
	{.name = "reload",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct slow_config, reload),
	 .initial = "0",
	 .most = 10000,
	 .unit = "milliseconds",
	 .help = "How long a worker needs for a new configuration"},
	{.name = "answer",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct slow_config, answer),
	 .initial = "0",
	 .most = 10000,
	 .unit = "milliseconds",
	 .help = "How long a worker needs for an answer"},
	{0},
};

static size_t slow_data(struct connection *c, const char *bytes, size_t n)
{
	const struct slow_config *config = worker_config(connection_worker(c));
	if (config->answer)
		poll(NULL, 0, (int)config->answer);
	connection_write(c, bytes, n);
	return n;
}

static void slow_reloaded(struct worker *w)
{
	const struct slow_config *config = worker_config(w);
	poll(NULL, 0, (int)config->reload);
}

const struct service service = {
	.name = "slow",
	.options = options,
	.config_size = sizeof(struct slow_config),
	.data = slow_data,
	.reloaded = slow_reloaded,
};
