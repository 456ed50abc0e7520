/* TLS from outside: handshakes, names, sessions, ends of connections, and reloads that renew. */
/* test: NEEDS TLS TIMEOUT 180 */
#include "certificates.h"
#include "headers.h"
#include "observe.h"
#include "tls_client.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct certificate *ca;

static void make_authority(void)
{
	ca = certificate_new(NULL, .name = "test CA", .is_ca = true);
	certificates_write("ca.pem", ca);
}

static void leave(void)
{
	certificate_free(ca);
	daemon_fixture_leave();
}

static void enter(void)
{
	daemon_fixture_enter();
	make_authority();
}

TestSuite(tls, .init = enter, .fini = leave);

/* Write NAME.pem and NAME.key. COMMON is the common name, by which a client recognizes it. */
static void issue(const char *name, const char *common, const char *names)
{
	char file[32];
	struct certificate *leaf = certificate_new(ca, .name = common, .names = names);
	snprintf(file, sizeof(file), "%s.pem", name);
	certificates_write(file, leaf, ca);
	snprintf(file, sizeof(file), "%s.key", name);
	key_write(file, leaf);
	certificate_free(leaf);
}

#define SITE(title, more)                                                                          \
	"tls \"" title "\" { certificate = \"%1$s/" title ".pem\" key = \"%1$s/" title             \
	".key\" " more "}\n"
#define PLAIN	    "workers = 1\nadmin { address = \"\" }\nlog { level = \"debug\" }\n"
#define LISTEN(tls) "listen \"main\" { address = \"127.0.0.1:0\" tls = " tls " }\n"

static void start(const char *config)
{
	char whole[4096];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(whole, sizeof(whole), config, test_dir);
#pragma GCC diagnostic pop
	daemon_start(whole);
}

/* Handshakes. */

Test(tls, a_client_of_each_version_has_its_echo)
{
	const struct tls_offer offers[] = {{.version = TLS1_2_VERSION},
					   {.version = TLS1_3_VERSION}};
	issue("a", "a", "DNS:a.example");
	start(PLAIN SITE("a", "") LISTEN("\"a\""));
	for (size_t i = 0; i < 2; i++) {
		struct tls_client c = tls_client_connect("main", &offers[i]);
		cr_assert_eq(SSL_version(c.ssl), offers[i].version);
		tls_client_echo(&c, "hello\n");
		tls_client_close(&c);
	}
	stats_dump();
	cr_assert_eq(stats_value("skeld_tls_handshakes_total{result=\"full\"}"), 2);
	cr_assert_eq(stats_value("skeld_tls_connections_total{version=\"1.2\"}"), 1);
	cr_assert_eq(stats_value("skeld_tls_connections_total{version=\"1.3\"}"), 1);
	daemon_finish();
}

Test(tls, min_version_refuses_an_older_client)
{
	struct tls_client c;
	issue("a", "a", "DNS:a.example");
	start(PLAIN SITE("a", "min_version = \"1.3\" ") LISTEN("\"a\""));
	cr_assert_not(tls_client_try(&c, "main", &(struct tls_offer){.version = TLS1_2_VERSION}));
	AWAIT(log_contains("the client offers no TLS version that tls.min_version accepts"));
	tls_client_close(&c);
	c = tls_client_connect("main", NULL);
	tls_client_echo(&c, "hello\n");
	tls_client_close(&c);
	stats_await_open(0);
	cr_assert_eq(stats_value("skeld_tls_handshakes_total{result=\"failed\"}"), 1);
	cr_assert_eq(stats_value("skeld_connections_closed_total{reason=\"tls\"}"), 1);
	daemon_finish();
}

static void expect_site(const char *name, const char *site)
{
	struct tls_client c = tls_client_connect("main", &(struct tls_offer){.name = name});
	cr_assert_str_eq(tls_client_peer(&c), site, "%s", name ? name : "no name");
	tls_client_echo(&c, "hello\n");
	tls_client_close(&c);
}

Test(tls, the_server_name_selects_the_certificate)
{
	issue("a", "site a", "DNS:a.example");
	issue("b", "site b", "DNS:b.example,DNS:*.b.example");
	start(PLAIN SITE("a", "") SITE("b", "") LISTEN("{\"a\", \"b\"}"));
	expect_site(NULL, "site a");
	expect_site("a.example", "site a");
	expect_site("b.example", "site b");
	expect_site("B.Example", "site b");
	expect_site("www.b.example", "site b");
	expect_site("unknown.example", "site a");
	expect_site("x.www.b.example", "site a");
	daemon_finish();
}

