/* A client of the admin server: one request on one connection, read to its end. */
#ifndef SKELD_TESTS_HTTP_H
#define SKELD_TESTS_HTTP_H

#include "harness.h"

/* GET PATH. Returns the status code; 0: the connection was closed without an answer. */
int http_get(const char *path);
/* Send REQUEST unchanged, except that %s becomes `Host: localhost`. */
int http_ask(const char *request);
/* Read FD to its end, and close it. */
int http_read(int fd);

/* Of the last answer. The value of a missing header is "". */
const char *http_header(const char *name);
const char *http_body(void);
/* The value of "name{label=\"value\"}" in the Prometheus text of the last answer. */
double http_metric(const char *name);

#endif
