#include "tls_client.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Each client has a context: a context remembers settings of the one before. */
static SSL_CTX *context_for(const struct tls_offer *o)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	MUST(context);
	/* A session in the cache of the context becomes useless with it. */
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	if (o->version)
		MUST(SSL_CTX_set_min_proto_version(context, o->version) &&
		     SSL_CTX_set_max_proto_version(context, o->version));
	if (o->certificate)
		MUST(SSL_CTX_use_certificate_chain_file(context, o->certificate) == 1 &&
		     SSL_CTX_use_PrivateKey_file(context, o->key, SSL_FILETYPE_PEM) == 1);
	return context;
}

static void create(struct tls_client *c, const char *title, const struct tls_offer *o)
{
	SSL_CTX *context = context_for(o);
	memset(c, 0, sizeof(*c));
	c->fd = client_connect(title);
	if (o->header_length)
		client_send_bytes(c->fd, o->header, o->header_length);
	c->ssl = SSL_new(context);
	MUST(c->ssl && SSL_set_fd(c->ssl, c->fd) == 1);
	SSL_CTX_free(context);
	SSL_set_connect_state(c->ssl);
	if (o->name)
		MUST(SSL_set_tlsext_host_name(c->ssl, o->name) == 1);
	if (o->session)
		MUST(SSL_set_session(c->ssl, o->session) == 1);
}

/* Wait for the event that OpenSSL needs. Returns false if RESULT is the end or a failure. */
static bool await_ready(struct tls_client *c, int result, int64_t until, const char *what)
{
	int error = SSL_get_error(c->ssl, result);
	if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
		return false;
	await_fd(c->fd, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, until, what);
	return true;
}

bool tls_client_try(struct tls_client *c, const char *title, const struct tls_offer *offer)
{
	static const struct tls_offer any;
	int64_t until = deadline();
	int result;
	create(c, title, offer ? offer : &any);
	do {
		ERR_clear_error();
		result = SSL_do_handshake(c->ssl);
	} while (result != 1 && await_ready(c, result, until, "a TLS handshake"));
	if (result == 1)
		return true;
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());
	snprintf(c->error, sizeof(c->error), "%s", reason ? reason : "the connection was closed");
	return false;
}

struct tls_client tls_client_connect(const char *title, const struct tls_offer *offer)
{
	struct tls_client c;
	if (!tls_client_try(&c, title, offer))
		fail_test("TLS handshake with %s: %s", title, c.error);
	return c;
}

void tls_client_begin(struct tls_client *c, const char *title)
{
	static const struct tls_offer any;
	BIO *nothing = BIO_new(BIO_s_mem()); /* the answer of the server may be there already */
	create(c, title, &any);
	ERR_clear_error();
	SSL_set0_rbio(c->ssl, nothing);
	MUST(SSL_get_error(c->ssl, SSL_do_handshake(c->ssl)) == SSL_ERROR_WANT_READ);
	MUST(SSL_set_rfd(c->ssl, c->fd) == 1);
}

void tls_client_send(struct tls_client *c, const void *bytes, size_t n)
{
	int64_t until = deadline();
	size_t written;
	int result;
	SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
	for (const char *p = bytes; n;) {
		ERR_clear_error();
		result = SSL_write_ex(c->ssl, p, n, &written);
		if (result == 1)
			p += written, n -= written;
		else if (!await_ready(c, result, until, "room to send"))
			fail_test("TLS write, %zu bytes left: %s", n,
				  ERR_reason_error_string(ERR_peek_last_error()));
	}
}

int tls_client_read(struct tls_client *c, void *bytes, size_t size)
{
	int64_t until = deadline();
	int result;
	do {
		ERR_clear_error();
		result = SSL_read(c->ssl, bytes, (int)size);
	} while (result <= 0 && await_ready(c, result, until, "a TLS record"));
	if (result > 0)
		return result;
	return SSL_get_error(c->ssl, result) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

void tls_client_expect(struct tls_client *c, const char *text)
{
	size_t wanted = strlen(text), got = 0;
	char received[65536];
	MUST(wanted < sizeof(received));
	while (got < wanted) {
		int n = tls_client_read(c, received + got, wanted - got);
		if (n <= 0)
			fail_test("%s after %zu bytes, expected %s",
				  n ? "a broken connection" : "close_notify", got, text);
		got += (size_t)n;
	}
	received[got] = '\0';
	cr_assert_str_eq(received, text);
}

void tls_client_echo(struct tls_client *c, const char *text)
{
	tls_client_send(c, text, strlen(text));
	tls_client_expect(c, text);
}

void tls_client_expect_end(struct tls_client *c)
{
	char byte;
	int n = tls_client_read(c, &byte, 1);
	if (n)
		fail_test("%s, expected close_notify",
			  n > 0 ? "a byte" : ERR_reason_error_string(ERR_peek_last_error()));
	SSL_free(c->ssl);
	client_expect_eof(c->fd);
}

void tls_client_shutdown(struct tls_client *c)
{
	ERR_clear_error();
	MUST(SSL_shutdown(c->ssl) >= 0);
}

void tls_client_close(struct tls_client *c)
{
	/* Otherwise, SSL_free(3) makes the session useless. */
	SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(c->ssl);
	client_close(c->fd);
}

const char *tls_client_peer(const struct tls_client *c)
{
	static char name[128];
	X509 *certificate = SSL_get1_peer_certificate(c->ssl);
	MUST(certificate);
	X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
				  sizeof(name));
	X509_free(certificate);
	return name;
}

SSL_SESSION *tls_client_session(struct tls_client *c)
{
	SSL_SESSION *session = SSL_get1_session(c->ssl);
	MUST(session && SSL_SESSION_is_resumable(session));
	return session;
}
