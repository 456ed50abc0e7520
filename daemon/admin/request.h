/* The head of an HTTP request, its request line and header fields: RFC 9112. */
#ifndef SKELD_ADMIN_REQUEST_H
#define SKELD_ADMIN_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

/* The strings are constant, or part of the text that was parsed. */
struct request {
	const char *error;  /* NULL: well-formed; else the status of the answer */
	const char *method; /* "?" if it is not known */
	const char *path;   /* without the query; "?" if it is not known */
	const char *host;   /* with the port, from the target or the Host field; NULL: neither */
	bool accepts_json;
};

/* Returns the length of the head at the beginning of TEXT, or 0 if it is not complete. */
size_t request_length(const char *text, size_t n);

/* Parse the head TEXT: LENGTH bytes, then a NUL. Modifies TEXT. */
struct request request_parse(char *text, size_t length);

#endif
