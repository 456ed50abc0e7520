/* The example service services/http.c: raw requests, limits, reload and drain. */
/* test: TIMEOUT 180 */
#include "observe.h"
#include "traffic.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

DAEMON_SUITE(http, daemon_use(HTTP_BINARY));

#define REQUEST(line) line "\r\nHost: a\r\n\r\n"
#define GET_ROOT      REQUEST("GET / HTTP/1.1")
#define POST_ECHO     "POST /echo HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED	      POST_ECHO "Transfer-Encoding: chunked\r\n\r\n"

/* Requests, and the status codes of their answers; "close": the last one says Connection: close. */
struct raw {
	const char *what, *requests;
	size_t n;
	const char *answers;
};
#define RAW(what, requests, answers)                                                               \
	{                                                                                          \
		what, requests, sizeof(requests) - 1, answers                                      \
	}

static char received[1 << 20];

static const char *summary(const char *text)
{
	static char codes[256];
	const char *last = text;
	codes[0] = '\0';
	for (const char *at = text; (at = strstr(at, "HTTP/1.1 ")) && strlen(codes) < 200;) {
		last = at;
		at += strlen("HTTP/1.1 ");
		sprintf(codes + strlen(codes), "%s%.3s", *codes ? " " : "", at);
	}
	if (strstr(last, "\r\nConnection: close\r\n"))
		strcat(codes, " close");
	return codes;
}

static void expect_all(const struct raw *rows, size_t n)
{
	daemon_start(BASE);
	for (const struct raw *r = rows; r < rows + n; r++) {
		int client = client_connect("main");
		client_send_bytes(client, r->requests, r->n);
		client_shut(client);
		client_read_all(client, received, sizeof(received));
		const char *answers = summary(received);
		cr_assert_str_eq(answers, r->answers, "%s: answered \"%s\", expected \"%s\"",
				 r->what, answers, r->answers);
	}
	daemon_finish();
}
#define EXPECT_ALL(rows) expect_all(rows, sizeof(rows) / sizeof(*(rows)))

