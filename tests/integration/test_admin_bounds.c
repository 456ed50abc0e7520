/* The admin server's limits: no slow, large, malformed or surplus client keeps another one out. */
/* test: NEEDS ADMIN */
#include "client.h"
#include "http.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

DAEMON_SUITE(admin_bounds,
	     daemon_start("workers = 1\nadmin { address = \"127.0.0.1:0\" }\n" LISTEN_MAIN));

enum { CLIENTS = 32 }; /* as in admin/http.c */

/* Has the daemon closed FD? Does not wait, and discards what the daemon sent. */
static bool is_closed(int fd)
{
	char bytes[4096];
	ssize_t n;
	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	return n == 0 || errno != EAGAIN;
}

Test(admin_bounds, request_of_more_than_8_kib_is_rejected)
{
	static char request[3 * 65536];
	memset(request, 'a', sizeof(request) - 1);
	memcpy(request, "GET / HTTP/1.1\r\nX: ", 19);
	cr_assert_eq(http_ask(request), 400);
	memset(request, 'a', sizeof(request) - 1);
	memcpy(request, "GET /", 5);
	cr_assert_eq(http_ask(request), 400);
	cr_assert_eq(http_get("/livez"), 200);
	daemon_finish();
}

/* The answer does not wait for the body, and unread input does not reset it. */
Test(admin_bounds, request_body_is_discarded)
{
	static char body[8 * 65536];
	static const char *const heads[] = {
		"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 524288\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
		"80000\r\n"};
	for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
		int client = client_connect("admin");
		client_send_bytes(client, heads[i], strlen(heads[i]));
		client_send_bytes(client, body, sizeof(body));
		cr_assert_eq(http_read(client), 405);
		cr_assert_str_eq(http_header("Allow"), "GET, HEAD");
	}
	cr_assert_eq(http_ask("POST / HTTP/1.1\r\n%s\r\n"
			      "Content-Length: 18446744073709551616\r\n\r\n"),
		     405);
	daemon_finish();
}