Test(tls, another_protocol_is_closed_with_a_warning)
{
	issue("a", "a", "DNS:a.example");
	start(PLAIN SITE("a", "") LISTEN("\"a\""));
	int client = client_connect("main");
	client_send(client, "GET / HTTP/1.1\r\n\r\n");
	client_expect_eof(client);
	AWAIT(log_contains(": closed: TLS failed: the client does not speak TLS; "
			   "listener=\"main\" suppressed=0"));
	stats_await_open(0);
	cr_assert_eq(stats_value("skeld_tls_handshakes_total{result=\"not_tls\"}"), 1);
	daemon_finish();
}

Test(tls, a_slow_handshake_ends_in_time_and_holds_no_place)
{
	struct tls_client half;
	issue("a", "a", "DNS:a.example");
	start(PLAIN SITE("a", "") LISTEN("\"a\""));
	int silent = client_connect("main"), byte = client_connect("main");
	client_send_bytes(byte, "\x16", 1);
	tls_client_begin(&half, "main");
	client_expect_eof(silent);
	client_expect_eof(byte);
	AWAIT(log_contains("TLS failed: the handshake is not complete in time"));
	stats_await_open(0);
	cr_assert_eq(stats_value("skeld_tls_handshakes_total{result=\"timeout\"}"), 3);
	tls_client_close(&half);
	daemon_finish();
}

Test(tls, a_proxy_header_comes_before_the_handshake)
{
	issue("a", "a", "DNS:a.example");
	start(PLAIN SITE("a", "") "listen \"main\" { address = \"127.0.0.1:0\" proxy = true "
				  "tls = \"a\" }\n");
	struct tls_client c = tls_client_connect(
		"main", &(struct tls_offer){.header = V4, .header_length = SIZE(V4)});
	tls_client_echo(&c, "hello\n");
	cr_assert(log_contains(" client address: 192.0.2.7:4711\n"), "%s", log_text());
	tls_client_close(&c);
	daemon_finish();
}

/* Client certificates. */

static bool is_accepted(const struct tls_offer *offer)
{
	struct tls_client c;
	char byte;
	bool accepted = tls_client_try(&c, "main", offer);
	if (accepted) {
		tls_client_send(&c, "x", 1);
		accepted = tls_client_read(&c, &byte, 1) == 1;
	}
	tls_client_close(&c);
	return accepted;
}

Test(tls, client_ca_requires_a_certificate_that_it_has_issued)
{
	struct certificate *other = certificate_new(NULL, .name = "other", .is_ca = true);
	struct tls_offer mine = {.certificate = "client.pem", .key = "client.key"};
	certificates_write("other.pem", other);
	key_write("other.key", other);
	issue("a", "a", "DNS:a.example");
	issue("client", "client 1", NULL);
	start(PLAIN SITE("a", "client_ca = \"%1$s/ca.pem\" ") LISTEN("\"a\""));
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		mine.version = version;
		cr_assert(is_accepted(&mine));
		cr_assert_not(is_accepted(&(struct tls_offer){.version = version}));
		cr_assert_not(is_accepted(&(struct tls_offer){
			.version = version, .certificate = "other.pem", .key = "other.key"}));
	}
	AWAIT(log_contains("the client sent no certificate; tls.client_ca requires one"));
	stats_await_open(0);
	cr_assert_eq(stats_value("skeld_tls_handshakes_total{result=\"full\"}"), 2);
	cr_assert_eq(stats_value("skeld_tls_handshakes_total{result=\"failed\"}"), 4);
	certificate_free(other);
	daemon_finish();
}

/* A ticket of the site without client_ca must not open the one with it (CVE-2025-23419). */
Test(tls, a_session_of_one_site_does_not_open_another)
{
	issue("a", "site a", "DNS:a.example");
	issue("b", "site b", "DNS:b.example");
	start(PLAIN SITE("a", "") SITE("b", "client_ca = \"%1$s/ca.pem\" ")
		      LISTEN("{\"a\", \"b\"}"));
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		struct tls_offer offer = {.name = "a.example", .version = version};
		struct tls_client c = tls_client_connect("main", &offer);
		tls_client_echo(&c, "hello\n");
		SSL_SESSION *session = tls_client_session(&c);
		tls_client_close(&c);
		/* A client that sends the session's name is refused as well. */
		SSL_SESSION_set1_hostname(session, "b.example");
		offer = (struct tls_offer){
			.name = "b.example", .version = version, .session = session};
		cr_assert_not(is_accepted(&offer));
		SSL_SESSION_free(session);
	}
	daemon_finish();
}