/* The sections are those of RFC 9112. */
Test(http, valid_requests_are_answered)
{
	static const struct raw rows[] = {
		RAW("2.1: a request", GET_ROOT, "200"),
		RAW("2.2: an empty line before the request", "\r\n\r\n" GET_ROOT, "200"),
		RAW("2.2: an empty line after a body",
		    POST_ECHO "Content-Length: 2\r\n\r\nab\r\n" GET_ROOT, "200 200"),
		RAW("2.3: a later minor version", REQUEST("GET / HTTP/1.9"), "200"),
		RAW("2.3: HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", "200 close"),
		RAW("3.2.1: origin-form with a query", REQUEST("GET /?q=a/b?c HTTP/1.1"), "200"),
		RAW("3.2.1: an unknown path", REQUEST("GET /none HTTP/1.1"), "404"),
		RAW("3.2.1: a path is case-sensitive", REQUEST("POST /Echo HTTP/1.1"), "404"),
		RAW("3.2.1: only a part of a path", REQUEST("POST /ech HTTP/1.1"), "404"),
		RAW("3.2.2: absolute-form", REQUEST("GET http://a/ HTTP/1.1"), "200"),
		RAW("3.2.2: absolute-form, other case", REQUEST("GET HTTP://a:80/ HTTP/1.1"),
		    "200"),
		RAW("3.2.2: absolute-form without a path", REQUEST("GET http://a HTTP/1.1"), "200"),
		RAW("3.2.2: absolute-form with a query", REQUEST("GET https://[::1]?q HTTP/1.1"),
		    "200"),
		RAW("3.2.3: authority-form", REQUEST("CONNECT a:80 HTTP/1.1"), "501"),
		RAW("3.2.4: asterisk-form", REQUEST("OPTIONS * HTTP/1.1"), "501"),
		RAW("3.2: an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "200"),
		RAW("3.2: Host with a port", "GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", "200"),
		RAW("3.1: methods are case-sensitive", REQUEST("get / HTTP/1.1"), "501"),
		RAW("3.1: HEAD", REQUEST("HEAD / HTTP/1.1"), "200"),
		RAW("3.1: a method that the resource does not have", REQUEST("POST / HTTP/1.1"),
		    "405"),
		RAW("3.1: the same for the other resource", REQUEST("GET /echo HTTP/1.1"), "405"),
		RAW("5.1: spaces and tabs around a value",
		    "GET / HTTP/1.1\r\nHost: \t a \t\r\nX:\r\nY:a\tb c\r\n\r\n", "200"),
		RAW("5.5: bytes above 127 in a value",
		    "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\xff\r\n\r\n", "200"),
		RAW("6.2: Content-Length", POST_ECHO "Content-Length: 3\r\n\r\nabc" GET_ROOT,
		    "200 200"),
		RAW("6.2: a body that looks like a request",
		    POST_ECHO "Content-Length: 27\r\n\r\n" GET_ROOT, "200"),
		RAW("6.2: zeros before the number", POST_ECHO "Content-Length: 0003\r\n\r\nabc",
		    "200"),
		RAW("6.3: no length, no body", POST_ECHO "\r\n" GET_ROOT, "200 200"),
		RAW("6.3: GET with a body",
		    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" GET_ROOT,
		    "200 200"),
		RAW("6.3: a body for no resource is skipped",
		    "POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" GET_ROOT,
		    "404 200"),
		RAW("7.1: chunks", CHUNKED "3\r\nabc\r\n1b\r\n" GET_ROOT "\r\n0\r\n\r\n" GET_ROOT,
		    "200 200"),
		RAW("7: codings are case-insensitive",
		    POST_ECHO "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n" GET_ROOT, "200 200"),
		RAW("7.1: zeros in sizes", CHUNKED "0003\r\nabc\r\n000\r\n\r\n" GET_ROOT,
		    "200 200"),
		RAW("7.1.1: extensions",
		    CHUNKED "3;a\r\nabc\r\n3 ; a=\"b;\t\"\r\nabc\r\n0;c=d\r\n\r\n" GET_ROOT,
		    "200 200"),
		RAW("7.1.2: trailer fields",
		    CHUNKED "0\r\nX: a\r\nContent-Length: 9\r\nHost: b\r\n\r\n" GET_ROOT,
		    "200 200"),
		RAW("9.3: HTTP/1.0 keeps a connection only on request",
		    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
		    "GET / HTTP/1.0\r\n\r\n" GET_ROOT,
		    "200 200 close"),
		RAW("9.6: close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET_ROOT,
		    "200 close"),
		RAW("9.6: close in a list",
		    "GET / HTTP/1.1\r\nHost: a\r\nConnection: x,\t Close ,y\r\n\r\n" GET_ROOT,
		    "200 close"),
		RAW("9.6: a longer word than close",
		    "GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n" GET_ROOT, "200 200"),
		RAW("8: an incomplete request has no answer", "GET / HTTP/1.1\r\nHost: a\r\n", ""),
		RAW("8: nor has one with an incomplete body",
		    POST_ECHO "Content-Length: 4\r\n\r\nabc", ""),
	};
	EXPECT_ALL(rows);
}

/* Nothing behind them is answered. */
Test(http, ambiguous_and_malformed_requests_are_rejected)
{
	static const struct raw rows[] = {
		RAW("2.2: LF ends the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n" GET_ROOT,
		    "400 close"),
		RAW("2.2: LF ends a field", "GET / HTTP/1.1\r\nHost: a\n\r\n" GET_ROOT,
		    "400 close"),
		RAW("2.2: LF ends the head", "GET / HTTP/1.1\r\nHost: a\r\n\n" GET_ROOT,
		    "400 close"),
		RAW("2.2: CR within a line", "GET / HTTP/1.1\r\nHost: a\r\nX: \rb\r\n\r\n",
		    "400 close"),
		RAW("2.2: CR before CRLF", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "400 close"),
		RAW("2.2: CR alone, then LF", "\r\n\r\r\n" GET_ROOT, "400 close"),
		RAW("2.2: a space before the first field",
		    "GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n", "400 close"),
		RAW("2.3: an unknown version", REQUEST("GET / HTTP/2.0") GET_ROOT, "505 close"),
		RAW("2.3: the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 close"),
		RAW("2.3: a version in lower case", REQUEST("GET / http/1.1"), "400 close"),
		RAW("2.3: more digits", REQUEST("GET / HTTP/1.10"), "400 close"),
		RAW("2.3: no minor version", REQUEST("GET / HTTP/1"), "400 close"),
		RAW("2.3: HTTP/0.9", "GET /\r\n\r\n", "400 close"),
		RAW("3: two spaces", REQUEST("GET  / HTTP/1.1") GET_ROOT, "400 close"),
		RAW("3: a tab", REQUEST("GET\t/ HTTP/1.1"), "400 close"),
		RAW("3: a space behind", REQUEST("GET / HTTP/1.1 "), "400 close"),
		RAW("3: a space in front", REQUEST(" GET / HTTP/1.1"), "400 close"),
		RAW("3: a space in the target", REQUEST("GET /a b HTTP/1.1"), "400 close"),
		RAW("3: no target", REQUEST("GET HTTP/1.1"), "400 close"),
		RAW("3: TLS", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\n", "400 close"),
		RAW("3.1: no token", REQUEST("G(T / HTTP/1.1"), "400 close"),
		RAW("3.1: NUL", REQUEST("GET\0 / HTTP/1.1"), "400 close"),
		RAW("3.2: a byte above 127 in the target", REQUEST("GET /\xc3\xa4 HTTP/1.1"),
		    "400 close"),
		RAW("3.2: neither a path nor a URI", REQUEST("GET a HTTP/1.1"), "400 close"),
		RAW("3.2: the asterisk", REQUEST("GET * HTTP/1.1"), "400 close"),
		RAW("3.2.2: no host", REQUEST("GET http:///a HTTP/1.1"), "400 close"),
		RAW("3.2.2: a user", REQUEST("GET http://u@a/ HTTP/1.1"), "400 close"),
		RAW("3.2: no Host", "GET / HTTP/1.1\r\n\r\n" GET_ROOT, "400 close"),
		RAW("3.2: two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n" GET_ROOT,
		    "400 close"),
		RAW("3.2: a path in Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 close"),
		RAW("3.2: a space in Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 close"),
		RAW("5.1: a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n" GET_ROOT,
		    "400 close"),
		RAW("5.1: a space in the name", "GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n",
		    "400 close"),
		RAW("5.1: no name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "400 close"),
		RAW("5.1: no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "400 close"),
		RAW("5.1: NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
		    "400 close"),
		RAW("5.2: a continued field", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
		    "400 close"),
		RAW("5.2: a hidden field",
		    POST_ECHO "X: b\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 close"),
		RAW("6.1: both lengths",
		    POST_ECHO "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
			      "0\r\n\r\n" GET_ROOT,
		    "400 close"),
		RAW("6.1: both, in the other order",
		    POST_ECHO "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
			      "0\r\n\r\n" GET_ROOT,
		    "400 close"),
		RAW("6.1: chunked in HTTP/1.0",
		    "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		    "400 close"),
		RAW("6.1: chunked twice",
		    POST_ECHO "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
			      "0\r\n\r\n" GET_ROOT,
		    "400 close"),
		RAW("6.1: a coding that is not known",
		    POST_ECHO "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" GET_ROOT,
		    "501 close"),
		RAW("6.3: chunked is not last",
		    POST_ECHO "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "400 close"),
		RAW("6.3: identity",
		    POST_ECHO "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" GET_ROOT, "400 close"),
		RAW("6.3: a longer word than chunked",
		    POST_ECHO "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400 close"),
		RAW("6.3: chunked with a parameter",
		    POST_ECHO "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", "400 close"),
		RAW("6.3: differing lengths",
		    POST_ECHO "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd" GET_ROOT,
		    "400 close"),
		RAW("6.3: equal lengths",
		    POST_ECHO "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" GET_ROOT,
		    "400 close"),
		RAW("6.3: a list of lengths", POST_ECHO "Content-Length: 3, 3\r\n\r\nabc",
		    "400 close"),
		RAW("6.3: a sign", POST_ECHO "Content-Length: +3\r\n\r\nabc", "400 close"),
		RAW("6.3: hexadecimal", POST_ECHO "Content-Length: 0x3\r\n\r\nabc", "400 close"),
		RAW("6.3: an empty length", POST_ECHO "Content-Length:\r\n\r\n", "400 close"),
		RAW("6.3: a huge length",
		    POST_ECHO "Content-Length: 18446744073709551619\r\n\r\nabc" GET_ROOT,
		    "413 close"),
		RAW("7.1: LF ends a size", CHUNKED "3\nabc\r\n0\r\n\r\n" GET_ROOT, "400 close"),
		RAW("7.1: LF ends a chunk", CHUNKED "3\r\nabc\n0\r\n\r\n" GET_ROOT, "400 close"),
		RAW("7.1: a chunk that is longer than its size",
		    CHUNKED "3\r\nabcd\r\n0\r\n\r\n" GET_ROOT, "400 close"),
		RAW("7.1: no CRLF behind a chunk", CHUNKED "3\r\nabcde0\r\n\r\n" GET_ROOT,
		    "400 close"),
		RAW("7.1: 0x", CHUNKED "0x3\r\nabc\r\n0\r\n\r\n", "400 close"),
		RAW("7.1: 0_0", CHUNKED "0_0\r\n\r\n" GET_ROOT, "400 close"),
		RAW("7.1: a sign", CHUNKED "+3\r\nabc\r\n0\r\n\r\n", "400 close"),
		RAW("7.1: a space before the size", CHUNKED " 3\r\nabc\r\n0\r\n\r\n", "400 close"),
		RAW("7.1: a space behind the size", CHUNKED "3 \r\nabc\r\n0\r\n\r\n", "400 close"),
		RAW("7.1: no size", CHUNKED "\r\nabc\r\n0\r\n\r\n" GET_ROOT, "400 close"),
		RAW("7.1: a huge size", CHUNKED "10000000000000003\r\nabc\r\n0\r\n\r\n" GET_ROOT,
		    "413 close"),
		RAW("7.1.1: LF in an extension", CHUNKED "3;a\nb\r\nabc\r\n0\r\n\r\n" GET_ROOT,
		    "400 close"),
		RAW("7.1.1: CR in an extension", CHUNKED "3;a\rb\r\nabc\r\n0\r\n\r\n" GET_ROOT,
		    "400 close"),
		RAW("7.1.2: LF ends a trailer field", CHUNKED "0\r\nX: a\n\r\n" GET_ROOT,
		    "400 close"),
		RAW("7.1.2: a continued trailer field", CHUNKED "0\r\nX: a\r\n b\r\n\r\n",
		    "400 close"),
		RAW("an unknown expectation (RFC 9110 10.1.1)",
		    POST_ECHO "Expect: more\r\nContent-Length: 3\r\n\r\nabc" GET_ROOT, "417 close"),
		RAW("a good request, then a bad one", GET_ROOT "GET / HTTP/1.1\r\n\r\n" GET_ROOT,
		    "200 400 close"),
	};
	EXPECT_ALL(rows);
}

/* Expect an answer: STATUS_LINE, a Date field, REST. */
static void expect_answer(int client, const char *status_line, const char *rest)
{
	static const char date[] = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
	size_t head = strlen(status_line) + strlen(date), all = head + strlen(rest);
	MUST(all < sizeof(received));
	for (size_t n = 0; n < all;) {
		await_fd(client, POLLIN, deadline(), rest);
		ssize_t more = recv(client, received + n, all - n, 0);
		received[n + (size_t)(more > 0 ? more : 0)] = '\0';
		if (more <= 0)
			fail_test("only received: %s", received);
		n += (size_t)more;
	}
	const char *field = received + strlen(status_line);
	bool is_good = strncmp(received, status_line, strlen(status_line)) == 0 &&
		       strncmp(field, date, strlen("Date: ")) == 0 &&
		       strncmp(received + head - 6, " GMT\r\n", 6) == 0 &&
		       strcmp(received + head, rest) == 0;
	cr_assert(is_good, "received: %s", received);
}
#define ANSWER_HEAD(n) "Content-Type: text/plain\r\nContent-Length: " #n "\r\n\r\n"

Test(http, a_connection_serves_several_requests_in_order)
{
	daemon_start(BASE "http { body = \"It works.\" }\n");
	int client = client_connect("main");
	client_send(client, GET_ROOT);
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(9) "It works.");
	client_send(client, CHUNKED "5\r\nHello\r\n8;x=y\r\n, world!\r\n0\r\nX: y\r\n\r\n" POST_ECHO
				    "Content-Length: 3\r\n\r\n\r\n\r" GET_ROOT);
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(13) "Hello, world!");
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(3) "\r\n\r");
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(9) "It works.");
	daemon_finish();
}

Test(http, head_has_the_fields_of_get_and_no_body)
{
	daemon_start(BASE);
	int client = client_connect("main");
	client_send(client, REQUEST("HEAD / HTTP/1.1") REQUEST("HEAD /none HTTP/1.1") GET_ROOT);
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(5));
	expect_answer(client, "HTTP/1.1 404 Not Found\r\n", ANSWER_HEAD(14));
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(5) "hello");
	daemon_finish();
}

