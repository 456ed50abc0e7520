/* What came of a parse, as bytes that go from one process to another: see base/load.h. */
#ifndef SKELD_WIRE_H
#define SKELD_WIRE_H

#include "base/config.h"

/* C, or what is wrong, E; an error of OUT is its ferror(3). */
void wire_put(const struct config *c, const struct errors *e, FILE *out);

/*
 * The same from N bytes, of which none is believed: each value is one that the schema accepts.
 * NULL, and errors appended to E: those that were put, or, of FILE, that the bytes are not whole.
 */
struct config *wire_take(const char *bytes, size_t n, const char *file,
			 const struct config_service *service, struct errors *e);

#endif
