#include "data/tls_check.h"

#include "base/log.h"

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <time.h>

enum { NAME_TEXT_MAX = 256, DAY = 24 * 3600, WARN_DAYS = 14, STATUS_REQUEST = 5 /* RFC 6066 */ };

/* "CN=a.example,O=b" (RFC 2253). Returns OUT. */
static const char *name_text(const X509_NAME *name, char out[static NAME_TEXT_MAX])
{
	BIO *bio = BIO_new(BIO_s_mem());
	int n = -1;
	if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
		n = BIO_read(bio, out, NAME_TEXT_MAX - 1);
	out[n < 0 ? 0 : n] = '\0';
	BIO_free(bio);
	return out;
}

static const char *subject_text(X509 *x, char out[static NAME_TEXT_MAX])
{
	return name_text(X509_get_subject_name(x), out);
}

static const char *issuer_text(X509 *x, char out[static NAME_TEXT_MAX])
{
	return name_text(X509_get_issuer_name(x), out);
}

/* The functions of the C library know no date after 2038 if time_t has 32 bits. */
static const struct tm epoch = {.tm_year = 70, .tm_mday = 1};

/* Seconds since the epoch. A date that cannot be read is in the past. */
static int64_t seconds(const ASN1_TIME *t)
{
	struct tm tm;
	int days = 0, rest = 0;
	if (ASN1_TIME_to_tm(t, &tm) > 0)
		OPENSSL_gmtime_diff(&days, &rest, &epoch, &tm);
	return (int64_t)days * DAY + rest;
}

const char *tls_date(int64_t t, char out[static TLS_DATE_MAX])
{
	struct tm tm = epoch;
	if (!OPENSSL_gmtime_adj(&tm, (int)(t / DAY), (long)(t % DAY)) ||
	    !strftime(out, TLS_DATE_MAX, "%Y-%m-%d", &tm))
		snprintf(out, TLS_DATE_MAX, "%lld", (long long)t);
	return out;
}

int64_t tls_expiry(STACK_OF(X509) * chain)
{
	int64_t first = INT64_MAX;
	for (int i = 0; i < sk_X509_num(chain); i++) {
		int64_t t = seconds(X509_get0_notAfter(sk_X509_value(chain, i)));
		first = t < first ? t : first;
	}
	return first;
}

static X509 *last_of(STACK_OF(X509) * chain)
{
	return sk_X509_value(chain, sk_X509_num(chain) - 1);
}

static bool is_self_issued(X509 *x)
{
	return X509_NAME_cmp(X509_get_subject_name(x), X509_get_issuer_name(x)) == 0;
}

/* Has ISSUER issued X? Names, key identifiers, the right to sign, and the signature. */
static bool has_issued(X509 *issuer, X509 *x)
{
	bool good = X509_check_issued(issuer, x) == X509_V_OK &&
		    X509_verify(x, X509_get0_pubkey(issuer)) > 0;
	ERR_clear_error();
	return good;
}

/* Dates. */

static bool check_dates(const struct tls_place *p, X509 *x, int number)
{
	char name[NAME_TEXT_MAX], date[TLS_DATE_MAX];
	int64_t now = (int64_t)time(NULL), from = seconds(X509_get0_notBefore(x)),
		to = seconds(X509_get0_notAfter(x));
	if (to < now)
		tls_report(p, LOG_ERR, "certificate %d (%s) has expired: expires=%s; renew it",
			   number, subject_text(x, name), tls_date(to, date));
	else if (from > now)
		tls_report(p, LOG_ERR,
			   "certificate %d (%s) is not valid yet: valid_from=%s; check the clock "
			   "of this machine",
			   number, subject_text(x, name), tls_date(from, date));
	return from <= now && now <= to;
}

/* Strength. */

static int bits_of_level(int level)
{
	static const int bits[] = {0, 80, 112, 128, 192, 256}; /* SSL_CTX_set_security_level(3) */
	return bits[level < 0 ? 0 : level > 5 ? 5 : level];
}

