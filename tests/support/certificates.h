/*
 * Certificates for tests: authorities, intermediates and leaves, made with OpenSSL.
 *
 *	struct certificate *ca = certificate_new(NULL, .name = "CA", .is_ca = true);
 *	struct certificate *leaf = certificate_new(ca, .name = "a.example", .names =
 *"DNS:a.example"); certificates_write("chain.pem", leaf, ca); key_write("key.pem", leaf);
 *
 * A failure ends the test.
 */
#ifndef SKELD_TESTS_CERTIFICATES_H
#define SKELD_TESTS_CERTIFICATES_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

struct certificate {
	X509 *x;
	EVP_PKEY *key;
};

enum certificate_key { KEY_EC_256, KEY_RSA_2048, KEY_RSA_1024, KEY_ED25519, KEY_DSA };

struct certificate_options {
	const char *name;  /* common name */
	const char *names; /* subjectAltName, "DNS:a.example,DNS:*.b.example"; NULL: none */
	enum certificate_key key;
	long from, to;	    /* seconds from now; `to` 0: in 90 days */
	const char *digest; /* of the signature; NULL: "SHA256" */
	bool is_ca, must_staple;
	EVP_PKEY *same_key; /* as a renewal with the same key has it; NULL: a new key */
};

/* ISSUER NULL: self-signed. The caller frees it. */
#define certificate_new(issuer, ...)                                                               \
	certificate_make(issuer, &(struct certificate_options){__VA_ARGS__})
struct certificate *certificate_make(const struct certificate *issuer,
				     const struct certificate_options *o);
void certificate_free(struct certificate *c);

/* Write the certificates, or the key, of some as PEM. */
#define certificates_write(file, ...)                                                              \
	certificates_write_all(file, (const struct certificate *[]){__VA_ARGS__, NULL})
void certificates_write_all(const char *file, const struct certificate *const *all);
void key_write(const char *file, const struct certificate *c);
/* "traditional" or "encrypted" or both, for tests of such files. */
void key_write_encrypted(const char *file, const struct certificate *c, bool traditional);

#endif