/* Sessions. */

/* Connect, expect that the session is resumed or not, and replace it by the new one. */
static void resume(SSL_SESSION **session, int version, bool expected)
{
	struct tls_client c = tls_client_connect(
		"main", &(struct tls_offer){.version = version, .session = *session});
	tls_client_echo(&c, "hello\n");
	cr_assert_eq(SSL_session_reused(c.ssl), expected, "%s: %s", SSL_get_version(c.ssl),
		     log_text());
	SSL_SESSION_free(*session);
	*session = tls_client_session(&c);
	tls_client_close(&c);
}

Test(tls, a_session_is_resumed_by_each_worker_and_after_a_reload)
{
	issue("a", "a", "DNS:a.example");
	start("workers = 3\nadmin { address = \"\" }\n" SITE("a", "") LISTEN("\"a\""));
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		SSL_SESSION *session = NULL;
		resume(&session, version, false);
		for (int i = 0; i < 20; i++)
			resume(&session, version, true);
		issue("a", "renewed", "DNS:a.example");
		daemon_reload_and_wait();
		resume(&session, version, true);
		SSL_SESSION_free(session);
	}
	stats_dump();
	cr_assert_eq(stats_value("skeld_tls_handshakes_total{result=\"resumed\"}"), 42);
	daemon_finish();
}

/* Reloads. */

Test(tls, a_reload_renews_the_certificate_and_keeps_open_connections)
{
	issue("a", "old", "DNS:a.example");
	start(PLAIN SITE("a", "") LISTEN("\"a\""));
	struct tls_client old = tls_client_connect("main", NULL);
	cr_assert_str_eq(tls_client_peer(&old), "old");
	issue("a", "new", "DNS:a.example");
	daemon_reload_and_wait();
	struct tls_client new = tls_client_connect("main", NULL);
	cr_assert_str_eq(tls_client_peer(&new), "new");
	tls_client_echo(&old, "of the old one\n");
	tls_client_echo(&new, "of the new one\n");
	tls_client_close(&old);
	tls_client_close(&new);
	daemon_finish();
}

Test(tls, a_certificate_without_its_key_rejects_the_reload)
{
	issue("a", "old", "DNS:a.example");
	issue("b", "b", "DNS:b.example");
	start(PLAIN SITE("a", "") LISTEN("\"a\""));
	MUST(rename("b.pem", "a.pem") == 0);
	daemon_reload_and_wait();
	expect_rejected(1, "skeld.conf:");
	struct tls_client c = tls_client_connect("main", NULL);
	cr_assert_str_eq(tls_client_peer(&c), "old");
	tls_client_echo(&c, "still served\n");
	tls_client_close(&c);
	daemon_finish();
}

Test(tls, a_reload_turns_tls_on_and_off)
{
	issue("a", "a", "DNS:a.example");
	start(PLAIN SITE("a", "") LISTEN("\"a\""));
	struct tls_client old = tls_client_connect("main", NULL);
	char address[64];
	snprintf(address, sizeof(address), "%s", listener_address("main"));
	config_write(PLAIN "listen \"main\" { address = \"%s\" }\n", address);
	daemon_reload_and_wait();
	int plain = client_connect("main");
	client_echo(plain, "plain\n");
	tls_client_echo(&old, "encrypted\n");
	config_write(PLAIN SITE("a", "") "listen \"main\" { address = \"%2$s\" tls = \"a\" }\n",
		     test_dir, address);
	daemon_reload_and_wait();
	struct tls_client new = tls_client_connect("main", NULL);
	tls_client_echo(&new, "encrypted again\n");
	client_echo(plain, "still plain\n");
	tls_client_close(&old);
	tls_client_close(&new);
	daemon_finish();
}

/* Ends of connections. */

Test(tls, a_client_that_has_shut_down_its_side_receives_all_answers)
{
	issue("a", "a", "DNS:a.example");
	start(PLAIN SITE("a", "") LISTEN("\"a\""));
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		struct tls_client c =
			tls_client_connect("main", &(struct tls_offer){.version = version});
		tls_client_send(&c, "last\n", 5);
		tls_client_shutdown(&c);
		tls_client_expect(&c, "last\n");
		tls_client_expect_end(&c);
	}
	daemon_finish();
}

