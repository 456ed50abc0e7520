/* The admin server: its answers in each state of the daemon, and the requests that it rejects. */
/* test: NEEDS ADMIN */
#include "client.h"
#include "http.h"
#include "observe.h"
#include "trace.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

DAEMON_SUITE(admin);

#define ADMIN "admin { address = \"127.0.0.1:0\" }\n"
#define ONE   "workers = 1\n" ADMIN LISTEN_MAIN
#define TWO   "workers = 2\n" ADMIN LISTEN_MAIN

static void expect_answer(int code, const char *type, const char *text)
{
	cr_assert_str_eq(http_header("Content-Type"), type);
	cr_assert_str_eq(http_header("Cache-Control"), "no-store");
	cr_assert_str_eq(http_header("X-Content-Type-Options"), "nosniff");
	cr_assert_str_eq(http_header("Connection"), "close");
	cr_assert_eq((size_t)atoi(http_header("Content-Length")), strlen(http_body()));
	if (text)
		cr_assert_str_eq(http_body(), text, "%d", code);
}

#define PLAIN "text/plain; charset=utf-8"
#define PROM  "text/plain; version=0.0.4; charset=utf-8"

Test(admin, each_path_is_answered_with_its_headers)
{
	daemon_start(ONE);
	cr_assert_eq(http_get("/livez"), 200);
	expect_answer(200, PLAIN, "ok\n");
	cr_assert_eq(http_get("/readyz"), 200);
	expect_answer(200, PLAIN, "ok\n");
	cr_assert_eq(http_get("/metrics"), 200);
	expect_answer(200, PROM, NULL);
	cr_assert_eq(http_metric("skeld_state{state=\"running\"}"), 1);
	cr_assert_eq(http_get("/status?query"), 200);
	char path[128];
	snprintf(path, sizeof(path), "%s/status", runtime_dir);
	expect_answer(200, PLAIN, file_text(path));
	cr_assert_eq(http_get("/"), 200);
	expect_answer(200, "text/html; charset=utf-8", NULL);
	cr_assert(strstr(http_body(), "</html>"));
	cr_assert_eq(strncmp(http_header("Content-Security-Policy"), "default-src 'none'; ", 20),
		     0);
	cr_assert(!strstr(last_value, "unsafe"), "%s", last_value);
	daemon_finish();
}

Test(admin, unknown_path_is_404_with_the_known_ones)
{
	static const char *const unknown[] = {"/metrics/",  "/Metrics",	  "//",
					      "/%2e/livez", "/status%00", "/../status"};
	daemon_start(ONE);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(*unknown); i++) {
		cr_assert_eq(http_get(unknown[i]), 404, "%s", unknown[i]);
		cr_assert(strstr(http_body(), "/readyz"), "%s", http_body());
	}
	daemon_finish();
}

Test(admin, methods_other_than_get_and_head_are_405)
{
	static const char *const methods[] = {"POST",	 "PUT",	  "DELETE", "OPTIONS",
					      "CONNECT", "PATCH", "BREW"};
	char request[256];
	daemon_start(ONE);
	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
		snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\n%%s\r\n\r\n", methods[i],
			 strcmp(methods[i], "CONNECT") == 0 ? "localhost:80" : "/status");
		cr_assert_eq(http_ask(request), 405, "%s", methods[i]);
		cr_assert_str_eq(http_header("Allow"), "GET, HEAD");
	}
	cr_assert_eq(http_ask("POST / HTTP/1.1\r\n%s\r\nContent-Length: 3\r\n\r\nabc"), 405);
	daemon_finish();
}

Test(admin, head_is_get_without_the_body)
{
	daemon_start(ONE);
	cr_assert_eq(http_get("/"), 200);
	size_t length = strlen(http_body());
	cr_assert_eq(http_ask("HEAD / HTTP/1.1\r\n%s\r\n\r\n"), 200);
	cr_assert_str_eq(http_body(), "");
	cr_assert_eq((size_t)atoi(http_header("Content-Length")), length);
	daemon_finish();
}

Test(admin, status_is_json_on_request)
{
	daemon_start(ONE "echo { banner = \"\" }\n");
	stats_dump();
	config_write(ONE "log { level = \"a \\\"b\\\" \\\\ <c> \xc3\xbc\" }\n");
	daemon_reload_and_wait();
	cr_assert_eq(http_ask("GET /status HTTP/1.1\r\n%s\r\n"
			      "Accept: text/html;q=0.5, application/json\r\n\r\n"),
		     200);
	expect_answer(200, "application/json", NULL);
	cr_assert_str_eq(http_header("Vary"), "Accept");
	char part[256];
	snprintf(part, sizeof(part), "{\"pid\":%d,\"state\":\"running\",\"generation\":1,",
		 daemon_pid);
	cr_assert_eq(strncmp(http_body(), part, strlen(part)), 0, "%s", http_body());
	cr_assert(strstr(http_body(), "\"reloads_rejected\":1,\"last_reload\":\"rejected\","));
	cr_assert(strstr(http_body(),
			 "log.level = \\\"a \\\\\\\"b\\\\\\\" \\\\\\\\ <c> \xc3\xbc\\\": "),
		  "%s", http_body());
	cr_assert(strstr(http_body(), "\"service\":\"echo\""));
	/* The latest signal comes first, with its sender. */
	const char *hup = strstr(http_body(), "\"signals\":[{\"signal\":\"SIGHUP\",\"count\":1,");
	snprintf(part, sizeof(part), "\"sender\":\"pid %d (", (int)getpid());
	const char *from = hup ? strstr(hup, part) : NULL;
	const char *usr1 = from ? strstr(from, "},{\"signal\":\"SIGUSR1\"") : NULL;
	cr_assert(usr1 && strstr(usr1, part), "%s", http_body());
	daemon_finish();
}

