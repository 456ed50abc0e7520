/*
 * The files of a tls section. Each input is read as certificates and as a key. If the file is
 * accepted, OpenSSL's own reader finds the same in it; if it is rejected, there is one error.
 */
/* fuzz: 20000 3000 */
#include "data/tls.h"
#include "data/tls_pem.h"
#include "fuzz.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	tls_init();
	return 0;
}

static int no_password(char *out, int size, int writes, void *arg)
{
	(void)out, (void)size, (void)writes, (void)arg;
	return -1;
}

/* A key may come before the certificates. The daemon skips it, OpenSSL may reject it. */
static const char *find_certificates(const char *bytes, size_t n)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	const char *at = bytes, *end = bytes + n;
	while ((at = memmem(at, (size_t)(end - at), begin, strlen(begin))) && at > bytes &&
	       at[-1] != '\n')
		at++;
	CHECK(at, "no certificate begins");
	return at;
}

/* OpenSSL skips what is between the blocks: it may find less only behind a block that it rejects.
 */
static void compare_certificates(STACK_OF(X509) * chain, const char *bytes, size_t n)
{
	const char *begin = find_certificates(bytes, n);
	BIO *in = BIO_new_mem_buf(begin, (int)(bytes + n - begin));
	int i = 0;
	for (X509 *x; (x = PEM_read_bio_X509(in, NULL, no_password, NULL)); i++) {
		CHECK(i < sk_X509_num(chain), "OpenSSL finds more than %d", i);
		CHECK(X509_cmp(x, sk_X509_value(chain, i)) == 0, "certificate %d differs", i);
		X509_free(x);
	}
	BIO_free(in);
	ERR_clear_error();
	CHECK(i > 0, "OpenSSL finds no certificate");
}

static void expect_outcome(bool accepted, struct errors *e)
{
	CHECK(accepted == (e->n == 0), "%zu errors", e->n);
	CHECK(e->n <= 1, "%s, %s", errors_text(e, 0), errors_text(e, 1));
	CHECK(!e->transient, "%s", errors_text(e, 0));
	CHECK(!ERR_peek_error(), "an error was left: %s",
	      ERR_reason_error_string(ERR_peek_error()));
	errors_clear(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct errors e = {0}, warnings = {0};
	const struct tls_place p = {"skeld.conf", 1, "site", "certificate", "file", &warnings, &e};
	char *bytes = malloc(n ? n : 1); /* so that the sanitizer detects a read beyond it */
	const struct tls_file f = {bytes, n, 0600};
	memcpy(bytes, data, n);
	STACK_OF(X509) *chain = tls_file_certificates(&p, &f);
	expect_outcome(chain, &e);
	if (chain)
		compare_certificates(chain, bytes, n);
	sk_X509_pop_free(chain, X509_free);
	EVP_PKEY *key = tls_file_key(&p, &f);
	expect_outcome(key, &e);
	EVP_PKEY_free(key);
	free(bytes);
	return 0;
}
