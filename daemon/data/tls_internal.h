/* Declarations that the files data/tls_*.c share. Other files use data/tls.h. */
#ifndef SKELD_TLS_INTERNAL_H
#define SKELD_TLS_INTERNAL_H

#include "data/tls.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

/* One tls section. Immutable once tls_sites_load() has returned it; sets share the sites that have
 * not changed. */
struct tls_site {
	_Atomic unsigned refs;
	char *title;
	SSL_CTX *context;
	int64_t expiry; /* of the first certificate of the chain that expires */
	X509 *leaf;	/* its names select the site; owned */
	size_t n_names;
	char **names; /* of the leaf, in lower case: "a.example", "*.b.example" */
	bool needs_client_certificate;
	bool is_incomplete;	  /* the chain was incomplete when the site was loaded */
	int min_version;	  /* TLS1_2_VERSION or TLS1_3_VERSION */
	unsigned char digest[32]; /* SHA-256 of the files and settings: equal ones are shared */
};

struct tls_sites {
	_Atomic unsigned refs;
	size_t n;
	struct tls_site *site[CONFIG_TLS_MAX]; /* in the order of the configuration */
	const char *title[CONFIG_TLS_MAX];     /* of each, owned by it */
	struct tls_server *listen[CONFIG_LISTEN_MAX];
	struct tls_server *admin;
};

struct tls_name {
	const char *name; /* owned by the site */
	size_t site;	  /* number of the first site of the server that has it */
};

/* The sites of one listen section, in its order. The first one serves unknown names. */
struct tls_server {
	struct tls_sites *sites; /* that contains this one; a session holds a reference */
	struct tls_name *names;	 /* of all sites, sorted, without duplicates */
	size_t n_names;
	size_t n;
	struct tls_site *site[];
};

/* Returns the site of SERVER for NAME, a host name without a final dot, which may be NULL. An exact
 * name is preferred to a wildcard, which stands for one label. */
struct tls_site *tls_server_find(const struct tls_server *server, const char *name);

/* A site or a set under construction, for tls_sites_load(). Each returns NULL or false if memory
 * is short. */
struct tls_sites *tls_sites_new(void);
struct tls_site *tls_site_new(const char *title);
struct tls_site *tls_site_ref(struct tls_site *s);
void tls_site_unref(struct tls_site *s); /* S may be NULL */
bool tls_site_set_leaf(struct tls_site *s, X509 *leaf);

/* The server of the sites with TITLES, ended by NULL, which S contains. */
struct tls_server *tls_server_new(struct tls_sites *s, char *const *titles);

/* Returns the site with TITLE, or NULL. S may be NULL. */
struct tls_site *tls_sites_find(const struct tls_sites *s, const char *title);

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