Test(tls, the_end_of_a_socket_without_close_notify_is_the_end_of_the_peer)
{
	issue("a", "a", "DNS:a.example");
	start(PLAIN SITE("a", "") LISTEN("\"a\""));
	struct tls_client c = tls_client_connect("main", NULL);
	tls_client_send(&c, "last\n", 5);
	MUST(shutdown(c.fd, SHUT_WR) == 0);
	tls_client_expect(&c, "last\n");
	tls_client_expect_end(&c);
	stats_await_open(0);
	cr_assert_eq(stats_value("skeld_connections_closed_total{reason=\"peer\"}"), 1);
	daemon_finish();
}

Test(tls, an_idle_connection_ends_with_close_notify)
{
	issue("a", "a", "DNS:a.example");
	start(PLAIN SITE("a", "") LISTEN("\"a\"") "limits { idle_timeout = 1 }\n");
	struct tls_client c = tls_client_connect("main", NULL);
	tls_client_echo(&c, "hello\n");
	tls_client_expect_end(&c);
	daemon_finish();
}

Test(tls, a_drain_answers_the_sent_requests_and_ends_with_close_notify)
{
	issue("a", "a", "DNS:a.example");
	start(PLAIN SITE("a", "") LISTEN("\"a\""));
	struct tls_client idle = tls_client_connect("main", NULL);
	struct tls_client busy = tls_client_connect("main", NULL);
	tls_client_echo(&idle, "hello\n");
	tls_client_send(&busy, "last\n", 5);
	daemon_signal(SIGTERM);
	tls_client_expect(&busy, "last\n");
	tls_client_expect_end(&busy);
	tls_client_expect_end(&idle);
	cr_assert_eq(daemon_wait_exit(), 0);
}

/* A handshake that is half done when the drain begins may be finished, and send its request. */
Test(tls, a_drain_finishes_a_handshake)
{
	char received[8];
	struct tls_client c;
	issue("a", "a", "DNS:a.example");
	start(PLAIN SITE("a", "") LISTEN("\"a\""));
	tls_client_begin(&c, "main");
	AWAIT(log_contains("accepted: on "));
	daemon_signal(SIGTERM);
	notify_wait("STOPPING=1");
	while (SSL_do_handshake(c.ssl) != 1)
		await_fd(c.fd, POLLIN, deadline(), "the handshake");
	tls_client_send(&c, "last\n", 5);
	cr_assert_eq(tls_client_read(&c, received, sizeof(received)), 5);
	tls_client_expect_end(&c);
	cr_assert_eq(daemon_wait_exit(), 0);
}

/* The bytes of a client that writes and leaves at once arrive (openssl#6904): its echo cannot be
 * sent, but the daemon has received all. */
Test(tls, clients_that_write_and_close_at_once_lose_no_byte)
{
	enum { CLIENTS = 1000, BYTES = 4096 };
	char bytes[BYTES];
	memset(bytes, 'x', sizeof(bytes));
	bytes[BYTES - 1] = '\n';
	issue("a", "a", "DNS:a.example");
	start("workers = 1\nadmin { address = \"\" }\n" SITE("a", "") LISTEN("\"a\""));
	for (int i = 0; i < CLIENTS; i++) {
		struct tls_client c = tls_client_connect("main", NULL);
		tls_client_send(&c, bytes, sizeof(bytes));
		tls_client_shutdown(&c);
		int got = 0, n;
		while ((n = tls_client_read(&c, bytes, sizeof(bytes))) > 0)
			got += n;
		cr_assert_eq(n, 0, "client %d: no close_notify", i);
		cr_assert_eq(got, BYTES, "client %d", i);
		tls_client_close(&c);
	}
	daemon_finish();
}

/* The admin server. */

