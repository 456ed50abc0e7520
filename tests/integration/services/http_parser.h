/*
 * Requests of HTTP/1.1, RFC 9112, for the service http.c. The parser continues where the received
 * bytes ended: it looks at each byte once, and the result does not depend on how they are split.
 *
 * It is strict. A request that another implementation might understand in another way is an error:
 * a line that LF alone ends, a line that continues a field, a space in or behind the name of a
 * field, two lengths. Otherwise a proxy and this server could disagree where a request ends
 * (request smuggling, RFC 9112 11.2). Behind an error no further request can be found.
 */
#ifndef HTTP_PARSER_H
#define HTTP_PARSER_H

#include <stdbool.h>
#include <stddef.h>

enum { HEAD_MAX = 8192 }; /* bytes of a head, the request line and the fields; also of one line */

/* Status codes, RFC 9110 15. */
enum status {
	INCOMPLETE = 0,
	OK = 200,
	BAD_REQUEST = 400,
	NOT_FOUND = 404,
	METHOD_NOT_ALLOWED = 405,
	REQUEST_TIMEOUT = 408,
	CONTENT_TOO_LARGE = 413,
	URI_TOO_LONG = 414,
	EXPECTATION_FAILED = 417,
	FIELDS_TOO_LARGE = 431,
	NOT_IMPLEMENTED = 501,
	VERSION_NOT_SUPPORTED = 505,
};

enum method { GET, HEAD, POST, OTHER };

/* Positions count from the first byte of the request: its bytes may move between two calls. */
struct http_request {
	enum { REQUEST_LINE, FIELDS, BODY, CHUNK_SIZE, CHUNK, TRAILERS, COMPLETE } state;
	size_t at;	 /* all bytes before are parsed; if OK, the end of the request */
	size_t limit;	 /* the current part, head or body, has to end before */
	size_t max_body; /* bytes of a body; a chunked one counts as it is sent */
	size_t left;	 /* bytes of the body or of the current chunk that are to come */

	enum method method;
	size_t path, path_length; /* without the query, not decoded; "" is "/" */
	size_t body;		  /* where it begins; 0: the head is not complete */
	size_t length;		  /* of the body, decoded */
	bool is_chunked;
	bool is_1_0;	       /* HTTP/1.0 */
	bool expects_continue; /* the client waits for an answer before it sends the body */
	bool says_close, says_keep_alive;
	bool has_host, has_length;
};

void http_request_init(struct http_request *r, size_t max_body);

/*
 * Parse the request that begins at BYTES, of which N were received; the first ones as in the last
 * call, and more bytes than those of this request may follow. Returns OK, INCOMPLETE, or the error.
 */
enum status http_request_parse(struct http_request *r, const char *bytes, size_t n);

/* Of a complete request that is chunked: the next piece of its body. AT is 0 at first. Returns NULL
 * at the end. */
const char *http_request_chunk(const struct http_request *r, const char *bytes, size_t *at,
			       size_t *length);

#endif