static bool check_strength(const struct tls_place *p, X509 *x, int number, int level)
{
	char name[NAME_TEXT_MAX];
	EVP_PKEY *key = X509_get0_pubkey(x);
	int digest = NID_undef, bits = -1;
	if (!key) {
		tls_report_openssl(p, "use the public key of the certificate");
		return false;
	}
	if (EVP_PKEY_get_security_bits(key) < bits_of_level(level)) {
		tls_report(p, LOG_ERR,
			   "the key of certificate %d (%s) is too weak: %s with %d bits, expected "
			   "RSA with 2048 bits or EC with 256 bits",
			   number, subject_text(x, name), OBJ_nid2sn(EVP_PKEY_get_base_id(key)),
			   EVP_PKEY_get_bits(key));
		return false;
	}
	/* Clients do not verify the signature of a self-signed certificate. */
	if (is_self_issued(x) || X509_get_signature_info(x, &digest, NULL, &bits, NULL) <= 0 ||
	    bits < 0 || bits >= bits_of_level(level))
		return true;
	tls_report(p, LOG_ERR,
		   "the signature of certificate %d (%s) is too weak: it uses %s, expected SHA256 "
		   "or better",
		   number, subject_text(x, name), OBJ_nid2sn(digest));
	return false;
}

/* The key. */

static bool check_key(const struct tls_place *p, STACK_OF(X509) * chain, EVP_PKEY *key)
{
	char name[NAME_TEXT_MAX];
	int match = -1;
	for (int i = 0; match < 0 && i < sk_X509_num(chain); i++)
		if (X509_check_private_key(sk_X509_value(chain, i), key) > 0)
			match = i;
	ERR_clear_error();
	if (match > 0)
		tls_report(p, LOG_ERR,
			   "the private key belongs to certificate %d (%s): move this certificate "
			   "to the beginning of the file",
			   match + 1, subject_text(sk_X509_value(chain, match), name));
	else if (match < 0)
		tls_report(
			p, LOG_ERR,
			"the private key does not belong to the certificate (%s): expected the "
			"key for which it was issued; if a program is renewing both files, reload "
			"when it has ended",
			subject_text(sk_X509_value(chain, 0), name));
	return match == 0;
}

/* The order of the chain. */

static bool check_issuer(const struct tls_place *p, STACK_OF(X509) * chain, int i)
{
	char name[NAME_TEXT_MAX], next[NAME_TEXT_MAX], issuer[NAME_TEXT_MAX];
	X509 *x = sk_X509_value(chain, i);
	if (has_issued(sk_X509_value(chain, i + 1), x))
		return true;
	tls_report(p, LOG_ERR,
		   "certificate %d (%s) was not issued by certificate %d (%s): expected the "
		   "certificate of %s next",
		   i + 1, subject_text(x, name), i + 2,
		   subject_text(sk_X509_value(chain, i + 1), next), issuer_text(x, issuer));
	return false;
}

bool tls_check_chain(const struct tls_place *p, STACK_OF(X509) * chain, EVP_PKEY *key, int level)
{
	bool good = check_key(p, chain, key);
	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *x = sk_X509_value(chain, i);
		good = check_dates(p, x, i + 1) && good;
		good = check_strength(p, x, i + 1, level) && good;
		if (i + 1 < sk_X509_num(chain))
			good = check_issuer(p, chain, i) && good;
	}
	return good;
}

/* Is X among ALL or is its issuer? Roots need not be in a file. */
static X509 *find_issuer(STACK_OF(X509) * all, X509 *x)
{
	for (int i = 0; i < sk_X509_num(all); i++) {
		X509 *candidate = sk_X509_value(all, i);
		if (X509_NAME_cmp(X509_get_subject_name(candidate), X509_get_issuer_name(x)) == 0)
			return candidate;
	}
	return NULL;
}

bool tls_check_not_cut(const struct tls_place *p, STACK_OF(X509) * chain,
		       const struct tls_site *old)
{
	char issuer[NAME_TEXT_MAX];
	STACK_OF(X509) *had = NULL;
	X509 *last = last_of(chain);
	if (!old || is_self_issued(last))
		return true;
	SSL_CTX_get0_chain_certs(old->context, &had);
	X509 *lost = find_issuer(had, last);
	if (!lost || is_self_issued(lost))
		return true;
	tls_report(
		p, LOG_ERR,
		"the chain lacks the certificate of %s, which the file in force has: the file may "
		"be half-written; if it is complete, restart the daemon",
		issuer_text(last, issuer));
	return false;
}

