/* What came of a parse, as bytes that go from one process to another: see base/load.h. */
#ifndef SKELD_WIRE_H
#define SKELD_WIRE_H

#include "base/config.h"

/* C, or what is wrong, E; an error of OUT is its ferror(3). */
void wire_put(const struct config *c, const struct errors *e, FILE *out);

/*
 * The same from N bytes, of which none is believed: each value is one that the schema accepts. C is
 * NULL where errors were put, which are appended to E. False: these bytes are not, or not all of
 * what was put, or there is no memory; C is NULL.
 */
bool wire_take(const char *bytes, size_t n, const struct config_service *service, struct config **c,
	       struct errors *e);

#endif
