#include "config/service_schema.h"

/* Has the service a callback for what arrives at a listener? */
static bool has_listeners(const struct service *svc)
{
	return svc->protocol.data;
}

struct service_schema service_schema_of(const struct service *svc)
{
	return (struct service_schema){svc->name, svc->options, svc->config_size,
				       !has_listeners(svc)};
}