Test(admin, status_lists_the_last_eight_signals)
{
	daemon_start(ONE);
	stats_dump();
	for (int i = 0; i < 8; i++)
		daemon_reload_and_wait();
	cr_assert_eq(http_ask("GET /status HTTP/1.1\r\n%s\r\nAccept: application/json\r\n\r\n"),
		     200);
	size_t n = 0;
	for (const char *at = http_body(); (at = strstr(at, "\"SIGHUP\"")); at++)
		n++;
	cr_assert_eq(n, 8);
	cr_assert(!strstr(http_body(), "SIGUSR1"), "%s", http_body());
	daemon_finish();
}

Test(admin, draining_daemon_answers_and_is_not_ready)
{
	char config[512];
	snprintf(config, sizeof(config), ONE LISTEN_BUSY "limits { buffer = 1M }\n", test_dir);
	daemon_start(config);
	int busy = client_connect_busy();
	daemon_signal(SIGTERM);
	notify_wait("STOPPING=1");
	AWAIT(strcmp(status_get("state"), "draining") == 0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(http_get("/readyz"), 503);
		expect_answer(503, PLAIN, "draining\n");
		cr_assert_eq(http_get("/livez"), 200);
		cr_assert_eq(http_get("/metrics"), 200);
		cr_assert_eq(http_metric("skeld_state{state=\"draining\"}"), 1);
		cr_assert_eq(http_get("/status"), 200);
		cr_assert(strstr(http_body(), "state=draining\n"));
	}
	client_read_busy(busy);
	cr_assert_eq(daemon_wait_exit(), 0);
}

static void with_watchdog(void)
{
	setenv("WATCHDOG_USEC", "400000", 1);
}

Test(admin, stuck_worker_ends_readiness_and_nothing_else)
{
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
	daemon_prepare = with_watchdog;
	daemon_start(TWO);
	pid_t worker = trace_freeze(1);
	/* On a busy machine the other worker may also respond late for a moment. */
	AWAIT(http_get("/readyz") == 503 && strncmp(http_body(), "worker 1 ", 9) == 0);
	AWAIT(log_contains("worker not responding: worker=1 "));
	cr_assert_geq(strtod(http_body() + 30, NULL), 0.2, "%s", http_body());
	cr_assert_eq(http_get("/livez"), 200);
	AWAIT(http_get("/metrics") == 200 &&
	      http_metric("skeld_worker_lag_seconds{worker=\"0\"}") == 0);
	cr_assert_gt(http_metric("skeld_worker_lag_seconds{worker=\"1\"}"), 0.2);
	cr_assert_eq(http_get("/status"), 200);

	pid_t other = trace_freeze(0);
	AWAIT(http_get("/readyz") == 503 && strstr(http_body(), "worker 0 has not responded"));
	cr_assert_eq(http_get("/livez"), 200);
	cr_assert_eq(http_get("/metrics"), 200);
	cr_assert_gt(http_metric("skeld_worker_lag_seconds{worker=\"0\"}"), 0.2);
	cr_assert_gt(http_metric("skeld_worker_lag_seconds{worker=\"1\"}"), 0.2);
	trace_thaw(worker);
	trace_thaw(other);
	AWAIT(http_get("/readyz") == 200);
	AWAIT(log_contains("worker responding again: worker=1\n"));
	daemon_finish();
}

Test(admin, rejected_reload_leaves_the_daemon_ready)
{
	daemon_start(ONE);
	config_write("nonsense\n");
	daemon_reload_and_wait();
	cr_assert_eq(http_get("/readyz"), 200);
	daemon_finish();
}

/* Reloads. */

Test(admin, reload_moves_the_server)
{
	char path[64], old[64], config[256];
	daemon_start(ONE);
	snprintf(old, sizeof(old), "%s", listener_address("admin"));
	snprintf(config, sizeof(config),
		 "workers = 1\nadmin { address = \"unix:%s\" }\n" LISTEN_MAIN,
		 path_in("admin", path));
	config_write("%s", config);
	daemon_reload_and_wait();
	cr_assert_eq(client_try(old), -1);
	int client = client_unix("admin");
	client_send_bytes(client, "GET /livez HTTP/1.0\r\n\r\n", 23);
	cr_assert_eq(http_read(client), 200);
	config_write("%s", BASE);
	daemon_reload_and_wait();
	cr_assert(access(path, F_OK) < 0);
	config_write("%s", ONE);
	daemon_reload_and_wait();
	cr_assert_eq(http_get("/livez"), 200);
	expect_status("generation", "4");
	daemon_finish();
}

