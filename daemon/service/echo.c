/* The example service: it sends every byte back. Replace this file with your service. */
#include "service.h"

#include <string.h>

struct echo_config {
	char *banner;
};

static const struct service_option options[] = {
	{.name = "banner",
	 .type = OPTION_TEXT,
	 .offset = offsetof(struct echo_config, banner),
	 .default_value = "",
	 .help = "Sent to each new connection"},
	{0},
};

enum { MESSAGES };
static const struct service_metric metrics[] = {
	[MESSAGES] = {"skeld_echo_messages_total", METRIC_COUNTER, "Pieces echoed", "echo",
		      "messages"},
	{0},
};

static int echo_opened(struct connection *c)
{
	const struct echo_config *config = worker_config(connection_worker(c));
	size_t n = strlen(config->banner);
	return n && connection_write(c, config->banner, n) < 0 ? -1 : 0;
}

static size_t echo_data(struct connection *c, const char *bytes, size_t n)
{
	connection_write(c, bytes, n);
	worker_count(connection_worker(c), MESSAGES, 1);
	return n;
}

const struct service service = {
	.name = "echo",
	.options = options,
	.config_size = sizeof(struct echo_config),
	.metrics = metrics,
	.protocol = {.opened = echo_opened, .data = echo_data},
	.probe = "are you there?\n",
	.answer = "are you there?\n",
};
