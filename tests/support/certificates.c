#include "certificates.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/dsa.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DAY = 24 * 3600, DEFAULT_DAYS = 90 };

static EVP_PKEY *new_dsa_key(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "DSA", NULL);
	EVP_PKEY *parameters = NULL, *key = NULL;
	MUST(ctx && EVP_PKEY_paramgen_init(ctx) > 0 &&
	     EVP_PKEY_CTX_set_dsa_paramgen_bits(ctx, 2048) > 0 &&
	     EVP_PKEY_paramgen(ctx, &parameters) > 0);
	EVP_PKEY_CTX_free(ctx);
	ctx = EVP_PKEY_CTX_new(parameters, NULL);
	MUST(ctx && EVP_PKEY_keygen_init(ctx) > 0 && EVP_PKEY_keygen(ctx, &key) > 0);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(parameters);
	return key;
}

static EVP_PKEY *new_key(enum certificate_key kind)
{
	switch (kind) {
	case KEY_RSA_1024:
		return EVP_RSA_gen(1024);
	case KEY_RSA_2048:
		return EVP_RSA_gen(2048);
	case KEY_ED25519:
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	case KEY_DSA:
		return new_dsa_key();
	case KEY_EC_256:
		break;
	}
	return EVP_EC_gen("P-256");
}

static void add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	MUST(e && X509_add_ext(x, e, -1) > 0);
	X509_EXTENSION_free(e);
}

static void set_contents(X509 *x, X509 *issuer, const struct certificate_options *o)
{
	static long serial;
	X509_NAME *subject = X509_get_subject_name(x);
	MUST(X509_set_version(x, X509_VERSION_3) > 0);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ((long)getpid() << 16) + ++serial);
	X509_gmtime_adj(X509_getm_notBefore(x), o->from ? o->from : -DAY);
	X509_gmtime_adj(X509_getm_notAfter(x), o->to ? o->to : DEFAULT_DAYS * DAY);
	MUST(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (unsigned char *)o->name, -1,
					-1, 0) > 0);
	MUST(X509_set_issuer_name(x, X509_get_subject_name(issuer)) > 0);
	add_extension(x, issuer, NID_subject_key_identifier, "hash");
	add_extension(x, issuer, NID_basic_constraints, o->is_ca ? "critical,CA:TRUE" : "CA:FALSE");
	if (o->is_ca)
		add_extension(x, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
	if (o->names)
		add_extension(x, issuer, NID_subject_alt_name, o->names);
	if (o->must_staple)
		add_extension(x, issuer, NID_tlsfeature, "status_request");
}

struct certificate *certificate_make(const struct certificate *issuer,
				     const struct certificate_options *o)
{
	struct certificate *c = calloc(1, sizeof(*c));
	MUST(c);
	c->x = X509_new();
	c->key = o->same_key ? o->same_key : new_key(o->key);
	if (o->same_key)
		EVP_PKEY_up_ref(o->same_key);
	MUST(c->x && c->key && X509_set_pubkey(c->x, c->key) > 0);
	set_contents(c->x, issuer ? issuer->x : c->x, o);
	EVP_PKEY *signer = issuer ? issuer->key : c->key;
	const EVP_MD *digest = EVP_get_digestbyname(o->digest ? o->digest : "SHA256");
	if (EVP_PKEY_get_base_id(signer) == EVP_PKEY_ED25519)
		digest = NULL; /* it brings its own */
	MUST(X509_sign(c->x, signer, digest) > 0);
	return c;
}

void certificate_free(struct certificate *c)
{
	if (!c)
		return;
	X509_free(c->x);
	EVP_PKEY_free(c->key);
	free(c);
}

static FILE *create(const char *file)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	MUST(out && fchmod(fd, 0600) == 0);
	return out;
}

void certificates_write_all(const char *file, const struct certificate *const *all)
{
	FILE *out = create(file);
	for (; *all; all++)
		MUST(PEM_write_X509(out, (*all)->x) > 0);
	MUST(fclose(out) == 0);
}

void key_write(const char *file, const struct certificate *c)
{
	FILE *out = create(file);
	MUST(PEM_write_PrivateKey(out, c->key, NULL, NULL, 0, NULL, NULL) > 0);
	MUST(fclose(out) == 0);
}

void key_write_encrypted(const char *file, const struct certificate *c, bool traditional)
{
	static unsigned char password[] = "secret";
	FILE *out = create(file);
	if (traditional) {
		BIO *bio = BIO_new_fp(out, BIO_NOCLOSE);
		MUST(bio && PEM_write_bio_PrivateKey_traditional(
				    bio, c->key, EVP_aes_256_cbc(), password,
				    (int)sizeof(password) - 1, NULL, NULL) > 0);
		BIO_free(bio);
	} else {
		MUST(PEM_write_PKCS8PrivateKey(out, c->key, EVP_aes_256_cbc(), (char *)password,
					       (int)sizeof(password) - 1, NULL, NULL) > 0);
	}
	MUST(fclose(out) == 0);
}
