/* Reports a name that no section or option has, with the names that are accepted in its place. */
#ifndef SKELD_UNKNOWN_H
#define SKELD_UNKNOWN_H

#include "config/config.h"

struct unknown {
	char section[64], name[64]; /* section "": the top level */
	unsigned line;
	bool is_section; /* no "=" follows the name; what follows it cannot be checked */
	bool is_secret;	 /* the name may be a part of a secret */
};

void report_unknown(const struct service_schema *service, const char *file, const struct unknown *u,
		    struct errors *e);

#endif
