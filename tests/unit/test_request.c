/* admin/request: heads of requests that are accepted and, by RFC 9112, those that are not. */
/* test: NEEDS ADMIN */
#include "admin/request.h"
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(request, .init = fixture_enter, .fini = fixture_leave);

#define MALFORMED "400 Bad Request"
#define VERSION	  "505 HTTP Version Not Supported"
#define LINE	  "GET /livez HTTP/1.1\r\n"

/* The copy has the size of the text, so that the address sanitizer sees any access behind it. */
static struct request parse(const char *text, size_t n, char **copy)
{
	*copy = malloc(n + 1);
	MUST(*copy);
	memcpy(*copy, text, n);
	(*copy)[n] = '\0';
	return request_parse(*copy, n);
}

static const char *error_of(const char *text, size_t n)
{
	char *copy;
	const char *error = parse(text, n, &copy).error;
	free(copy);
	return error;
}

#define TEXT(literal) literal, sizeof(literal) - 1

Test(request, malformed_heads_are_rejected)
{
	static const struct {
		const char *text;
		size_t n;
		const char *error;
	} rows[] = {
		/* Request lines. */
		{TEXT("\r\n"), MALFORMED},
		{TEXT("\r\nGET /livez HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("x\r\n\r\n"), MALFORMED},
		{TEXT("GET\r\n\r\n"), MALFORMED},
		{TEXT("GET \r\n\r\n"), MALFORMED},
		{TEXT("GET /livez\r\n\r\n"), MALFORMED},
		{TEXT("GET /livez \r\n\r\n"), MALFORMED},
		{TEXT(" GET /livez HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET  /livez HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET /livez  HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET\t/livez\tHTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GE(T /livez HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET /li\0vez HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET /li\rvez HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET /livez\x1b[31m HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET /livez\x7f HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET /livez\xc3\xbc HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET livez HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET ?livez HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET * HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET localhost:80 HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET https://localhost/livez HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET http:///livez HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET http:/livez HTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("\x16\x03\x01\x02 TLS\r\n\r\n"), MALFORMED},
		/* Versions. */
		{TEXT("GET /livez XTTP/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET /livez http/1.1\r\n\r\n"), MALFORMED},
		{TEXT("GET /livez HTTP/0.9\r\n\r\n"), VERSION},
		{TEXT("GET /livez HTTP/2.0\r\n\r\n"), VERSION},
		{TEXT("GET /livez HTTP/1.\r\n\r\n"), VERSION},
		{TEXT("GET /livez HTTP/1.x\r\n\r\n"), VERSION},
		{TEXT("GET /livez HTTP/1.1 \r\n\r\n"), VERSION},
		{TEXT("GET /livez HTTP/1.10\r\n\r\n"), VERSION},
		/* Fields. */
		{TEXT(LINE "no colon\r\n\r\n"), MALFORMED},
		{TEXT(LINE ": no name\r\n\r\n"), MALFORMED},
		{TEXT(LINE "X : y\r\n\r\n"), MALFORMED},
		{TEXT(LINE "X y: z\r\n\r\n"), MALFORMED},
		{TEXT(LINE " X: y\r\n\r\n"), MALFORMED},
		{TEXT(LINE "X: y\r\n folded\r\n\r\n"), MALFORMED},
		{TEXT(LINE "X: y\r\n\tfolded: z\r\n\r\n"), MALFORMED},
		{TEXT(LINE "X: a\0b\r\n\r\n"), MALFORMED},
		{TEXT(LINE "X: a\rb\r\n\r\n"), MALFORMED},
		{TEXT(LINE "X: a\r\r\n\r\n"), MALFORMED},
		{TEXT(LINE "X: \x1b[31m\r\n\r\n"), MALFORMED},
		{TEXT(LINE "X\xc3\xbc: y\r\n\r\n"), MALFORMED},
		{TEXT(LINE "Host: localhost\r\nHost: localhost\r\n\r\n"), MALFORMED},
		{TEXT(LINE "Host:\r\nhost: localhost\r\n\r\n"), MALFORMED},
		/* Cut off: a head that is too long. */
		{TEXT(""), MALFORMED},
		{TEXT("GET /livez HTTP/1.1"), MALFORMED},
		{TEXT(LINE), MALFORMED},
		{TEXT(LINE "X: y"), MALFORMED},
		{TEXT(LINE "X: y\r\n"), MALFORMED},
		{TEXT(LINE "X: y\r\n\r"), MALFORMED},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const char *error = error_of(rows[i].text, rows[i].n);
		cr_assert(error, "%s", rows[i].text);
		cr_assert_str_eq(error, rows[i].error, "%s", rows[i].text);
	}
	EXPECT_NOTHING_LEFT();
}

Test(request, well_formed_heads_are_parsed)
{
	static const struct {
		const char *text, *method, *path, *host;
		bool accepts_json;
	} rows[] = {
		{"GET / HTTP/1.0\r\n\r\n", "GET", "/", NULL, false},
		{"GET /livez HTTP/1.2\r\n\r\n", "GET", "/livez", NULL, false},
		{"get /livez HTTP/1.1\n\n", "get", "/livez", NULL, false},
		{"GET /livez?a=b?c HTTP/1.1\r\n\r\n", "GET", "/livez", NULL, false},
		{"GET //%2e HTTP/1.1\r\n\r\n", "GET", "//%2e", NULL, false},
		{LINE "HOST: \t a.example:80 \t\r\n\r\n", "GET", "/livez", "a.example:80", false},
		{LINE "Host:\r\n\r\n", "GET", "/livez", "", false},
		{LINE "X: \t\x80\xff\r\nY:\r\nHost:a\n\r\n", "GET", "/livez", "a", false},
		{LINE "Accept: text/html, Application/JSON;q=1\r\nAccept: text/plain\r\n\r\n",
		 "GET", "/livez", NULL, true},
		{LINE "X-Accept: application/json\r\nAccept: text/html\r\n\r\n", "GET", "/livez",
		 NULL, false},
		{"GET http://a.example/status?x HTTP/1.1\r\nHost: b\r\n\r\n", "GET", "/status",
		 "a.example", false},
		{"GET HTTP://[::1]:80 HTTP/1.1\r\n\r\n", "GET", "/", "[::1]:80", false},
		{"GET http://a?b/c HTTP/1.1\r\n\r\n", "GET", "/", "a", false},
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS", "*", "a", false},
		{"CONNECT a.example:80 HTTP/1.1\r\n\r\n", "CONNECT", "a.example:80", NULL, false},
		{"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "POST", "/", NULL, false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char *copy;
		size_t n = strlen(rows[i].text);
		struct request r = parse(rows[i].text, n, &copy);
		cr_assert_null(r.error, "%s", rows[i].text);
		cr_assert_str_eq(r.method, rows[i].method);
		cr_assert_str_eq(r.path, rows[i].path);
		cr_assert_eq(!r.host, !rows[i].host, "%s", rows[i].text);
		if (r.host)
			cr_assert_str_eq(r.host, rows[i].host);
		cr_assert_eq(r.accepts_json, rows[i].accepts_json, "%s", rows[i].text);
		cr_assert_eq(request_length(rows[i].text, n), n);
		free(copy);
	}
	EXPECT_NOTHING_LEFT();
}

Test(request, a_head_ends_with_an_empty_line)
{
	static const char *const ends[] = {"\r\n\r\n", "\n\r\n", "\r\n\n", "\n\n"};
	char text[64];
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		size_t n =
			(size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nX: y%s", ends[i]);
		for (size_t part = 0; part < n; part++)
			cr_assert_eq(request_length(text, part), 0, "%zu: %zu bytes", i, part);
		snprintf(text + n, sizeof(text) - n, "body\r\n\r\n\n\n");
		cr_assert_eq(request_length(text, strlen(text)), n);
	}
	EXPECT_NOTHING_LEFT();
}
