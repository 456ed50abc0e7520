#include "config/service_schema.h"

/* Does the service have a callback for connections or datagrams? */
static bool has_listeners(const struct service *svc)
{
	return svc->protocol.data || svc->datagram;
}

struct service_schema service_schema_of(const struct service *svc)
{
	return (struct service_schema){.name = svc->name,
				       .options = svc->options,
				       .size = svc->config_size,
				       .has_no_listeners = !has_listeners(svc),
				       .datagrams = svc->datagram,
				       .no_connections = !svc->protocol.data};
}
