#include "admin/endpoints.h"

#include "admin/page.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define OK	    "200 OK"
#define UNAVAILABLE "503 Service Unavailable"
#define PLAIN	    "text/plain; charset=utf-8"

static struct answer answer_text(const char *status, const char *text)
{
	return (struct answer){status, PLAIN, "", text, strlen(text), NULL};
}

static struct answer answer_printed(const char *type, const struct admin_callbacks *callbacks,
				    void (*print)(const struct daemon *daemon, FILE *out))
{
	struct answer a = {.status = OK, .type = type, .fields = ""};
	FILE *out = open_memstream(&a.allocated, &a.length);
	if (out)
		print(callbacks->daemon, out);
	if (!text_close_stream(out, &a.allocated)) {
		free(a.allocated);
		return answer_text(UNAVAILABLE, "out of memory\n");
	}
	a.body = a.allocated;
	return a;
}

static struct answer get_metrics(const struct request *r, const struct admin_callbacks *callbacks)
{
	(void)r;
	return answer_printed("text/plain; version=0.0.4; charset=utf-8", callbacks,
			      callbacks->print_metrics);
}

/* Any answer shows that the control loop runs. */
static struct answer get_livez(const struct request *r, const struct admin_callbacks *callbacks)
{
	(void)r;
	(void)callbacks;
	return answer_text(OK, "ok\n");
}

static struct answer get_readyz(const struct request *r, const struct admin_callbacks *callbacks)
{
	char why[256], *line;
	(void)r;
	if (callbacks->is_ready(callbacks->daemon, why, sizeof(why)))
		return answer_text(OK, "ok\n");
	if (asprintf(&line, "%s\n", why) < 0)
		return answer_text(UNAVAILABLE, "out of memory\n");
	struct answer a = answer_text(UNAVAILABLE, line);
	a.allocated = line;
	return a;
}

static struct answer get_status(const struct request *r, const struct admin_callbacks *callbacks)
{
	struct answer a = r->accepts_json
				  ? answer_printed("application/json", callbacks,
						   callbacks->print_status_json)
				  : answer_printed(PLAIN, callbacks, callbacks->print_status);
	a.fields = "Vary: Accept\r\n";
	return a;
}

static struct answer get_page(const struct request *r, const struct admin_callbacks *callbacks)
{
	(void)r;
	(void)callbacks;
	return (struct answer){.status = OK,
			       .type = "text/html; charset=utf-8",
			       .fields = page_fields,
			       .body = page_html,
			       .length = page_html_size};
}

static const struct {
	const char *path;
	struct answer (*get)(const struct request *r, const struct admin_callbacks *callbacks);
} paths[] = {{"/metrics", get_metrics},
	     {"/livez", get_livez},
	     {"/readyz", get_readyz},
	     {"/status", get_status},
	     {"/", get_page}};

/*
 * Prevents DNS rebinding: if the name of a web site resolves to 127.0.0.1, its pages could make a
 * browser on this machine read the answers of this server. Such a name is neither a number nor
 * localhost.
 */
static bool is_local_host(const char *host)
{
	char with_port[ADDRESS_TEXT_MAX];
	struct address number;
	snprintf(with_port, sizeof(with_port), "%s:0", host);
	return address_parse(host, &number) || address_parse(with_port, &number) ||
	       strcasecmp(host, "localhost") == 0 || strncasecmp(host, "localhost:", 10) == 0;
}

struct answer endpoints_answer(const struct request *r, bool is_loopback,
			       const struct admin_callbacks *callbacks)
{
	if (r->error)
		return answer_text(r->error, "not an HTTP/1.x request of at most 8 KiB\n");
	if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0) {
		struct answer a = answer_text("405 Method Not Allowed", "use GET or HEAD\n");
		a.fields = "Allow: GET, HEAD\r\n";
		return a;
	}
	if (is_loopback && r->host && *r->host && !is_local_host(r->host))
		return answer_text("421 Misdirected Request",
				   "on a loopback address, the host must be a number or "
				   "localhost\n");
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		if (strcmp(r->path, paths[i].path) == 0)
			return paths[i].get(r, callbacks);
	return answer_text("404 Not Found", "paths: /metrics /livez /readyz /status /\n");
}