Test(http, a_method_that_is_not_allowed_is_answered_with_those_that_are)
{
	daemon_start(BASE);
	int client = client_connect("main");
	client_send(client, REQUEST("POST / HTTP/1.1") REQUEST("GET /echo HTTP/1.1"));
	expect_answer(client, "HTTP/1.1 405 Method Not Allowed\r\n",
		      "Allow: GET, HEAD\r\n" ANSWER_HEAD(23) "405 Method Not Allowed\n");
	expect_answer(client, "HTTP/1.1 405 Method Not Allowed\r\n",
		      "Allow: POST\r\n" ANSWER_HEAD(23) "405 Method Not Allowed\n");
	daemon_finish();
}

#define EXPECT_100 "Expect: 100-Continue\r\n"
#define CONTINUE   "HTTP/1.1 100 Continue\r\n\r\n"

Test(http, a_client_that_expects_100_continue_receives_it_once)
{
	daemon_start(BASE);
	int client = client_connect("main");
	client_send(client, GET_ROOT POST_ECHO EXPECT_100 "Content-Length: 3\r\n\r\n");
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(5) "hello" CONTINUE);
	client_send(client, "a");
	stats_await("skeld_received_bytes_total",
		    (double)strlen(GET_ROOT POST_ECHO EXPECT_100) + 22);
	client_send(client, "bc");
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(3) "abc");
	client_send(client, POST_ECHO EXPECT_100 "Transfer-Encoding: chunked\r\n\r\n");
	client_expect(client, CONTINUE);
	client_send(client, "1\r\na\r\n0\r\n\r\n");
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(1) "a");
	client_send(client, POST_ECHO EXPECT_100 "Content-Length: 3\r\n\r\nabc");
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(3) "abc");
	daemon_finish();
}

