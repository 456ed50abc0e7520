/*
 * The result of a parse as bytes, which the parser writes to the daemon (config/loader.h).
 *
 * The bytes are strings, each ended by a NUL: whether the errors are transient, their number, the
 * errors; then, if there are none, the configuration in the order of write_config(); last an end
 * mark, so that a truncated answer is detected. There is no version: both processes run the same
 * code.
 */
#ifndef SKELD_CODEC_H
#define SKELD_CODEC_H

#include "config/config.h"

/* Write the errors E, and C unless it is NULL. The caller checks ferror(OUT). */
void config_encode(const struct config *c, const struct errors *e, FILE *out);

/*
 * Read what config_encode() wrote. Does not trust the bytes: the schema checks each value again.
 * Appends the errors to E; sets C to NULL if there are any. Returns false, with C NULL, if the
 * bytes are incomplete or wrong, or memory is short.
 */
bool config_decode(const char *bytes, size_t n, const struct service_schema *service,
		   struct config **c, struct errors *e);

#endif
