/*
 * tls_sites_load(): from the files of the tls sections to contexts of OpenSSL.
 *
 * For each section: read its files, compare them with those of the site in force, decode, check,
 * build. A section with mistakes does not keep the others from being checked.
 */
#include "base/log.h"
#include "data/tls_check.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/*
 * TLS 1.2 only: forward secrecy and authenticated encryption. The cipher suites of TLS 1.3 are all
 * good. The client's order is followed: it knows whether its processor has instructions for AES,
 * and all ciphers here are good.
 */
static const char ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";

/* Bytes of a client's certificate and its chain. OpenSSL allocates what the client announces, and
 * takes the limit from the first site of a listener. */
enum { CLIENT_CHAIN_MAX = 32768 };

enum option { CERTIFICATE, KEY, CLIENT_CA, N_FILES };

/* One section while it is loaded. */
struct section {
	const struct tls_config *config;
	struct tls_place place[N_FILES];
	struct tls_file file[N_FILES];
	unsigned char digest[32], session_context[32];
	STACK_OF(X509) * chain, *client_ca;
	EVP_PKEY *key;
};

/* Files. */

static void set_places(struct section *s, const struct config *c, struct errors *warnings,
		       struct errors *e)
{
	static const char *const options[N_FILES] = {"certificate", "key", "client_ca"};
	const struct location *at = &s->config->location;
	const char *const paths[N_FILES] = {s->config->certificate, s->config->key,
					    s->config->client_ca};
	for (size_t i = 0; i < N_FILES; i++)
		s->place[i] = (struct tls_place){at->file ? at->file : c->file,
						 at->line,
						 s->config->title,
						 options[i],
						 paths[i],
						 warnings,
						 e};
}

static bool read_files(struct section *s)
{
	bool good = true;
	for (size_t i = 0; i < N_FILES; i++)
		if (*s->place[i].path)
			good = tls_file_read(&s->place[i], &s->file[i]) && good;
	return good;
}

static void free_section(struct section *s)
{
	for (size_t i = 0; i < N_FILES; i++)
		tls_file_free(&s->file[i]);
	sk_X509_pop_free(s->chain, X509_free);
	sk_X509_pop_free(s->client_ca, X509_free);
	EVP_PKEY_free(s->key);
}

/* Each part with its length, so that no two lists of parts give the same bytes. */
static bool hash_part(EVP_MD_CTX *md, const void *bytes, size_t n)
{
	return EVP_DigestUpdate(md, &n, sizeof(n)) > 0 && EVP_DigestUpdate(md, bytes, n) > 0;
}

/*
 * The digest of everything that the context depends on; and the context of its sessions. The latter
 * stays the same when a certificate is renewed, so that clients resume. It changes with the client
 * CA: a ticket is a proof that the former one has verified the client.
 */
static bool hash(struct section *s)
{
	const struct tls_config *c = s->config;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool good = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) > 0 &&
		    hash_part(md, c->title, strlen(c->title)) &&
		    hash_part(md, s->file[CLIENT_CA].bytes, s->file[CLIENT_CA].n) &&
		    EVP_DigestFinal_ex(md, s->session_context, NULL) > 0 &&
		    EVP_DigestInit_ex(md, EVP_sha256(), NULL) > 0 &&
		    hash_part(md, &c->min_version, sizeof(c->min_version));
	for (size_t i = 0; good && i < N_FILES; i++)
		good = hash_part(md, s->file[i].bytes, s->file[i].n);
	good = good && EVP_DigestFinal_ex(md, s->digest, NULL) > 0;
	EVP_MD_CTX_free(md);
	if (!good)
		tls_report_openssl(&s->place[CERTIFICATE], "compute a digest");
	return good;
}

static void warn_of_mode(const struct section *s)
{
	if (s->file[KEY].mode & S_IRWXO)
		tls_report(&s->place[KEY], LOG_WARNING,
			   "other users may use the private key: mode=%04o; expected 0600, or 0640 "
			   "with the group of the daemon",
			   (unsigned)s->file[KEY].mode & 07777);
}

/* Contexts. */

static bool trust_client_ca(SSL_CTX *ctx, STACK_OF(X509) * all)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	bool good = true;
	for (int i = 0; good && i < sk_X509_num(all); i++) {
		X509 *x = sk_X509_value(all, i);
		good = X509_STORE_add_cert(store, x) > 0 && SSL_CTX_add_client_CA(ctx, x) > 0;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	/* Every certificate of the file is trusted, also one whose issuer is not in the file. */
	return good && X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) > 0;
}

/* With this callback, the server confirms that it has used the name (RFC 6066 3). */
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	(void)ssl;
	(void)alert;
	(void)arg;
	return SSL_TLSEXT_ERR_OK;
}

/* The system's openssl.cnf has been applied: set everything that matters. It may only be stricter.
 */
