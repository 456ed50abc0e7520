/* Requests of RESP2, the protocol of Redis, for the service resp.c. Nothing is copied: words point
 * into the request. */
#ifndef RESP_PARSER_H
#define RESP_PARSER_H

#include "items.h"

#include <sys/types.h>

enum { WORDS_MAX = 1024, BULK_MAX = 512 << 20 /* bytes */ };
enum { INCOMPLETE = 0, MALFORMED = -1 };

struct resp_request {
	size_t n; /* words; 0: an empty request, which has no answer */
	struct word word[WORDS_MAX];
};

/*
 * Parse the request that begins at BYTES, of which N > 0 were received: an array of bulk strings,
 * "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", or a line of words without quotes. Returns its length,
 * INCOMPLETE or MALFORMED.
 */
ssize_t resp_parse(struct resp_request *r, const char *bytes, size_t n);

/* The decimal number W, which no digit follows. Returns false if it is none, or too large. */
bool resp_integer(struct word w, int64_t *value);

#endif
