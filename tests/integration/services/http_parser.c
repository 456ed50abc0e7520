#include "http_parser.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static int is_token(int c) /* a method or the name of a field, RFC 9110 5.6.2 */
{
	return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static int is_host(int c) /* also of a port and of IPv6, RFC 3986 3.2.2 */
{
	return isalnum(c) || (c && strchr("-._~%!$&'()*+,;=:[]", c));
}

static int is_value(int c) /* no control character, RFC 9110 5.5 */
{
	return c == '\t' || (c >= ' ' && c != 127);
}

static bool consists_of(const char *s, int (*is_member)(int))
{
	while (*s && is_member((unsigned char)*s))
		s++;
	return !*s;
}

/* RFC 9112 3.2: "/path?query", or "http://host/path?query", which is meant for a proxy. */
static enum status parse_target(struct http_request *r, const char *line, const char *target)
{
	size_t scheme = strncasecmp(target, "http://", 7) == 0	  ? 7
			: strncasecmp(target, "https://", 8) == 0 ? 8
								  : 0;
	if (scheme) {
		const char *host = target + scheme;
		target = host;
		while (*target && is_host((unsigned char)*target))
			target++;
		if (target == host || (*target && !strchr("/?", *target)))
			return BAD_REQUEST;
	} else if (*target != '/' && r->method != OTHER) {
		return BAD_REQUEST;
	}
	r->path = (size_t)(target - line);
	r->path_length = strcspn(target, "?");
	return OK;
}

static enum method method_of(const char *name)
{
	return strcmp(name, "GET") == 0	   ? GET
	       : strcmp(name, "HEAD") == 0 ? HEAD
	       : strcmp(name, "POST") == 0 ? POST
					   : OTHER;
}

/* "HTTP/", a digit, a dot, a digit. */
static bool is_version(const char *s)
{
	return strncmp(s, "HTTP/", 5) == 0 && isdigit((unsigned char)s[5]) && s[6] == '.' &&
	       isdigit((unsigned char)s[7]) && !s[8];
}

static enum status parse_request_line(struct http_request *r, char *line)
{
	char *target = strchr(line, ' '), *version = strrchr(line, ' ');
	if (!target || target == version)
		return BAD_REQUEST;
	*target++ = '\0';
	*version++ = '\0';
	if (!*line || !consists_of(line, is_token) || !*target || !consists_of(target, isgraph) ||
	    !is_version(version))
		return BAD_REQUEST;
	if (version[5] != '1')
		return VERSION_NOT_SUPPORTED;
	r->is_1_0 = version[7] == '0';
	r->method = method_of(line);
	r->state = FIELDS;
	return parse_target(r, line, target);
}

static enum status parse_length(struct http_request *r, const char *value)
{
	if (r->has_length || !*value || !consists_of(value, isdigit))
		return BAD_REQUEST;
	r->has_length = true;
	r->length = strtoul(value, NULL, 10); /* the largest number if it is too large */
	return OK;
}

/* If chunked is not the last coding, the end of the body is unknown: RFC 9112 6.3. */
static enum status parse_coding(struct http_request *r, const char *value)
{
	const char *last = value + strlen(value);
	while (last > value && is_token((unsigned char)last[-1]))
		last--;
	if (r->is_chunked || strcasecmp(last, "chunked") != 0)
		return BAD_REQUEST;
	r->is_chunked = true;
	return last == value ? OK : NOT_IMPLEMENTED;
}

static enum status parse_known_field(struct http_request *r, const char *name, char *value)
{
	if (strcasecmp(name, "Content-Length") == 0)
		return parse_length(r, value);
	if (strcasecmp(name, "Transfer-Encoding") == 0)
		return parse_coding(r, value);
	if (strcasecmp(name, "Host") == 0) {
		bool is_first = !r->has_host;
		r->has_host = true;
		return is_first && consists_of(value, is_host) ? OK : BAD_REQUEST;
	}
	if (strcasecmp(name, "Expect") == 0) {
		r->expects_continue = !r->is_1_0; /* RFC 9110 10.1.1 */
		return strcasecmp(value, "100-continue") == 0 ? OK : EXPECTATION_FAILED;
	}
	if (strcasecmp(name, "Connection") == 0)
		for (const char *option; (option = strsep(&value, ", \t"));) {
			r->says_close |= strcasecmp(option, "close") == 0;
			r->says_keep_alive |= strcasecmp(option, "keep-alive") == 0;
		}
	return OK;
}

static enum status parse_field(struct http_request *r, char *line)
{
	char *value = strchr(line, ':');
	if (!value)
		return BAD_REQUEST;
	*value++ = '\0';
	value += strspn(value, " \t");
	for (size_t n = strlen(value); n && strchr(" \t", value[n - 1]); n--)
		value[n - 1] = '\0';
	/* No name begins or ends with a space. A line that begins with one would continue the line
	 * before, RFC 9112 5.2. */
	if (!*line || !consists_of(line, is_token) || !consists_of(value, is_value))
		return BAD_REQUEST;
	return r->state == FIELDS ? parse_known_field(r, line, value) : OK;
}

static enum status end_head(struct http_request *r)
{
	if (!r->has_host && !r->is_1_0)
		return BAD_REQUEST;
	if (r->is_chunked && (r->has_length || r->is_1_0)) /* RFC 9112 6.1 */
		return BAD_REQUEST;
	if (r->length > r->max_body)
		return CONTENT_TOO_LARGE;
	r->body = r->at;
	r->limit = r->at + r->max_body;
	r->left = r->length;
	r->state = r->is_chunked ? CHUNK_SIZE : BODY;
	return OK;
}

/* RFC 9112 7.1: hexadecimal digits, and extensions, which are ignored. */
static enum status parse_chunk_size(struct http_request *r, const char *line)
{
	const char *rest = line + strspn(line, "0123456789ABCDEFabcdef");
	size_t size = strtoul(line, NULL, 16);
	if (rest == line || !consists_of(rest, is_value) ||
	    (*rest && rest[strspn(rest, " \t")] != ';'))
		return BAD_REQUEST;
	if (size > r->max_body)
		return CONTENT_TOO_LARGE;
	r->left = size;
	r->length += size;
	r->state = size ? CHUNK : TRAILERS;
	return OK;
}

static enum status too_long(const struct http_request *r)
{
	return r->state == REQUEST_LINE ? URI_TOO_LONG
	       : r->state == FIELDS	? FIELDS_TOO_LARGE
					: CONTENT_TOO_LARGE;
}

static enum status parse_line(struct http_request *r, const char *bytes, size_t n)
{
	char line[HEAD_MAX];
	const char *begin = bytes + r->at;
	size_t received = n - r->at < HEAD_MAX ? n - r->at : HEAD_MAX;
	const char *end = memchr(begin, '\n', received);
	if (!end)
		return received < HEAD_MAX ? INCOMPLETE : too_long(r);
	size_t length = (size_t)(end - begin);
	if (!length || end[-1] != '\r' || memchr(begin, '\0', length))
		return BAD_REQUEST;
	memcpy(line, begin, length);
	line[length - 1] = '\0';
	r->at += length + 1;
	if (r->state == REQUEST_LINE)
		return parse_request_line(r, line);
	if (r->state == CHUNK_SIZE)
		return parse_chunk_size(r, line);
	if (*line)
		return parse_field(r, line);
	if (r->state == FIELDS)
		return end_head(r);
	r->state = COMPLETE;
	return OK;
}

/* Skip the body, or a chunk with its CRLF. */
static enum status skip_data(struct http_request *r, const char *bytes, size_t n)
{
	size_t crlf = r->state == CHUNK ? 2 : 0;
	if (n - r->at < r->left + crlf)
		return INCOMPLETE;
	r->at += r->left + crlf;
	if (memcmp(bytes + r->at - crlf, "\r\n", crlf) != 0)
		return BAD_REQUEST;
	r->state = r->state == CHUNK ? CHUNK_SIZE : COMPLETE;
	return OK;
}

enum status http_request_parse(struct http_request *r, const char *bytes, size_t n)
{
	enum status status = OK;
	while (status == OK && r->state != COMPLETE) {
		bool is_data = r->state == BODY || r->state == CHUNK;
		size_t end = n < r->limit ? n : r->limit;
		status = is_data ? skip_data(r, bytes, end) : parse_line(r, bytes, end);
	}
	return status == INCOMPLETE && n >= r->limit ? too_long(r) : status;
}

void http_request_init(struct http_request *r, size_t max_body)
{
	*r = (struct http_request){.limit = HEAD_MAX, .max_body = max_body};
}

const char *http_request_chunk(const struct http_request *r, const char *bytes, size_t *at,
			       size_t *length)
{
	const char *line = bytes + (*at ? *at : r->body);
	*length = strtoul(line, NULL, 16); /* the parser has checked that a number is there */
	const char *data = strchr(line, '\n') + 1;
	*at = (size_t)(data - bytes) + *length + 2;
	return *length ? data : NULL;
}