/* The client may send the body all the same: it must not be taken for a request. */
Test(http, a_refusal_before_the_body_closes_the_connection)
{
	static const struct raw rows[] = {
		RAW("no resource",
		    "POST /none HTTP/1.1\r\nHost: a\r\n" EXPECT_100 "Content-Length: 27\r\n\r\n",
		    "404 close"),
		RAW("no such method",
		    "POST / HTTP/1.1\r\nHost: a\r\n" EXPECT_100 "Content-Length: 27\r\n\r\n",
		    "405 close"),
		RAW("too large", POST_ECHO EXPECT_100 "Content-Length: 32769\r\n\r\n", "413 close"),
		RAW("too large, and not awaited",
		    POST_ECHO "Content-Length: 32769\r\n\r\n" GET_ROOT, "413 close"),
	};
	daemon_start(BASE);
	for (const struct raw *r = rows; r < rows + sizeof(rows) / sizeof(*rows); r++) {
		int client = client_connect("main");
		client_send(client, r->requests);
		client_read_all(client, received, sizeof(received)); /* the server closes */
		cr_assert_str_eq(summary(received), r->answers, "%s: %s", r->what, received);
	}
	daemon_finish();
}

/* Send a request with a part of N bytes between HEAD and TAIL. Returns the codes of the answers. */
static const char *ask_long(const char *head, size_t n, const char *tail)
{
	char *text = malloc(strlen(head) + n + strlen(tail) + 1);
	MUST(text);
	sprintf(text, "%s%*s%s", head, (int)n, "", tail);
	for (char *at = text + strlen(head), *end = at + n; at < end; at++)
		*at = 'a';
	int client = client_connect("main");
	client_send(client, text);
	client_shut(client);
	client_read_all(client, received, sizeof(received));
	free(text);
	return summary(received);
}

