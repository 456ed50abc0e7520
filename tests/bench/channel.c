#include "channel.h"

#include "measure.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t tcp_result(struct channel *c, ssize_t n, bool writes)
{
	c->waits_to_write = n < 0 && errno == EAGAIN && writes;
	return n;
}

#if SKELD_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *context(void)
{
	static SSL_CTX *only;

	if (only)
		return only;
	only = SSL_CTX_new(TLS_client_method());
	if (!only || !SSL_CTX_set_min_proto_version(only, TLS1_3_VERSION) ||
	    !SSL_CTX_set_ciphersuites(only, "TLS_AES_256_GCM_SHA384") ||
	    !SSL_CTX_set1_groups_list(only, "X25519"))
		diex("cannot prepare TLS");
	SSL_CTX_set_mode(only, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				       SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(only, 1);
	return only;
}

static void tls_open(struct channel *c)
{
	c->ssl = SSL_new(context());
	if (!c->ssl || !SSL_set_fd(c->ssl, c->fd) ||
	    (c->session && !SSL_set_session(c->ssl, c->session)))
		diex("cannot create a TLS connection");
	SSL_set_connect_state(c->ssl);
}

static void tls_close(struct channel *c)
{
	SSL_SESSION *session = NULL;

	if (SSL_is_init_finished(c->ssl)) {
		SSL_shutdown(c->ssl);
		session = SSL_get1_session(c->ssl);
	}
	if (c->kind == CHANNEL_TLS_RESUMED && session && SSL_SESSION_is_resumable(session)) {
		SSL_SESSION_free(c->session);
		c->session = session;
	} else {
		SSL_SESSION_free(session);
	}
	SSL_free(c->ssl);
	c->ssl = NULL;
}

/* RESULT is that of an SSL function, N the bytes that it has transferred. */
static ssize_t tls_result(struct channel *c, int result, size_t n)
{
	int error = SSL_get_error(c->ssl, result);

	c->waits_to_write = error == SSL_ERROR_WANT_WRITE;
	if (error == SSL_ERROR_NONE)
		return (ssize_t)n;
	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
	ERR_clear_error();
	return -1;
}

static ssize_t tls_send(struct channel *c, const void *bytes, size_t n)
{
	size_t sent = 0;

	int result = SSL_write_ex(c->ssl, bytes, n, &sent);

	return tls_result(c, result, sent);
}

static ssize_t tls_receive(struct channel *c, void *bytes, size_t n)
{
	size_t received = 0;

	int result = SSL_read_ex(c->ssl, bytes, n, &received);

	return tls_result(c, result, received);
}

bool channel_resumed_as_asked(const struct channel *c)
{
	return c->kind != CHANNEL_TLS_RESUMED || !c->used || SSL_session_reused(c->ssl);
}

static void forget_session(struct channel *c)
{
	SSL_SESSION_free(c->session);
	c->session = NULL;
}
#else
static void tls_open(struct channel *c)
{
	(void)c;
	diex("built without TLS");
}

static void tls_close(struct channel *c)
{
	(void)c;
}

static ssize_t tls_send(struct channel *c, const void *bytes, size_t n)
{
	(void)c, (void)bytes, (void)n;
	return -1;
}

static ssize_t tls_receive(struct channel *c, void *bytes, size_t n)
{
	(void)c, (void)bytes, (void)n;
	return -1;
}

bool channel_resumed_as_asked(const struct channel *c)
{
	(void)c;
	return true;
}

static void forget_session(struct channel *c)
{
	(void)c;
}
#endif

bool channel_open(struct channel *c, unsigned short port, unsigned number, bool blocking)
{
	c->fd = client_connect(port, number, blocking);
	c->waits_to_write = false;
	if (c->fd >= 0 && c->kind != CHANNEL_TCP)
		tls_open(c);
	return c->fd >= 0;
}

ssize_t channel_send(struct channel *c, const void *bytes, size_t n)
{
	return c->ssl ? tls_send(c, bytes, n)
		      : tcp_result(c, send(c->fd, bytes, n, MSG_NOSIGNAL), true);
}

ssize_t channel_receive(struct channel *c, void *bytes, size_t n)
{
	return c->ssl ? tls_receive(c, bytes, n) : tcp_result(c, recv(c->fd, bytes, n, 0), false);
}

void channel_close(struct channel *c)
{
	if (c->ssl)
		tls_close(c);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->used = true;
}

void channel_free(struct channel *c)
{
	channel_close(c);
	forget_session(c);
}
