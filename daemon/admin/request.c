#include "admin/request.h"

#include <string.h>

size_t request_length(const char *text, size_t n)
{
	const char *crlf = memmem(text, n, "\n\r\n", 3), *lf = memmem(text, n, "\n\n", 2);
	if (lf && (!crlf || lf < crlf))
		return (size_t)(lf + 2 - text);
	return crlf ? (size_t)(crlf + 3 - text) : 0;
}

/* Cut the next line off TEXT. LF alone ends a line, too (RFC 9112 2.2). Returns NULL if no line
 * ends. */
static char *next_line(char **text)
{
	char *line = strsep(text, "\n");
	if (!*text)
		return NULL;
	size_t n = strlen(line);
	if (n && line[n - 1] == '\r')
		line[n - 1] = '\0';
	return line;
}

/* A method or a field name, RFC 9110 5.6.2. */
static bool is_token(const char *s)
{
	return *s && !s[strspn(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				  "ABCDEFGHIJKLMNOPQRSTUVWXYZ")];
}

static bool is_visible_ascii(const char *s)
{
	for (; *s; s++)
		if (*s <= ' ' || *s > '~')
			return false;
	return true;
}

/* Any bytes but control characters, RFC 9110 5.5. */
static bool is_field_value(const char *s)
{
	for (; *s; s++)
		if (*s == 127 || ((unsigned char)*s < ' ' && *s != '\t'))
			return false;
	return true;
}

/* RFC 9112 3.2. Returns false if the method does not allow a target of this form. */
static bool parse_target(struct request *r, char *target)
{
	enum { SCHEME = sizeof("http://") - 1 };
	char *path = target;
	bool is_absolute = strncasecmp(target, "http://", SCHEME) == 0;
	if (is_absolute) {
		size_t n = strcspn(target + SCHEME, "/?");
		path = target + SCHEME + n;
		r->host = memmove(target, target + SCHEME, n);
		target[n] = '\0';
		if (n == 0)
			return false;
	}
	path[strcspn(path, "?")] = '\0';
	r->path = is_absolute && !*path ? "/" : path;
	return *r->path == '/' || strcmp(r->method, "CONNECT") == 0 ||
	       strcmp(r->method, "OPTIONS") == 0;
}

/* HOST is the value of an earlier Host field, or NULL. Returns false if LINE is malformed. */
static bool parse_field(struct request *r, char *line, const char **host)
{
	char *value = line, *name = strsep(&value, ":");
	if (!value || !is_token(name) || !is_field_value(value))
		return false;
	value += strspn(value, " \t");
	for (size_t n = strlen(value); n && strchr(" \t", value[n - 1]); n--)
		value[n - 1] = '\0';
	if (strcasecmp(name, "Accept") == 0 && strcasestr(value, "application/json"))
		r->accepts_json = true;
	if (strcasecmp(name, "Host") != 0)
		return true;
	bool is_first = !*host;
	*host = value;
	return is_first;
}

static const char *parse(struct request *r, char *text, size_t length)
{
	static const char malformed[] = "400 Bad Request";
	char *line = memchr(text, '\0', length) ? NULL : next_line(&text);
	if (!line)
		return malformed;
	char *method = strsep(&line, " "), *target = strsep(&line, " "), *version = line;
	const char *host = NULL;
	if (!version || !is_token(method) || !*target || !is_visible_ascii(target) ||
	    strncmp(version, "HTTP/", 5) != 0)
		return malformed;
	if (strncmp(version, "HTTP/1.", 7) != 0 || strlen(version) != 8 ||
	    !strchr("0123456789", version[7]))
		return "505 HTTP Version Not Supported";
	r->method = method;
	if (!parse_target(r, target))
		return malformed;
	while ((line = next_line(&text)) && *line)
		if (!parse_field(r, line, &host))
			return malformed;
	r->host = r->host ? r->host : host; /* the target has priority, RFC 9112 3.2.2 */
	return line ? NULL : malformed;
}

struct request request_parse(char *text, size_t length)
{
	struct request r = {.method = "?", .path = "?"};
	r.error = parse(&r, text, length);
	return r;
}