Test(http, a_head_of_8192_bytes_is_accepted_and_a_longer_one_rejected)
{
	enum { LIMIT = 8192 };
	static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ", end[] = "\r\n\r\n";
	static const char line[] = "GET /";
	size_t room = LIMIT - strlen(head) - strlen(end);
	daemon_start(BASE);
	cr_assert_str_eq(ask_long(head, room, end), "200");
	cr_assert_str_eq(ask_long(head, room + 1, end), "431 close");
	cr_assert_str_eq(ask_long(head, 100000, ""), "431 close");
	room = LIMIT - strlen(REQUEST("GET / HTTP/1.1"));
	cr_assert_str_eq(ask_long(line, room, REQUEST(" HTTP/1.1")), "404");
	cr_assert_str_eq(ask_long(line, LIMIT, REQUEST(" HTTP/1.1")), "414 close");
	daemon_finish();
}

Test(http, a_body_of_max_body_is_accepted_and_a_longer_one_rejected)
{
	daemon_start(BASE "http { max_body = 100 }\n");
	cr_assert_str_eq(ask_long(POST_ECHO "Content-Length: 100\r\n\r\n", 100, GET_ROOT),
			 "200 200");
	cr_assert_str_eq(ask_long(POST_ECHO "Content-Length: 101\r\n\r\n", 101, GET_ROOT),
			 "413 close");
	/* Chunks count with their sizes, extensions and trailers. */
	cr_assert_str_eq(ask_long(CHUNKED "59\r\n", 89, "\r\n0\r\n\r\n" GET_ROOT), "200 200");
	cr_assert_str_eq(ask_long(CHUNKED "5a\r\n", 90, "\r\n0\r\n\r\n" GET_ROOT), "413 close");
	cr_assert_str_eq(ask_long(CHUNKED "1;", 100, "\r\na\r\n0\r\n\r\n" GET_ROOT), "413 close");
	cr_assert_str_eq(ask_long(CHUNKED "0\r\nX: ", 100, "\r\n\r\n" GET_ROOT), "413 close");
	daemon_finish();
}