Test(admin, reload_swaps_its_address_with_a_listener)
{
	char a[64], b[64];
	daemon_start(ONE);
	snprintf(a, sizeof(a), "%s", listener_address("main"));
	snprintf(b, sizeof(b), "%s", listener_address("admin"));
	config_write("workers = 1\nlisten \"main\" { address = \"%s\" }\n"
		     "admin { address = \"%s\" }\n",
		     b, a);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	int client = client_try(b);
	client_echo(client, "hello");
	client = client_try(a);
	client_send_bytes(client, "GET /livez HTTP/1.0\r\n\r\n", 23);
	cr_assert_eq(http_read(client), 200);
	daemon_finish();
}

Test(admin, address_in_use_rejects_the_reload)
{
	daemon_start(ONE);
	int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(listen(other, 1) == 0);
	struct sockaddr_in a;
	socklen_t n = sizeof(a);
	MUST(getsockname(other, (struct sockaddr *)&a, &n) == 0);
	config_write("workers = 1\nadmin {\naddress = \"127.0.0.1:%u\"\n}\n" LISTEN_MAIN,
		     ntohs(a.sin_port));
	daemon_reload_and_wait();
	expect_rejected(1, "skeld.conf:4: cannot listen on 127.0.0.1:");
	cr_assert_eq(http_get("/readyz"), 200);
	close(other);
	config_write("%s", "workers = 1\nadmin { address = \"127.0.0.1:7\" }\n"
			   "listen \"main\" {\naddress = \"127.0.0.1:7\"\n}\n");
	daemon_reload_and_wait();
	expect_rejected(1, "skeld.conf:5: listen \"main\" and admin have the same address");
	daemon_finish();
}

Test(admin, address_that_other_machines_reach_is_a_warning)
{
	daemon_start(ONE);
	cr_assert_eq(log_count(" warning "), 0, "%s", log_text());
	config_write("workers = 1\nadmin { address = \"0.0.0.0:0\" }\n" LISTEN_MAIN);
	daemon_reload_and_wait();
	cr_assert(log_line_with("can be reached from other machines"), "%s", log_text());
	daemon_reload_and_wait();
	cr_assert_eq(log_count("can be reached"), 1, "%s", log_text());
	daemon_finish();
}

/* DNS rebinding: a web site with a name for 127.0.0.1 cannot make a browser read the status. */
Test(admin, loopback_address_answers_numbers_and_localhost_only)
{
	static const struct {
		const char *host;
		int code;
	} asked[] = {{"localhost", 200},
		     {"LocalHost:7008", 200},
		     {"127.0.0.1", 200},
		     {"127.0.0.1:80", 200},
		     {"[::1]:7008", 200},
		     {"evil.example", 421},
		     {"evil.example:80", 421},
		     {"127.0.0.1.evil.example", 421},
		     {"localhost.evil.example", 421},
		     {"user@localhost", 421},
		     {"[evil.example]", 421},
		     {"[::1", 421},
		     {"127.0.0.1:x", 421}};
	char request[256];
	daemon_start(ONE);
	for (size_t i = 0; i < sizeof(asked) / sizeof(*asked); i++) {
		snprintf(request, sizeof(request), "GET /status HTTP/1.1\r\nHost: %s\r\n\r\n",
			 asked[i].host);
		cr_assert_eq(http_ask(request), asked[i].code, "%s", asked[i].host);
	}
	cr_assert_eq(http_ask("GET /status HTTP/1.0\r\n\r\n"), 200);
	cr_assert_eq(http_ask("GET http://evil.example/status HTTP/1.1\r\n%s\r\n\r\n"), 421);
	daemon_finish();
}

/* The same for a browser on this machine while the server listens on all addresses. */
Test(admin, connection_to_a_loopback_address_has_the_host_check_also_on_0_0_0_0)
{
	daemon_start("workers = 1\nadmin { address = \"0.0.0.0:0\" }\n" LISTEN_MAIN);
	cr_assert_eq(http_ask("GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 421);
	cr_assert_eq(http_get("/livez"), 200);
	daemon_finish();
}

/* A FIFO without a writer hangs the load. */
Test(admin, health_is_reported_while_the_service_loads)
{
	char path[PATH_IN_MAX];
	daemon_use(LOADS_BINARY);
	file_write("good", "one");
	config_write(ADMIN "loads { file = \"%s/good\" }\n", test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	MUST(mkfifo(path_in("fifo", path), 0644) == 0);
	config_write(ADMIN "loads { file = \"%s\" }\n", path);
	daemon_signal(SIGHUP);
	notify_wait("RELOADING=1");
	AWAIT(log_count("calls load: ") == 2);
	cr_assert_eq(http_get("/livez"), 200);
	cr_assert_eq(http_get("/readyz"), 200);
	cr_assert_eq(http_get("/metrics"), 200);
	cr_assert_eq(http_metric("skeld_state{state=\"reloading\"}"), 1);
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
}
