/* The answers of the admin server, in one table of paths. Control thread. */
#ifndef SKELD_ADMIN_ENDPOINTS_H
#define SKELD_ADMIN_ENDPOINTS_H

#include "admin/http.h"
#include "admin/request.h"

struct answer {
	const char *status; /* code and reason */
	const char *type;   /* Content-Type */
	const char *fields; /* more header lines, each with its CRLF, or "" */
	const char *body;
	size_t length;
	char *allocated; /* the body, if the caller has to free it; else NULL */
};

/* IS_LOOPBACK: the client is connected to a loopback address, so the Host field must be local. */
struct answer endpoints_answer(const struct request *r, bool is_loopback,
			       const struct admin_callbacks *callbacks);

#endif