Test(http, a_request_can_arrive_byte_by_byte)
{
	static const char text[] = CHUNKED "3;x\r\nabc\r\n0\r\nY: z\r\n\r\n";
	daemon_start(BASE);
	int client = client_connect("main");
	for (size_t i = 0; text[i]; i++) {
		client_send(client, (char[]){text[i], '\0'});
		stats_await("skeld_received_bytes_total", (double)i + 1);
	}
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(3) "abc");
	daemon_finish();
}

/* The timeout counts from the last complete request. */
Test(http, a_request_that_does_not_become_complete_is_answered_with_408)
{
	daemon_start(BASE "limits { idle_timeout = 1 }\n");
	int head = client_connect("main"), body = client_connect("main");
	int line = client_connect("main"), idle = client_connect("main");
	client_send(head, "GET / HTTP/1.1\r\nHost:");
	client_send(body, POST_ECHO "Content-Length: 3\r\n\r\na");
	client_send(line, "GET /");
	client_send(idle, GET_ROOT);
	expect_answer(idle, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(5) "hello");
	expect_answer(head, "HTTP/1.1 408 Request Timeout\r\n",
		      "Connection: close\r\n" ANSWER_HEAD(20) "408 Request Timeout\n");
	expect_answer(body, "HTTP/1.1 408 Request Timeout\r\n",
		      "Connection: close\r\n" ANSWER_HEAD(20) "408 Request Timeout\n");
	client_expect_eof(head);
	client_expect_eof(body);
	client_expect_eof(line);
	client_expect_eof(idle);
	stats_await("skeld_connections_closed_total{reason=\"idle\"}", 4);
	daemon_finish();
}