static bool set_options(SSL_CTX *ctx, int min_version)
{
	SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_KTLS | SSL_OP_IGNORE_UNEXPECTED_EOF |
					   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_TICKET);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
	/* NO_AUTO_CHAIN: send what is in the file, and no certificate of the client CA. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_max_cert_list(ctx, CLIENT_CHAIN_MAX);
	if (SSL_CTX_get_security_level(ctx) < TLS_SECURITY_LEVEL)
		SSL_CTX_set_security_level(ctx, TLS_SECURITY_LEVEL);
	SSL_CTX_set_client_hello_cb(ctx, tls_session_on_client_hello, NULL);
	SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
	return SSL_CTX_set_min_proto_version(ctx, min_version) > 0 &&
	       SSL_CTX_set_max_proto_version(ctx, 0) > 0 &&
	       SSL_CTX_set_cipher_list(ctx, ciphers) > 0 && SSL_CTX_set_num_tickets(ctx, 1) > 0 &&
	       SSL_CTX_set_max_early_data(ctx, 0) > 0 && tls_tickets_use(ctx);
}

static bool set_certificate(SSL_CTX *ctx, const struct section *s)
{
	bool good = SSL_CTX_use_certificate(ctx, sk_X509_value(s->chain, 0)) > 0 &&
		    SSL_CTX_use_PrivateKey(ctx, s->key) > 0;
	for (int i = 1; good && i < sk_X509_num(s->chain); i++)
		good = SSL_CTX_add1_chain_cert(ctx, sk_X509_value(s->chain, i)) > 0;
	return good && SSL_CTX_check_private_key(ctx) > 0;
}

/* Returns NULL with an error. */
static SSL_CTX *new_context(const struct section *s, int min_version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	bool good = ctx && set_options(ctx, min_version) &&
		    SSL_CTX_set_session_id_context(ctx, s->session_context,
						   sizeof(s->session_context)) > 0;
	const char *what = "create a context";
	if (good && s->client_ca) {
		what = "use the client CA";
		good = trust_client_ca(ctx, s->client_ca);
	}
	if (good && tls_check_chain(&s->place[CERTIFICATE], s->chain, s->key,
				    SSL_CTX_get_security_level(ctx))) {
		what = "use the certificate";
		good = set_certificate(ctx, s);
		if (good)
			return ctx;
	}
	if (!good)
		tls_report_openssl(&s->place[CERTIFICATE], what);
	SSL_CTX_free(ctx);
	return NULL;
}

/* Sites. */

static struct tls_site *new_site(const struct section *s, X509_STORE **roots)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION}; /* of min_version */
	int min_version = versions[s->config->min_version];
	SSL_CTX *ctx = new_context(s, min_version);
	if (!ctx)
		return NULL;
	struct tls_site *site = tls_site_new(s->config->title);
	if (site && tls_site_set_leaf(site, sk_X509_value(s->chain, 0))) {
		site->context = ctx;
		site->expiry = tls_expiry(s->chain);
		site->needs_client_certificate = s->client_ca;
		site->is_incomplete = tls_is_incomplete(s->chain, roots);
		site->min_version = min_version;
		memcpy(site->digest, s->digest, sizeof(site->digest));
		return site;
	}
	errors_add_no_memory(s->place->e, s->place->file, s->place->line);
	tls_site_unref(site);
	SSL_CTX_free(ctx);
	return NULL;
}

/* Decode all files, so that every mistake in them is reported. */
static bool parse(struct section *s)
{
	const struct tls_place *p = s->place;
	s->chain = tls_file_certificates(&p[CERTIFICATE], &s->file[CERTIFICATE]);
	s->key = tls_file_key(&p[KEY], &s->file[KEY]);
	if (s->file[CLIENT_CA].bytes)
		s->client_ca = tls_file_certificates(&p[CLIENT_CA], &s->file[CLIENT_CA]);
	return s->chain && s->key && (s->client_ca || !s->file[CLIENT_CA].bytes);
}

/* Returns a reference, or NULL with errors. */
static struct tls_site *load_site(struct section *s, struct tls_site *old, X509_STORE **roots)
{
	if (!read_files(s) || !hash(s))
		return NULL;
	if (old && memcmp(old->digest, s->digest, sizeof(s->digest)) == 0)
		return tls_site_ref(old);
	if (!parse(s))
		return NULL;
	bool good = tls_check_not_cut(&s->place[CERTIFICATE], s->chain, old);
	if (s->client_ca)
		good = tls_check_client_ca(&s->place[CLIENT_CA], s->client_ca) && good;
	struct tls_site *site = new_site(s, roots);
	if (good)
		return site;
	tls_site_unref(site);
	return NULL;
}

static void load_sites(struct tls_sites *s, const struct config *c, const struct tls_sites *old,
		       struct errors *warnings, struct errors *e)
{
	X509_STORE *roots = NULL;
	for (size_t i = 0; i < c->n_tls; i++) {
		struct section section = {.config = &c->tls[i]};
		set_places(&section, c, warnings, e);
		struct tls_site *site =
			load_site(&section, tls_sites_find(old, c->tls[i].title), &roots);
		if (site) {
			warn_of_mode(&section);
			tls_warn(&section.place[CERTIFICATE], site);
			s->title[s->n] = site->title;
			s->site[s->n++] = site;
		}
		free_section(&section);
	}
	X509_STORE_free(roots);
}

static bool add_servers(struct tls_sites *s, const struct config *c)
{
	bool good = true;
	for (size_t i = 0; good && i < c->n_listen; i++)
		if (c->listen[i].tls && *c->listen[i].tls)
			good = (s->listen[i] = tls_server_new(s, c->listen[i].tls));
	if (good && c->admin.tls && *c->admin.tls)
		good = (s->admin = tls_server_new(s, c->admin.tls));
	return good;
}

struct tls_sites *tls_sites_load(const struct config *c, const struct tls_sites *old,
				 struct errors *warnings, struct errors *e)
{
	size_t errors_before = e->n;
	struct tls_sites *s = tls_init() ? tls_sites_new() : NULL;
	if (s)
		load_sites(s, c, old, warnings, e);
	if (!s || (e->n == errors_before && !add_servers(s, c)))
		errors_add_no_memory(e, c->file, 0);
	if (e->n == errors_before)
		return s;
	tls_sites_unref(s);
	return NULL;
}
