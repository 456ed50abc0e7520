#include "config/service_schema.h"

struct service_schema service_schema_of(const struct service *svc)
{
	return (struct service_schema){.name = svc->name,
				       .options = svc->options,
				       .size = svc->config_size,
				       .datagrams = svc->datagram,
				       .no_connections = !svc->protocol.data};
}