Test(http, requests_wait_while_the_client_does_not_read)
{
	enum { REQUESTS = 6000, BODY = 2000 };
	char body[BODY + 1], head[64];
	memset(body, 'b', BODY);
	body[BODY] = '\0';
	config_write(BASE "limits { buffer = 64K }\nhttp { body = \"%s\" }\n", body);
	daemon_spawn();
	notify_wait("READY=1");
	int client = client_connect("main");
	for (int i = 0; i < REQUESTS; i++)
		client_send(client, GET_ROOT);
	snprintf(head, sizeof(head), "Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n",
		 BODY);
	for (int i = 0; i < REQUESTS; i++) {
		expect_answer(client, "HTTP/1.1 200 OK\r\n", head);
		client_expect(client, body);
	}
	daemon_finish();
}

Test(http, a_reload_changes_the_answers_on_an_open_connection)
{
	daemon_start(BASE "http { body = \"old\" }\n");
	int client = client_connect("main");
	client_send(client, GET_ROOT POST_ECHO "Content-Length: 4\r\n\r\nab");
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(3) "old");
	config_write(BASE "http { body = \"new text\" max_body = 2 }\n");
	daemon_reload_and_wait();
	client_send(client, "cd" GET_ROOT);
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(4) "abcd");
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(8) "new text");
	client_send(client, POST_ECHO "Content-Length: 4\r\n\r\n");
	expect_answer(client, "HTTP/1.1 413 Content Too Large\r\n",
		      "Connection: close\r\n" ANSWER_HEAD(22) "413 Content Too Large\n");
	client_expect_eof(client);
	daemon_finish();
}

Test(http, a_drain_answers_every_request_and_the_last_answer_says_close)
{
	daemon_start(BASE);
	int client = client_connect("main"), idle = client_connect("main");
	client_send(client, "GET / HTTP/1.1\r\nHo");
	stats_await("skeld_received_bytes_total", 18);
	daemon_signal(SIGTERM);
	client_expect_eof(idle);
	client_send(client, "st: a\r\n\r\n" GET_ROOT);
	expect_answer(client, "HTTP/1.1 200 OK\r\n", ANSWER_HEAD(5) "hello");
	expect_answer(client, "HTTP/1.1 200 OK\r\n",
		      "Connection: close\r\n" ANSWER_HEAD(5) "hello");
	client_expect_eof(client);
	cr_assert_eq(daemon_wait_exit(), 0, "%s", log_text());
}

Test(http, answers_are_counted_by_class)
{
	daemon_start(BASE);
	int client = client_connect("main");
	client_send(client, GET_ROOT REQUEST("HEAD / HTTP/1.1") REQUEST("GET /none HTTP/1.1")
				    REQUEST("PUT / HTTP/1.1") "GET / HTTP/1.1\r\n\r\n");
	client_read_all(client, received, sizeof(received));
	stats_await("http_answers_2xx_total", 2);
	cr_assert_eq(stats_value("http_answers_4xx_total"), 2);
	cr_assert_eq(stats_value("http_answers_5xx_total"), 1);
	cr_assert(log_contains("stats http: 2xx=2 4xx=2 5xx=1"), "%s", log_text());
	daemon_finish();
}

Test(http, the_self_test_gets_the_answer_of_the_probe)
{
	cr_assert_eq(skeld_run("--self-test=order", NULL), 0, "%.2000s", command_out.bytes);
}