static void expect_metrics(const char *common)
{
	static const char rest[] = "ics HTTP/1.1\r\nHost: localhost\r\n\r\n";
	char text[65536];
	size_t n = 0;
	struct tls_client c = tls_client_connect("admin", NULL);
	cr_assert_str_eq(tls_client_peer(&c), common);
	tls_client_send(&c, "GET /metr", SIZE("GET /metr"));
	tls_client_send(&c, rest, SIZE(rest));
	for (int got; (got = tls_client_read(&c, text + n, sizeof(text) - 1 - n)) > 0;)
		n += (size_t)got;
	text[n] = '\0';
	cr_assert(strncmp(text, "HTTP/1.1 200 OK\r\n", SIZE("HTTP/1.1 200 OK\r\n")) == 0, "%s",
		  text);
	cr_assert(strstr(text, "skeld_tls_certificate_expiry_timestamp_seconds{tls=\"a\"} "), "%s",
		  text);
	SSL_free(c.ssl);
	client_expect_eof(c.fd);
}

Test(tls, the_admin_server_serves_over_tls_and_a_reload_renews_its_certificate)
{
	issue("a", "old", "DNS:a.example");
	start("workers = 1\n" SITE("a", "") LISTEN_MAIN
	      "admin { address = \"127.0.0.1:0\" tls = \"a\" }\n");
	expect_metrics("old");
	int client = client_connect("admin");
	client_send(client, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
	client_expect_eof(client);
	issue("a", "new", "DNS:a.example");
	daemon_reload_and_wait();
	expect_metrics("new");
	daemon_finish();
}

/* One segment has the request and the end of the client. */
Test(tls, the_admin_server_answers_a_client_that_has_ended_its_side)
{
	static const char request[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
	char text[1024];
	int on = 1, off = 0;
	issue("a", "a", "DNS:a.example");
	start("workers = 1\n" SITE("a", "") LISTEN_MAIN
	      "admin { address = \"127.0.0.1:0\" tls = \"a\" }\n");
	struct tls_client c = tls_client_connect("admin", NULL);
	MUST(setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)) == 0);
	tls_client_send(&c, request, SIZE(request));
	tls_client_shutdown(&c);
	MUST(setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off)) == 0);
	cr_assert_gt(tls_client_read(&c, text, sizeof(text)), 0);
	cr_assert_eq(strncmp(text, "HTTP/1.1 200 OK\r\n", SIZE("HTTP/1.1 200 OK\r\n")), 0);
	tls_client_close(&c);
	daemon_finish();
}

/* Data. */

Test(tls, the_answers_of_one_turn_are_one_record)
{
	enum { REQUESTS = 100 };
	static const char request[] = "verbosity 1\r\n", answer[] = "OK\r\n";
	char requests[REQUESTS * SIZE(request)], answers[4096];
	for (size_t i = 0; i < REQUESTS; i++)
		memcpy(requests + i * SIZE(request), request, SIZE(request));
	issue("a", "a", "DNS:a.example");
	daemon_use(KV_BINARY);
	start(PLAIN SITE("a", "") LISTEN("\"a\""));
	struct tls_client c = tls_client_connect("main", NULL);
	tls_client_send(&c, requests, sizeof(requests));
	cr_assert_eq(tls_client_read(&c, answers, sizeof(answers)), REQUESTS * SIZE(answer));
	tls_client_close(&c);
	daemon_finish();
}

Test(tls, megabytes_pass_in_both_directions_behind_a_slow_reader)
{
	enum { PIECE = 65536, PIECES = 128 };
	char *sent = malloc(PIECE), *received = malloc(PIECE);
	size_t out = 0, in = 0;
	issue("a", "a", "DNS:a.example");
	start(PLAIN SITE("a", "") LISTEN("\"a\""));
	struct tls_client c = tls_client_connect("main", NULL);
	for (size_t i = 0; i < PIECE; i++)
		sent[i] = (char)(i * 7 + i / 251);
	SSL_set_mode(c.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	while (in < (size_t)PIECE * PIECES) {
		size_t n = 0, at = out % PIECE;
		bool wrote = out < (size_t)PIECE * PIECES &&
			     SSL_write_ex(c.ssl, sent + at, PIECE - at, &n) == 1;
		out += wrote ? n : 0;
		if (wrote && out - in < (size_t)PIECE * 40)
			continue;
		int got = SSL_read(c.ssl, received, 1000);
		for (int i = 0; i < got; i++)
			cr_assert_eq(received[i], sent[(in + (size_t)i) % PIECE], "byte %zu",
				     in + (size_t)i);
		in += got > 0 ? (size_t)got : 0;
		if (got <= 0 && !wrote)
			await_fd(c.fd, POLLIN, deadline(), "the echo");
	}
	tls_client_close(&c);
	free(sent);
	free(received);
	daemon_finish();
}
