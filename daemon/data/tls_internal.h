/* What the files data/tls_*.c share. Other files use data/tls.h. */
#ifndef SKELD_TLS_INTERNAL_H
#define SKELD_TLS_INTERNAL_H

#include "data/tls.h"

#include <openssl/ssl.h>

/* One tls section. Its context never changes after tls_sites_load(). */
struct tls_site {
	char *title;
	SSL_CTX *context;
	int64_t expiry; /* of the first certificate of the chain that expires */
	X509 *leaf;	/* its names select the site; owned */
	bool needs_client_certificate;
	int min_version;	  /* TLS1_2_VERSION or TLS1_3_VERSION */
	unsigned char digest[32]; /* SHA-256 of the files and settings: equal ones are shared */
};

/* The sites of one listen section, in its order. The first one serves unknown names. */
struct tls_server {
	struct tls_sites *sites; /* that contains this one; a session holds a reference */
	size_t n;
	struct tls_site *site[];
};

/* Returns the site of SERVER for NAME, a host name without a final dot, which may be NULL. */
struct tls_site *tls_server_find(const struct tls_server *server, const char *name);

/*
 * Let CONTEXT issue and accept tickets with the keys of this process. Workers share the keys, and
 * reloads keep them, so that a client resumes on any worker and after a reload. A key encrypts for
 * 12 hours and decrypts for 12 more. Returns false if memory is short.
 */
bool tls_tickets_use(SSL_CTX *context);

/* The client hello callback, which selects the site; tls_sites_load() sets it in each context. The
 * application data of the SSL is the struct tls_session. */
int tls_session_on_client_hello(SSL *ssl, int *alert, void *arg);

#endif
