/* TLS clients of the daemon, on the sockets of client.h, with a deadline for everything. */
#ifndef SKELD_TESTS_TLS_CLIENT_H
#define SKELD_TESTS_TLS_CLIENT_H

#include "client.h"

#include <openssl/ssl.h>

/* What a client offers. All zero: any version, no name, no certificate. */
struct tls_offer {
	const char *name;	 /* server name */
	int version;		 /* TLS1_2_VERSION, the only one; 0: any */
	SSL_SESSION *session;	 /* to resume */
	const char *certificate; /* of the client, with `key`: PEM files */
	const char *key;
	const char *header; /* bytes to send before the handshake */
	size_t header_length;
};

struct tls_client {
	int fd;
	SSL *ssl;
	char error[256]; /* of a failed handshake */
};

/* Connect to the listener TITLE. Returns false if the handshake fails. TLS 1.3 reports a rejected
 * client certificate with the first tls_client_read() only. */
bool tls_client_try(struct tls_client *c, const char *title, const struct tls_offer *offer);

/* The same, or the test fails. OFFER may be NULL. */
struct tls_client tls_client_connect(const char *title, const struct tls_offer *offer);

/* The first handshake message alone is sent, and nothing is received. */
void tls_client_begin(struct tls_client *c, const char *title);

void tls_client_send(struct tls_client *c, const void *bytes, size_t n);

/* Read a record, or the rest of one. Returns the number of bytes; 0 after close_notify; -1 if the
 * connection ended without it, or with an alert. */
int tls_client_read(struct tls_client *c, void *bytes, size_t size);

void tls_client_expect(struct tls_client *c, const char *text);
void tls_client_echo(struct tls_client *c, const char *text);

/* close_notify, then the end of the socket. Closes C. */
void tls_client_expect_end(struct tls_client *c);

/* Send close_notify; C still receives. */
void tls_client_shutdown(struct tls_client *c);
void tls_client_close(struct tls_client *c);

/* The common name of the server's certificate, valid until the next call. */
const char *tls_client_peer(const struct tls_client *c);

/* A session to resume; the caller frees it. With TLS 1.3, something must have been read. */
SSL_SESSION *tls_client_session(struct tls_client *c);

#endif
