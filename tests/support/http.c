#include "http.h"

#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum { ANSWER_MAX = 1 << 17 };

static char answer[ANSWER_MAX];
static const char *body = "";

int http_read(int fd)
{
	size_t n = 0;
	int64_t until = deadline();
	for (;;) {
		await_fd(fd, POLLIN, until, "an answer");
		ssize_t r = recv(fd, answer + n, sizeof(answer) - n - 1, MSG_DONTWAIT);
		MUST(r >= 0 || errno == ECONNRESET);
		if (r <= 0)
			break;
		n += (size_t)r;
	}
	client_close(fd);
	answer[n] = '\0';
	body = strstr(answer, "\r\n\r\n");
	body = body ? body + 4 : "";
	return n && strncmp(answer, "HTTP/1.", 7) == 0 ? atoi(answer + 9) : 0;
}

int http_ask(const char *request)
{
	char text[1024];
	int fd = client_connect("admin");
	const char *host = strstr(request, "%s");
	if (host) {
		snprintf(text, sizeof(text), "%.*sHost: localhost%s", (int)(host - request),
			 request, host + 2);
		request = text;
	}
	client_send(fd, request);
	return http_read(fd);
}

int http_get(const char *path)
{
	char request[256];
	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
	return http_ask(request);
}

const char *http_header(const char *name)
{
	size_t n = strlen(name);
	*last_value = '\0';
	for (const char *line = answer; (line = strstr(line, "\r\n")) && line + 4 != body;) {
		line += 2;
		if (strncasecmp(line, name, n) == 0 && line[n] == ':')
			snprintf(last_value, sizeof(last_value), "%.*s",
				 (int)strcspn(line + n + 2, "\r"), line + n + 2);
	}
	return last_value;
}

const char *http_body(void)
{
	return body;
}

double http_metric(const char *name)
{
	size_t n = strlen(name);
	for (const char *line = body; line && *line;
	     line = strchr(line, '\n'), line += line != NULL)
		if (strncmp(line, name, n) == 0 && line[n] == ' ')
			return strtod(line + n + 1, NULL);
	fail_test("no metric %s in\n%s", name, body);
}
