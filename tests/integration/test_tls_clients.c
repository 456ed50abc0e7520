/*
 * TLS with clients that other projects wrote: openssl s_client, curl, redis-cli and sslscan. A test
 * is skipped if its client is not installed; see the file packages in this folder.
 */
/* test: TIMEOUT 180 LABELS all NEEDS TLS */
#include "certificates.h"
#include "client.h"
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

DAEMON_SUITE(tls_clients);

static char port[16];

/* ca.pem; and for each site NAME.pem, NAME.key. */
static void make_files(void)
{
	struct certificate *ca = certificate_new(NULL, .name = "test CA", .is_ca = true);
	struct certificate *a = certificate_new(ca, .name = "a", .names = "DNS:localhost");
	struct certificate *b = certificate_new(ca, .name = "b", .names = "DNS:b.example");
	certificates_write("ca.pem", ca);
	certificates_write("a.pem", a, ca);
	certificates_write("b.pem", b, ca);
	key_write("a.key", a);
	key_write("b.key", b);
	certificate_free(a);
	certificate_free(b);
	certificate_free(ca);
}

/* Two sites; b wants a certificate of the client if CLIENT_CA. */
static void start(const char *program, const char *binary, bool client_ca)
{
	char config[1024], ca[64] = "";
	if (shell_run("command -v %s", program) != 0)
		cr_skip_test("%s is not installed", program);
	make_files();
	if (client_ca)
		snprintf(ca, sizeof(ca), "client_ca = \"%s/ca.pem\"", test_dir);
	daemon_use(binary);
	snprintf(config, sizeof(config),
		 "workers = 2\nadmin { address = \"\" }\n"
		 "tls \"a\" { certificate = \"%1$s/a.pem\" key = \"%1$s/a.key\" }\n"
		 "tls \"b\" { certificate = \"%1$s/b.pem\" key = \"%1$s/b.key\" %2$s }\n"
		 "listen \"main\" { address = \"127.0.0.1:0\" tls = {\"a\", \"b\"} }\n",
		 test_dir, ca);
	daemon_start(config);
	strcpy(port, strrchr(listener_address("main"), ':') + 1);
}

/* Returns whether s_client with OPTIONS gets a page. Its output is in the file session. */
static bool s_client(const char *options)
{
	return shell_run(
		       "printf 'GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n' | "
		       "openssl s_client -connect 127.0.0.1:%s -CAfile ca.pem "
		       "-verify_return_error -ign_eof %s >session 2>&1; "
		       "grep -q '^HTTP/1.1 200 ' session",
		       port, options) == 0;
}

static void expect_session(const char *part)
{
	cr_assert(strstr(file_text("session"), part), "expected %s in: %s", part,
		  file_text("session"));
}

Test(tls_clients, openssl_negotiates_versions_names_and_client_certificates)
{
	start("openssl", HTTP_BINARY, true);
	cr_assert(s_client("-tls1_3 -servername localhost -verify_hostname localhost"), "%s",
		  file_text("session"));
	expect_session("TLSv1.3");
	expect_session("subject=CN = a");
	cr_assert(s_client("-tls1_2 -servername localhost"), "%s", file_text("session"));
	expect_session("TLSv1.2");
	cr_assert_not(s_client("-tls1_1 -cipher ALL:@SECLEVEL=0"));
	cr_assert_not(s_client("-servername b.example"), "without a client certificate");
	cr_assert(s_client("-servername b.example -cert a.pem -key a.key"), "%s",
		  file_text("session"));
	expect_session("subject=CN = b");
	daemon_finish();
}

Test(tls_clients, openssl_resumes_a_session)
{
	start("openssl", HTTP_BINARY, false);
	for (int i = 0; i < 2; i++) {
		const char *version = i ? "-tls1_3" : "-tls1_2";
		char first[64], second[64];
		snprintf(first, sizeof(first), "%s -sess_out ticket", version);
		snprintf(second, sizeof(second), "%s -sess_in ticket", version);
		cr_assert(s_client(first), "%s", file_text("session"));
		expect_session("\nNew, TLSv1");
		cr_assert(s_client(second), "%s", file_text("session"));
		expect_session("\nReused, TLSv1");
	}
	daemon_finish();
}

Test(tls_clients, curl_reads_pages_over_one_connection)
{
	start("curl", HTTP_BINARY, false);
	cr_assert_eq(shell_run("curl -sS --fail --cacert ca.pem -w '%%{num_connects} ' "
			       "-o one -o two -o three https://localhost:%s/ https://localhost:%s/ "
			       "https://localhost:%s/ --resolve localhost:%s:127.0.0.1",
			       port, port, port, port),
		     0, "%s", command_err.bytes);
	cr_assert_str_eq(command_out.bytes, "1 0 0 ");
	cr_assert_neq(shell_run("curl -sS --fail --cacert ca.pem http://localhost:%s/", port), 0);
	AWAIT(log_contains("the client does not speak TLS"));
	daemon_finish();
}

Test(tls_clients, curl_uploads_a_file)
{
	start("curl", HTTP_BINARY, false);
	cr_assert_eq(
		shell_run("head -c 30000 /dev/urandom >upload && curl -sS --fail --cacert ca.pem "
			  "--resolve localhost:%s:127.0.0.1 --data-binary @upload -o reply "
			  "https://localhost:%s/echo",
			  port, port),
		0, "%s", command_err.bytes);
	cr_assert_eq(shell_run("cmp upload reply"), 0, "%s", command_out.bytes);
	daemon_finish();
}

Test(tls_clients, redis_cli_receives_its_answers)
{
	start("redis-cli", RESP_BINARY, false);
	file_write("commands", "PING\nSET a 1\nINCR a\nGET a\n");
	cr_assert_eq(
		shell_run("redis-cli --tls --cacert ca.pem --sni localhost -p %s <commands", port),
		0, "%s", command_err.bytes);
	cr_assert_str_eq(command_out.bytes, "PONG\nOK\n2\n2\n");
	daemon_finish();
}

/* sslscan tries each version, cipher and known defect. */
Test(tls_clients, sslscan_finds_nothing_weak)
{
	start("sslscan", SKELD_BINARY, false);
	cr_assert_eq(shell_run("sslscan --no-colour --no-cipher-details 127.0.0.1:%s >scan", port),
		     0);
	static const char *const expected[] = {"SSLv2     disabled",
					       "SSLv3     disabled",
					       "TLSv1.0   disabled",
					       "TLSv1.1   disabled",
					       "TLSv1.2   enabled",
					       "TLSv1.3   enabled",
					       "Session renegotiation not supported",
					       "TLSv1.3 not vulnerable to heartbleed",
					       "TLSv1.2 not vulnerable to heartbleed"};
	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++)
		cr_assert(strstr(file_text("scan"), expected[i]), "expected %s in: %s", expected[i],
			  file_text("scan"));
	/* Each accepted cipher has forward secrecy and authenticated encryption. */
	cr_assert_neq(
		shell_run("grep -E '^(Accepted|Preferred)' scan | grep -vE 'GCM|CHACHA20|CCM'"), 0,
		"%s", command_out.bytes);
	cr_assert_eq(shell_run("grep -c '^Preferred' scan"), 0);
	daemon_finish();
}
