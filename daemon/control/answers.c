#include "control/answers.h"

#include "base/log.h"
#include "base/text.h"
#include "control/daemon.h"
#include "control/page.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

static void add_header(struct evhttp_request *r, const char *name, const char *value)
{
	evhttp_add_header(evhttp_request_get_output_headers(r), name, value);
}

static void free_text(const void *text, size_t length, void *context)
{
	(void)length;
	(void)context;
	free((void *)(uintptr_t)text);
}

/* TEXT stays where it is, until RELEASE is called for it (NULL: it is constant). */
static void answer(struct evhttp_request *r, int code, const char *reason, const char *type,
		   const char *text, size_t length, evbuffer_ref_cleanup_cb release)
{
	char number[24];
	snprintf(number, sizeof(number), "%zu", length);
	add_header(r, "Content-Type", type);
	add_header(r, "Content-Length", number);
	add_header(r, "Cache-Control", "no-store");
	add_header(r, "X-Content-Type-Options", "nosniff");
	/* Not `keep-alive` as well, which evhttp says to who has asked for it by HTTP/1.0. */
	evhttp_remove_header(evhttp_request_get_input_headers(r), "Connection");
	add_header(r, "Connection", "close");
	if (evhttp_request_get_command(r) != EVHTTP_REQ_HEAD &&
	    evbuffer_add_reference(evhttp_request_get_output_buffer(r), text, length, release,
				   NULL) == 0)
		release = NULL;
	if (release)
		release(text, length, NULL);
	log_debug("admin: %s: %d, %zu bytes", evhttp_request_get_uri(r), code, length);
	evhttp_send_reply(r, code, reason, NULL);
}

/* A line. */
static void answer_line(struct evhttp_request *r, int code, const char *reason, const char *line)
{
	char *text = NULL;
	int n = asprintf(&text, "%s\n", line);
	answer(r, code, reason, "text/plain; charset=utf-8", n < 0 ? "" : text,
	       n < 0 ? 0 : (size_t)n, n < 0 ? NULL : free_text);
}

static void answer_printed(struct evhttp_request *r, const char *type, const struct daemon *d,
			   void (*print)(const struct daemon *d, FILE *out))
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	if (out)
		print(d, out);
	if (text_end_stream(out, &text)) {
		answer(r, HTTP_OK, "OK", type, text, length, free_text);
		return;
	}
	free(text);
	answer_line(r, HTTP_SERVUNAVAIL, "Service Unavailable", "out of memory");
}

static void get_metrics(struct evhttp_request *r, const struct daemon *d)
{
	answer_printed(r, "text/plain; version=0.0.4; charset=utf-8", d, report_print_stats);
}

/* That it answers says it all. */
static void get_livez(struct evhttp_request *r, const struct daemon *d)
{
	(void)d;
	answer_line(r, HTTP_OK, "OK", "ok");
}

static void get_readyz(struct evhttp_request *r, const struct daemon *d)
{
	char why[256];
	bool ready = daemon_is_ready(d, why, sizeof(why));
	if (ready)
		answer_line(r, HTTP_OK, "OK", "ok");
	else
		answer_line(r, HTTP_SERVUNAVAIL, "Service Unavailable", why);
}

static void get_status(struct evhttp_request *r, const struct daemon *d)
{
	const char *accept = evhttp_find_header(evhttp_request_get_input_headers(r), "Accept");
	add_header(r, "Vary", "Accept");
	if (accept && strcasestr(accept, "application/json"))
		answer_printed(r, "application/json", d, report_print_json);
	else
		answer_printed(r, "text/plain; charset=utf-8", d, report_print_status);
}

static void get_page(struct evhttp_request *r, const struct daemon *d)
{
	(void)d;
	add_header(r, "Content-Security-Policy", page_policy);
	add_header(r, "Referrer-Policy", "no-referrer");
	answer(r, HTTP_OK, "OK", "text/html; charset=utf-8", page_html, page_html_size, NULL);
}

static const struct {
	const char *path;
	void (*get)(struct evhttp_request *r, const struct daemon *d);
} paths[] = {{"/metrics", get_metrics},
	     {"/livez", get_livez},
	     {"/readyz", get_readyz},
	     {"/status", get_status},
	     {"/", get_page}};

/*
 * A page of somebody else's, open in a browser of this machine, may have its host's name resolved
 * to 127.0.0.1, and then read what is served here. Numbers and `localhost` it cannot have.
 */
static bool is_meant_for_us(struct evhttp_request *r, const struct listener *here)
{
	struct in6_addr number;
	char host[INET6_ADDRSTRLEN + 2];
	const char *asked = evhttp_request_get_host(r);
	if (!asked || !*asked || !here || here->actual.sa.ss_family == AF_UNIX ||
	    !address_is_local(&here->actual))
		return true;
	snprintf(host, sizeof(host), "%s", *asked == '[' ? asked + 1 : asked);
	host[strcspn(host, "]")] = '\0';
	return strcasecmp(asked, "localhost") == 0 || inet_pton(AF_INET, host, &number) == 1 ||
	       inet_pton(AF_INET6, host, &number) == 1;
}

void answers_give(struct evhttp_request *r, const struct daemon *d, const struct listener *here)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(r);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	enum evhttp_cmd_type method = evhttp_request_get_command(r);
	if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
		add_header(r, "Allow", "GET, HEAD");
		answer_line(r, HTTP_BADMETHOD, "Method Not Allowed", "only GET and HEAD");
		return;
	}
	if (!is_meant_for_us(r, here)) {
		answer_line(r, 421, "Misdirected Request",
			    "admin.address is a loopback address: ask for it by number, or as "
			    "localhost");
		return;
	}
	for (size_t i = 0; path && i < sizeof(paths) / sizeof(*paths); i++)
		if (strcmp(path, paths[i].path) == 0) {
			paths[i].get(r, d);
			return;
		}
	answer_line(r, HTTP_NOTFOUND, "Not Found",
		    "there is /metrics /livez /readyz /status and / (a page)");
}
