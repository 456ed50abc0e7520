/* data/tls_tickets: which tickets resume, in which contexts and for how long. */
/* build: WRAP clock_gettime */
/* test: NEEDS TLS */
#include "certificates.h"
#include "data/tls_internal.h"
#include "fixture.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <time.h>

enum { HOUR = 3600 };

/* Replaces clock_gettime(2): hours pass. */
int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
static time_t passed;

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	int result = __real_clock_gettime(clock, t);
	t->tv_sec += passed;
	return result;
}

static struct certificate *certificate;
static SSL_CTX *server, *other_server, *client;
static SSL_SESSION *session; /* that the client has received last */

static SSL_CTX *new_server(int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	MUST(ctx && SSL_CTX_use_certificate(ctx, certificate->x) > 0 &&
	     SSL_CTX_use_PrivateKey(ctx, certificate->key) > 0 &&
	     SSL_CTX_set_max_proto_version(ctx, version) > 0 &&
	     SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"x", 1) > 0);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, 48L * HOUR);
	SSL_CTX_set_num_tickets(ctx, 1);
	cr_assert(tls_tickets_use(ctx));
	return ctx;
}

static int on_session(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	SSL_SESSION_free(session);
	session = s;
	return 1;
}

static void make_contexts(int version)
{
	certificate = certificate_new(NULL, .name = "a.example");
	server = new_server(version);
	other_server = new_server(version);
	client = SSL_CTX_new(TLS_client_method());
	MUST(client);
	SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(client, on_session);
}

static void teardown(void)
{
	SSL_SESSION_free(session);
	SSL_CTX_free(client);
	SSL_CTX_free(server);
	SSL_CTX_free(other_server);
	certificate_free(certificate);
	fixture_leave_nothing();
}

TestSuite(tls_tickets, .init = fixture_enter, .fini = teardown);

static bool has_same_ticket(const SSL_SESSION *a, const SSL_SESSION *b)
{
	const unsigned char *x, *y;
	size_t n, m;
	SSL_SESSION_get0_ticket(a, &x, &n);
	SSL_SESSION_get0_ticket(b, &y, &m);
	return n == m && memcmp(x, y, n) == 0;
}

/* Returns whether the client has resumed. RENEWED is set if it has got another ticket. */
static bool connect_to(SSL_CTX *ctx, bool *renewed)
{
	SSL *s = SSL_new(ctx), *c = SSL_new(client);
	SSL_SESSION *before = session;
	if (before)
		SSL_SESSION_up_ref(before);
	BIO *a = NULL, *b = NULL;
	char byte;
	MUST(s && c && BIO_new_bio_pair(&a, 0, &b, 0) > 0);
	SSL_set_bio(s, a, a);
	SSL_set_bio(c, b, b);
	SSL_set_accept_state(s);
	SSL_set_connect_state(c);
	if (session)
		MUST(SSL_set_session(c, session) > 0);
	for (int i = 0; i < 10; i++) {
		SSL_do_handshake(c);
		SSL_do_handshake(s);
	}
	cr_assert(SSL_is_init_finished(c) && SSL_is_init_finished(s), "%s",
		  ERR_reason_error_string(ERR_peek_error()));
	SSL_read(c, &byte, 1); /* a ticket of TLS 1.3 follows the handshake */
	bool resumed = SSL_session_reused(s);
	cr_assert_eq(resumed, SSL_session_reused(c));
	if (SSL_version(c) == TLS1_2_VERSION) /* OpenSSL reports it only if it is the first one */
		on_session(c, SSL_get1_session(c));
	*renewed = !before || !has_same_ticket(session, before);
	SSL_SESSION_free(before);
	SSL_shutdown(c); /* else the session is not resumable */
	SSL_shutdown(s);
	SSL_free(s);
	SSL_free(c);
	ERR_clear_error();
	return resumed;
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void expect_resumption_across_contexts(int version)
{
	bool renewed;
	make_contexts(version);
	cr_assert_not(connect_to(server, &renewed));
	cr_assert(renewed);
	cr_assert(connect_to(other_server, &renewed));
	cr_assert_eq(renewed, version == TLS1_3_VERSION);
	passed += 11 * HOUR;
	cr_assert(connect_to(server, &renewed));
}

Test(tls_tickets, a_client_resumes_in_every_context_with_tls_1_2)
{
	expect_resumption_across_contexts(versions[0]);
}

Test(tls_tickets, a_client_resumes_in_every_context_with_tls_1_3)
{
	expect_resumption_across_contexts(versions[1]);
}

/* With TLS 1.2, the server replaces a ticket only if the callback asks for it. */
Test(tls_tickets, a_ticket_is_replaced_once_a_newer_key_exists)
{
	bool renewed;
	make_contexts(TLS1_2_VERSION);
	cr_assert_not(connect_to(server, &renewed));
	cr_assert(connect_to(server, &renewed));
	cr_assert_not(renewed);
	passed += 12 * HOUR;
	cr_assert(connect_to(server, &renewed), "the previous key decrypts");
	cr_assert(renewed);
	cr_assert(connect_to(server, &renewed));
	cr_assert_not(renewed);
}

Test(tls_tickets, a_key_decrypts_for_24_hours)
{
	bool renewed;
	SSL_SESSION *first;
	make_contexts(TLS1_2_VERSION);
	cr_assert_not(connect_to(server, &renewed));
	first = session;
	SSL_SESSION_up_ref(first);
	passed += 24 * HOUR - 60;
	cr_assert(connect_to(server, &renewed));
	SSL_SESSION_free(session);
	session = first;
	passed += 60;
	cr_assert_not(connect_to(server, &renewed));
}

Test(tls_tickets, a_key_that_was_not_used_for_days_is_not_accepted)
{
	bool renewed;
	make_contexts(TLS1_3_VERSION);
	cr_assert_not(connect_to(server, &renewed));
	passed += 25 * HOUR;
	cr_assert_not(connect_to(server, &renewed));
	cr_assert(connect_to(server, &renewed));
}

/* "dc": not copied by fork(2); "dd": not in a core dump (proc(5), VmFlags). */
Test(tls_tickets, the_keys_are_in_no_child_and_in_no_core_dump)
{
	struct text maps = {0};
	make_contexts(TLS1_3_VERSION);
	MUST(text_read(&maps, "/proc/self/smaps"));
	bool found = false;
	for (char *line = maps.bytes; (line = strstr(line, "VmFlags:")); line++) {
		char *end = strchr(line, '\n');
		*end = '\0';
		found = found || (strstr(line, " dc") && strstr(line, " dd"));
		*end = '\n';
	}
	free(maps.bytes);
	cr_assert(found);
}
