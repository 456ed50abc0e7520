/*
 * The first bytes of a TLS connection, which any client can send. The outcome does not depend on
 * how they are split, and no byte reaches the service before the handshake is complete, which a
 * client without the secrets of the key exchange cannot bring about.
 */
/* fuzz: 20000 4000 */
#include "data/tls_internal.h"
#include "fuzz.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static struct tls_server *server;
static struct tls_io io;

static X509 *make_certificate(EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"a", -1, -1, 0);
	X509_set_issuer_name(x, name);
	X509_set_pubkey(x, key);
	X509_sign(x, key, EVP_sha256());
	return x;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char title[] = "a", *titles[] = {title, NULL};
	(void)argc, (void)argv;
	tls_init();
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = make_certificate(key);
	struct tls_sites *sites = tls_sites_new();
	struct tls_site *site = tls_site_new(title);
	site->context = SSL_CTX_new(TLS_server_method());
	site->min_version = TLS1_2_VERSION;
	CHECK(SSL_CTX_use_certificate(site->context, x) == 1 &&
		      SSL_CTX_use_PrivateKey(site->context, key) == 1 && tls_site_set_leaf(site, x),
	      "no certificate");
	SSL_CTX_set_client_hello_cb(site->context, tls_session_on_client_hello, NULL);
	CHECK(tls_tickets_use(site->context), "no tickets");
	sites->site[sites->n++] = site;
	server = tls_server_new(sites, titles);
	CHECK(server && tls_io_init(&io, 65536), "no memory");
	return 0;
}

/* Pass the bytes in pieces of STEP. Returns the last status. */
static enum tls_status receive(const uint8_t *data, size_t n, size_t step, size_t *answered)
{
	struct tls_session *s = tls_session_new(server);
	enum tls_status status = TLS_OPEN;
	*answered = 0;
	for (size_t i = 0; i < n && status == TLS_OPEN; i += step) {
		size_t piece = n - i < step ? n - i : step;
		char *copy = malloc(piece); /* so that the sanitizer detects a read beyond it */
		memcpy(copy, data + i, piece);
		status = tls_session_receive(s, &io, copy, piece);
		*answered += io.n_out;
		io.n_out = 0;
		free(copy);
		CHECK(!s->open && !io.n_plain, "a handshake without a key exchange");
	}
	if (status == TLS_BROKEN)
		CHECK(*tls_session_error(s) && !tls_session_send(s, &io, "x", 1), "no reason");
	tls_session_end(s, &io);
	CHECK(!io.n_out, "close_notify before the end of the handshake");
	tls_session_free(s);
	return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	size_t whole, pieces;
	if (n == 0)
		return 0;
	enum tls_status a = receive(data, n, n, &whole), b = receive(data, n, 1 + n / 7, &pieces);
	CHECK(a == b, "%d in one piece, %d in pieces", (int)a, (int)b);
	CHECK((whole == 0) == (pieces == 0), "%zu bytes answered, and %zu", whole, pieces);
	return 0;
}
