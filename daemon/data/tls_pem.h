/*
 * The files of a tls section: read into memory, cut into their PEM blocks (RFC 7468), decoded.
 *
 * Another program may write a file while it is read. So a file is read as a whole before anything
 * is decoded, a file that changes while it is read is rejected, and so is everything that may be a
 * part of a block: OpenSSL's own reader skips it, and accepts half of a chain. Helper thread.
 */
#ifndef SKELD_TLS_PEM_H
#define SKELD_TLS_PEM_H

#include "base/errors.h"
#include "config/config.h"

#include <openssl/x509.h>
#include <sys/types.h>

enum { TLS_FILE_MAX = 1 << 20 }; /* bytes in one file */

/* The option that an error or a warning is about. */
struct tls_place {
	const char *file; /* the configuration */
	unsigned line;
	const char *title;  /* of the tls section */
	const char *option; /* "certificate" */
	const char *path;   /* its value */
	struct errors *warnings, *e;
};

/* Append to the errors (LOG_ERR) or to the warnings (LOG_WARNING):
 * `FILE:LINE: tls.OPTION = "PATH": TEXT (tls "TITLE")`. */
void tls_report(const struct tls_place *p, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* An OpenSSL call has failed: append an error which says that it cannot do WHAT, with OpenSSL's
 * reason, or that memory is short. Empties OpenSSL's queue of errors. */
void tls_report_openssl(const struct tls_place *p, const char *what);

struct tls_file {
	char *bytes; /* may be a key */
	size_t n;
	mode_t mode;
};

/* Returns false, with an error, unless F is a regular file that does not change while it is read.
 */
bool tls_file_read(const struct tls_place *p, struct tls_file *f);

/* Cleanse and free the bytes. */
void tls_file_free(struct tls_file *f);

/* Returns the certificates of F in their order, at least one, or NULL with an error. Skips private
 * keys: one file may have both. */
STACK_OF(X509) * tls_file_certificates(const struct tls_place *p, const struct tls_file *f);

/* Returns the only private key of F, or NULL with an error. Skips certificates. */
EVP_PKEY *tls_file_key(const struct tls_place *p, const struct tls_file *f);

#endif