/* unit-request has more malformed requests. */
Test(admin_bounds, malformed_request_is_rejected)
{
	static const struct {
		const char *text;
		int code;
	} rows[] = {{"\r\n\r\n", 400},
		    {"x\r\n\r\n", 400},
		    {"GET /livez\r\n\r\n", 400},
		    {"GET /livez HTTP/9.9\r\n\r\n", 505},
		    {"GET /livez HTTP/1.1\r\nno colon\r\n\r\n", 400},
		    {"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400},
		    {"\x16\x03\x01\x02 a handshake\r\n\r\n", 400},
		    {"GET http://[ HTTP/1.1\r\n\r\n", 421}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		cr_assert_eq(http_ask(rows[i].text), rows[i].code, "%s", rows[i].text);
	cr_assert_eq(http_get("/livez"), 200);
	cr_assert_eq(log_count_warnings() + log_count(" error   "), 0, "%s", log_text());
	daemon_finish();
}

/* Also at level debug, which logs all requests. */
Test(admin_bounds, request_writes_no_control_character_to_the_log)
{
	daemon_signal(SIGUSR2);
	AWAIT(log_contains("debug logging on"));
	http_ask("GET /\x1b[31m HTTP/1.1\r\n%s\r\n\r\n");
	http_ask("GET /\rforged HTTP/1.1\r\n%s\r\n\r\n");
	http_ask("\x1b[31m / HTTP/1.1\r\n%s\r\n\r\n");
	cr_assert_eq(http_get("/nothing"), 404);
	AWAIT(log_contains("admin: GET /nothing: 404 Not Found"));
	cr_assert(!strpbrk(log_text(), "\x1b\r"), "%s", log_text());
	daemon_finish();
}

Test(admin_bounds, connection_serves_one_request)
{
	int client = client_connect("admin");
	static const char two[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
				  "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
	client_send_bytes(client, two, sizeof(two) - 1);
	cr_assert_eq(http_read(client), 200);
	cr_assert_str_eq(http_body(), "ok\n");
	cr_assert_eq(http_ask("GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), 200);
	cr_assert_str_eq(http_header("Connection"), "close");
	daemon_finish();
}

Test(admin_bounds, surplus_silent_clients_are_evicted)
{
	int silent[4 * CLIENTS];
	size_t closed = 0;
	for (size_t i = 0; i < 4 * CLIENTS; i++)
		silent[i] = client_connect("admin");
	cr_assert_eq(http_get("/livez"), 200);
	for (size_t i = 0; i < 4 * CLIENTS; i++)
		closed += is_closed(silent[i]);
	cr_assert_geq(closed, 3 * CLIENTS);
	cr_assert(is_closed(silent[0]), "the oldest goes first");
	daemon_finish();
}

/* 5,000 clients connect and send nothing, as fast as they can; health checks are answered. */
Test(admin_bounds, flood_of_silent_clients_delays_no_probe)
{
	enum { ALL = 5000, PROBE_EVERY = 100, HELD = 4 * CLIENTS };
	int silent[HELD] = {0};
	char address[64];
	snprintf(address, sizeof(address), "%s", listener_address("admin"));
	for (int opened = 0; opened < ALL; opened++) {
		int *fd = &silent[opened % HELD];
		client_close(*fd);
		MUST((*fd = client_try(address)) >= 0);
		if (opened % PROBE_EVERY == 0)
			cr_assert_eq(http_get("/livez"), 200, "after %d clients", opened);
	}
	daemon_finish();
}

/* The client has five seconds for the whole request: a byte does not restart them. */
Test(admin_bounds, client_that_sends_slowly_is_closed_in_time)
{
	static const char request[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ";
	int slow = client_connect("admin");
	size_t sent = 0;
	client_send_bytes(slow, request, sizeof(request) - 1);
	AWAIT(send(slow, "a", sent++ % 100 == 0, MSG_NOSIGNAL) < 0 || is_closed(slow));
	cr_assert_eq(http_get("/livez"), 200);
	daemon_finish();
}

Test(admin_bounds, endless_chunk_size_takes_no_memory)
{
	static const char request[] = "POST / HTTP/1.1\r\nHost: localhost\r\n"
				      "Transfer-Encoding: chunked\r\n\r\n";
	static char digits[65536];
	memset(digits, '1', sizeof(digits));
	long before = proc_number("VmRSS");
	int endless = client_connect("admin");
	client_send_bytes(endless, request, sizeof(request) - 1);
	AWAIT(send(endless, digits, sizeof(digits), MSG_NOSIGNAL) < 0 && errno != EAGAIN);
	cr_assert_lt(proc_number("VmHWM") - before, 4096);
	cr_assert_eq(http_get("/livez"), 200);
	daemon_finish();
}

Test(admin_bounds, client_that_does_not_read_is_closed_in_time)
{
	int busy[CLIENTS / 2], small = 4096;
	for (size_t i = 0; i < CLIENTS / 2; i++) {
		busy[i] = client_connect("admin");
		setsockopt(busy[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		client_send_bytes(busy[i], "GET /metrics HTTP/1.0\r\n\r\n", 25);
	}
	cr_assert_eq(http_get("/livez"), 200);
	AWAIT(http_get("/metrics") == 200 && http_metric("process_open_fds") < 30);
	daemon_finish();
}

Test(admin_bounds, many_short_connections_leave_no_descriptor)
{
	size_t before = strlen(proc_fds());
	for (int i = 0; i < 1000; i++) {
		int client = client_connect("admin");
		if (i % 3 == 0)
			client_send_bytes(client, "GET /livez HTTP/1.0\r\n\r\n", 23);
		if (i % 3 == 1) {
			struct linger reset = {1, 0};
			setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		}
		if (i % 3 == 0)
			cr_assert_eq(http_read(client), 200);
		else
			client_close(client);
	}
	stats_dump();
	AWAIT(strlen(proc_fds()) <= before + 16);
	cr_assert_eq(log_count_warnings() + log_count(" error   "), 0, "%s", log_text());
	daemon_finish();
}

/* Accepting pauses, the log warns once, and the clients are served as soon as there are
 * descriptors. */
Test(admin_bounds, without_descriptors_clients_wait)
{
	struct rlimit r, none;
	cr_assert_eq(http_get("/metrics"), 200);
	AWAIT(http_get("/metrics") == 200 && !strstr(proc_fds(), "CLOSE"));
	MUST(prlimit(daemon_pid, RLIMIT_NOFILE, NULL, &r) == 0);
	none = (struct rlimit){3, r.rlim_max};
	MUST(prlimit(daemon_pid, RLIMIT_NOFILE, &none, NULL) == 0);
	int client = client_connect("admin");
	client_send_bytes(client, "GET /livez HTTP/1.0\r\n\r\n", 23);
	AWAIT(log_contains("admin: cannot accept connections: Too many open files"));
	MUST(prlimit(daemon_pid, RLIMIT_NOFILE, &r, NULL) == 0);
	cr_assert_eq(http_read(client), 200);
	cr_assert_eq(log_count("admin: cannot accept"), 1, "%s", log_text());
	cr_assert_eq(log_count("libevent"), 0, "%s", log_text());
	daemon_finish();
}

Test(admin_bounds, signals_are_handled_while_requests_are_answered)
{
	pid_t sender = storm(SIGUSR2, 20000);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(http_get("/metrics"), 200);
	reap(sender);
	daemon_reload_and_wait();
	expect_signals_accounted();
	daemon_finish();
}

/* Send up to 64 MiB behind REQUEST, and read nothing. */
static void stream(const char *request)
{
	enum { MUCH = 64 << 20 };
	static char piece[65536];
	int client = client_connect("admin");
	client_send(client, request);
	memset(piece, 'a', sizeof(piece));
	struct pollfd p = {.fd = client, .events = POLLOUT};
	ssize_t n = 1;
	for (size_t sent = 0; sent < MUCH && n > 0; sent += (size_t)n) {
		if (poll(&p, 1, 2000) != 1)
			break;
		n = send(client, piece, sizeof(piece), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	client_close(client);
}

Test(admin_bounds, requests_are_answered_while_a_reload_waits_for_its_file_system)
{
	pid_t pid = loader_pid();
	MUST(kill(pid, SIGSTOP) == 0);
	daemon_signal(SIGHUP);
	notify_wait("RELOADING=1");
	cr_assert_eq(http_get("/livez"), 200);
	cr_assert_eq(http_get("/readyz"), 200);
	cr_assert_eq(http_get("/metrics"), 200);
	cr_assert_eq(http_metric("skeld_state{state=\"reloading\"}"), 1);
	MUST(kill(pid, SIGCONT) == 0);
	notify_wait("READY=1");
	expect_status("last_reload", "ok");
	daemon_finish();
}

Test(admin_bounds, input_behind_a_request_takes_no_memory)
{
	enum { MOST_KIB = 4096 };
	static const char *const requests[] = {
		"", /* never complete */
		"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"};
	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
		long before = proc_number("VmHWM");
		for (int times = 0; times < 3; times++)
			stream(requests[i]);
		cr_assert_eq(http_get("/livez"), 200);
		long grown = proc_number("VmHWM") - before;
		if (!*SKELD_SANITIZED &&
		    !getenv("SKELD_TEST_WRAP")) /* the sanitizers keep freed memory */
			cr_assert_leq(grown, MOST_KIB, "request %zu: %ld KiB", i, grown);
	}
	daemon_finish();
}
