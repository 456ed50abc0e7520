/* Checks of what the files of a tls section contain. Helper thread. */
#ifndef SKELD_TLS_CHECK_H
#define SKELD_TLS_CHECK_H

#include "data/tls_internal.h"
#include "data/tls_pem.h"

enum { TLS_SECURITY_LEVEL = 2 }; /* SSL_CTX_set_security_level(3): 112 bits, RSA of 2048 bits */

/*
 * CHAIN, of the file P, can serve: it begins with the certificate of KEY, each certificate is
 * issued by the next one, all are valid now and strong enough for LEVEL. Returns false with errors.
 */
bool tls_check_chain(const struct tls_place *p, STACK_OF(X509) * chain, EVP_PKEY *key, int level);

/*
 * Detect a half-written CHAIN: a program may have written only the first certificate so far.
 * Returns false with an error if CHAIN lacks the certificate of an issuer that the chain of OLD
 * has. OLD is the site with the same title, or NULL.
 */
bool tls_check_not_cut(const struct tls_place *p, STACK_OF(X509) * chain,
		       const struct tls_site *old);

/* The certificates of ALL, of the file P, can be trusted as issuers of client certificates. */
bool tls_check_client_ca(const struct tls_place *p, STACK_OF(X509) * all);

/* Warn about certificates of S that clients may reject, now or soon. P is its certificate file. */
void tls_warn(const struct tls_place *p, const struct tls_site *s);

/* Does CHAIN end before a certificate that clients have? ROOTS are those that this system trusts;
 * they are loaded with the first call that needs them, which may take 40 ms. The caller frees them.
 */
bool tls_is_incomplete(STACK_OF(X509) * chain, X509_STORE **roots);

/* When the first certificate of CHAIN expires, in seconds since the epoch. */
int64_t tls_expiry(STACK_OF(X509) * chain);

/* Print T as a date, "2027-01-02". Returns OUT. */
enum { TLS_DATE_MAX = 32 };
const char *tls_date(int64_t t, char out[static TLS_DATE_MAX]);

#endif