bool tls_check_client_ca(const struct tls_place *p, STACK_OF(X509) * all)
{
	char name[NAME_TEXT_MAX], date[TLS_DATE_MAX];
	bool good = true;
	for (int i = 0; i < sk_X509_num(all); i++) {
		X509 *x = sk_X509_value(all, i);
		int64_t expiry = seconds(X509_get0_notAfter(x));
		if (X509_check_ca(x) == 0) {
			tls_report(p, LOG_ERR,
				   "certificate %d (%s) cannot issue certificates: expected "
				   "certificates of "
				   "certificate authorities",
				   i + 1, subject_text(x, name));
			good = false;
		} else if (expiry < (int64_t)time(NULL)) {
			tls_report(p, LOG_WARNING,
				   "certificate %d (%s) has expired: expires=%s; clients with its "
				   "certificates are rejected",
				   i + 1, subject_text(x, name), tls_date(expiry, date));
		}
	}
	return good;
}

/* Warnings. */

static void warn_of_expiry(const struct tls_place *p, const struct tls_site *s)
{
	char date[TLS_DATE_MAX];
	int64_t left = s->expiry - (int64_t)time(NULL);
	if (left < 0)
		tls_report(p, LOG_WARNING,
			   "the certificate has expired and stays in force: expires=%s; renew it",
			   tls_date(s->expiry, date));
	else if (left < (int64_t)WARN_DAYS * DAY)
		tls_report(p, LOG_WARNING,
			   "the certificate expires soon: expires=%s days=%d; renew it",
			   tls_date(s->expiry, date), (int)(left / DAY));
}

/* The certificate asks for a stapled OCSP response, RFC 7633, which this daemon does not have. */
static void warn_of_must_staple(const struct tls_place *p, X509 *leaf)
{
	TLS_FEATURE *features = X509_get_ext_d2i(leaf, NID_tlsfeature, NULL, NULL);
	bool must_staple = false;
	for (int i = 0; features && i < sk_ASN1_INTEGER_num(features); i++)
		if (ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == STATUS_REQUEST)
			must_staple = true;
	TLS_FEATURE_free(features);
	if (must_staple)
		tls_report(
			p, LOG_WARNING,
			"the certificate requires OCSP stapling (must-staple), which is not "
			"supported: some clients will reject it; request a certificate without it");
}

/* Does the system trust the issuer of X? */
static bool is_issued_by_root(X509_STORE *roots, X509 *x)
{
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	X509 *issuer = NULL;
	bool found = context && X509_STORE_CTX_init(context, roots, x, NULL) > 0 &&
		     X509_STORE_CTX_get1_issuer(&issuer, context, x) > 0;
	X509_free(issuer);
	X509_STORE_CTX_free(context);
	ERR_clear_error();
	return found;
}

bool tls_is_incomplete(STACK_OF(X509) * chain, X509_STORE **roots)
{
	X509 *last = last_of(chain);
	if (is_self_issued(last))
		return false;
	if (!*roots && (*roots = X509_STORE_new()))
		X509_STORE_set_default_paths(*roots);
	return *roots && !is_issued_by_root(*roots, last);
}

static void warn_of_incomplete_chain(const struct tls_place *p, const struct tls_site *s)
{
	char name[NAME_TEXT_MAX];
	STACK_OF(X509) *issuers = NULL;
	SSL_CTX_get0_chain_certs(s->context, &issuers);
	X509 *last = issuers && sk_X509_num(issuers) ? last_of(issuers) : s->leaf;
	if (s->is_incomplete)
		tls_report(p, LOG_WARNING,
			   "the chain may be incomplete: it ends before %s, which is not a root of "
			   "this system; clients without this root reject the certificate",
			   issuer_text(last, name));
}

void tls_warn(const struct tls_place *p, const struct tls_site *s)
{
	warn_of_expiry(p, s);
	warn_of_must_staple(p, s->leaf);
	warn_of_incomplete_chain(p, s);
}
