/* Extracts from the service the facts that the configuration needs. Any thread. */
#ifndef SKELD_SERVICE_SCHEMA_H
#define SKELD_SERVICE_SCHEMA_H

#include "config/config.h"
#include "service.h"

struct service_schema service_schema_of(const struct service *svc);

#endif
