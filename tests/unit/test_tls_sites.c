/* data/tls_load, data/tls_pem, data/tls_check and data/tls_sites: from files to contexts. */
/* build: WRAP fstat fstat64 */
/* test: NEEDS TLS */
#include "certificates.h"
#include "data/tls_check.h"
#include "fixture.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { DAY = 24 * 3600 };

/* With large files on a 32-bit processor, the C library has another name for it. */
#if UINTPTR_MAX == UINT32_MAX
#define __real_fstat __real_fstat64
#define __wrap_fstat __wrap_fstat64
#endif

/* Replaces fstat(2): another program writes to the file between two calls. */
int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
static const char *writes_at_fstat;
static unsigned fstats;

int __wrap_fstat(int fd, struct stat *st)
{
	if (writes_at_fstat && ++fstats == 2) {
		FILE *out = fopen(writes_at_fstat, "a");
		MUST(out && fputc('\n', out) == '\n' && fclose(out) == 0);
	}
	return __real_fstat(fd, st);
}

static struct certificate *root, *intermediate, *leaf;
static struct config config; /* its strings are literals: never passed to config_unref() */
static struct tls_sites *sites, *old;
static struct errors e, warnings;

static char *titles[] = {"site", NULL};

static void add_section(char *title, char *certificate, char *key)
{
	config.tls[config.n_tls++] = (struct tls_config){.location = {"skeld.conf", 7},
							 .title = title,
							 .certificate = certificate,
							 .key = key,
							 .client_ca = ""};
}

static void setup(void)
{
	fixture_enter();
	root = certificate_new(NULL, .name = "Root", .is_ca = true);
	intermediate = certificate_new(root, .name = "Intermediate", .is_ca = true);
	leaf = certificate_new(intermediate, .name = "a.example", .names = "DNS:a.example");
	certificates_write("root.pem", root);
	MUST(setenv("SSL_CERT_FILE", "root.pem", 1) == 0); /* the system trusts it */
	add_section("site", "chain.pem", "key.pem");
	config.n_listen = 1;
	config.listen[0].tls = titles;
	certificates_write("chain.pem", leaf, intermediate);
	key_write("key.pem", leaf);
}

static void teardown(void)
{
	tls_sites_unref(sites);
	tls_sites_unref(old);
	sites = old = NULL;
	errors_clear(&e);
	errors_clear(&warnings);
	certificate_free(leaf);
	certificate_free(intermediate);
	certificate_free(root);
	fixture_leave_nothing();
}

TestSuite(tls_sites, .init = setup, .fini = teardown);

static bool load_sites(void)
{
	errors_clear(&e);
	errors_clear(&warnings);
	tls_sites_unref(sites);
	sites = tls_sites_load(&config, old, &warnings, &e);
	cr_assert_eq(!sites, e.n > 0);
	cr_assert_eq(ERR_peek_error(), 0, "an error was left in OpenSSL's queue: %s",
		     ERR_reason_error_string(ERR_peek_error()));
	return sites;
}

/* Load; what is loaded becomes the set in force. */
static void load_good(void)
{
	cr_assert(load_sites(), "%s", errors_text(&e, 0));
	cr_assert_eq(warnings.n, 0, "%s", errors_text(&warnings, 0));
	tls_sites_unref(old);
	old = tls_sites_ref(sites);
}

static void expect_text(const struct errors *list, const char *option, const char *path,
			const char *contains)
{
	char begin[256];
	snprintf(begin, sizeof(begin), "skeld.conf:7: tls.%s = \"%s\": ", option, path);
	const char *text = errors_text(list, 0);
	cr_assert_eq(list->n, 1, "%zu texts: %s; %s", list->n, text, errors_text(list, 1));
	cr_assert_eq(strncmp(text, begin, strlen(begin)), 0, "%s", text);
	cr_assert(strstr(text, contains), "%s\nhas not: %s", text, contains);
	cr_assert(strstr(text, " (tls \"site\")"), "%s", text);
}

static void expect_error(const char *option, const char *path, const char *contains)
{
	cr_assert_not(load_sites(), "accepted: %s", contains);
	expect_text(&e, option, path, contains);
}

static void expect_warning(const char *option, const char *path, const char *contains)
{
	cr_assert(load_sites(), "%s", errors_text(&e, 0));
	expect_text(&warnings, option, path, contains);
}

/* Good files. */

Test(tls_sites, a_chain_and_its_key_are_loaded)
{
	load_good();
	cr_assert_eq(tls_sites_n(sites), 1);
	cr_assert_str_eq(tls_sites_titles(sites)[0], "site");
	int64_t days = (tls_sites_expiry(sites, 0) - time(NULL) + 60) / DAY;
	cr_assert_eq(days, 90);
	const struct tls_server *server = tls_sites_listen(sites, 0);
	cr_assert(server && server->n == 1 && server->sites == sites);
	cr_assert_null(tls_sites_listen(sites, 1));
	cr_assert_null(tls_sites_admin(sites));
	STACK_OF(X509) * chain;
	SSL_CTX_get0_chain_certs(server->site[0]->context, &chain);
	cr_assert_eq(sk_X509_num(chain), 1);
}

/* Also if time_t has 32 bits. */
Test(tls_sites, a_certificate_that_is_valid_beyond_2038_is_loaded)
{
	enum { DAYS = 25 * 365 };
	char date[TLS_DATE_MAX];
	struct certificate *own = certificate_new(NULL, .name = "a", .to = (long)DAYS * DAY);
	certificates_write("chain.pem", own);
	key_write("key.pem", own);
	certificate_free(own);
	load_good();
	cr_assert_eq((tls_sites_expiry(sites, 0) - time(NULL) + 60) / DAY, DAYS);
	cr_assert_str_eq(tls_date(INT64_C(4102444800), date), "2100-01-01");
}

Test(tls_sites, the_admin_server_has_its_own_sites)
{
	add_section("other", "chain.pem", "key.pem");
	static char *others[] = {"other", NULL};
	config.admin.tls = others;
	load_good();
	cr_assert_str_eq(tls_sites_admin(sites)->site[0]->title, "other");
}

Test(tls_sites, the_context_is_set_up_explicitly)
{
	config.tls[0].min_version = 1;
	load_good();
	SSL_CTX *ctx = tls_sites_listen(sites, 0)->site[0]->context;
	uint64_t options = SSL_CTX_get_options(ctx);
	cr_assert_eq(SSL_CTX_get_min_proto_version(ctx), TLS1_3_VERSION);
	cr_assert(options & SSL_OP_NO_RENEGOTIATION);
	cr_assert(options & SSL_OP_NO_COMPRESSION);
	cr_assert_not(options & (SSL_OP_NO_TICKET | SSL_OP_ENABLE_KTLS));
	cr_assert_eq(SSL_CTX_get_session_cache_mode(ctx), SSL_SESS_CACHE_OFF);
	cr_assert_eq(SSL_CTX_get_num_tickets(ctx), 1);
	cr_assert_eq(SSL_CTX_get_max_early_data(ctx), 0);
	long mode = SSL_CTX_get_mode(ctx);
	cr_assert(mode & (long)SSL_MODE_RELEASE_BUFFERS);
	cr_assert_not(mode & (long)SSL_MODE_AUTO_RETRY);
	cr_assert_geq(SSL_CTX_get_security_level(ctx), 2);
	STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ctx);
	for (int i = 0; i < sk_SSL_CIPHER_num(all); i++)
		cr_assert(SSL_CIPHER_is_aead(sk_SSL_CIPHER_value(all, i)));
}

Test(tls_sites, every_kind_of_key_is_loaded)
{
	static const enum certificate_key kinds[] = {KEY_RSA_2048, KEY_ED25519, KEY_EC_256};
	for (size_t i = 0; i < 3; i++) {
		struct certificate *c = certificate_new(root, .name = "k", .key = kinds[i]);
		certificates_write("chain.pem", c);
		key_write("key.pem", c);
		load_good();
		certificate_free(c);
	}
}

Test(tls_sites, certificate_and_key_may_be_in_one_file)
{
	static char both[16384];
	size_t n = (size_t)snprintf(both, sizeof(both), "%s", file_text("key.pem"));
	snprintf(both + n, sizeof(both) - n, "%s", file_text("chain.pem"));
	file_write("both.pem", both);
	MUST(chmod("both.pem", 0600) == 0);
	config.tls[0].certificate = config.tls[0].key = "both.pem";
	load_good();
}

Test(tls_sites, comments_and_carriage_returns_are_accepted)
{
	static char text[16384];
	char *out = text + sprintf(text, "# made by hand\r\nSubject: CN = a.example\n\n");
	for (const char *in = file_text("chain.pem"); *in; in++) {
		if (*in == '\n')
			*out++ = '\r';
		*out++ = *in;
	}
	*out = '\0';
	file_write("chain.pem", text);
	load_good();
	text[strlen(text) - 2] = '\0'; /* no newline at the end */
	file_write("chain.pem", text);
	load_good();
}

/* Names. */

static const char *found(const char *name)
{
	return tls_server_find(tls_sites_listen(sites, 0), name)->title;
}

static void make_site(char *title, char *chain, char *key, const char *common_name,
		      const char *names)
{
	struct certificate *c = certificate_new(root, .name = common_name, .names = names);
	certificates_write(chain, c);
	key_write(key, c);
	add_section(title, chain, key);
	certificate_free(c);
}

Test(tls_sites, the_server_name_selects_the_site)
{
	static char *all[] = {"site", "wild", "exact", "old", NULL};
	config.listen[0].tls = all;
	make_site("wild", "w.pem", "w.key", "x", "DNS:*.b.example,DNS:B.example");
	make_site("exact", "e.pem", "e.key", "e", "DNS:www.b.example,DNS:a.example");
	make_site("old", "o.pem", "o.key", "common.example", NULL);
	load_good();
	cr_assert_str_eq(found(NULL), "site");
	cr_assert_str_eq(found(""), "site");
	cr_assert_str_eq(found("unknown.example"), "site");
	cr_assert_str_eq(found("a.example"), "site", "the first one that has the name");
	cr_assert_str_eq(found("x.b.example"), "wild");
	cr_assert_str_eq(found("X.B.EXAMPLE"), "wild");
	cr_assert_str_eq(found("b.example"), "wild");
	cr_assert_str_eq(found("www.b.example"), "exact");
	cr_assert_str_eq(found("common.example"), "old");
	cr_assert_str_eq(found("e"), "site", "no common name beside alternative names");
	cr_assert_str_eq(found("y.x.b.example"), "site", "a wildcard is one label");
	cr_assert_str_eq(found("*.b.example"), "site", "a wildcard is no host name");
	cr_assert_str_eq(found(".b.example"), "site");
	char longest[400];
	memset(longest, 'x', sizeof(longest) - 1);
	for (size_t n = 240; n < sizeof(longest); n++) {
		longest[n] = '\0';
		cr_assert_str_eq(found(longest), "site");
		longest[n] = 'x';
	}
}

/* Mistakes. */

Test(tls_sites, a_missing_file_and_one_that_is_no_file_are_rejected)
{
	config.tls[0].certificate = "missing\".pem";
	cr_assert_not(load_sites());
	cr_assert_str_eq(
		errors_text(&e, 0),
		"skeld.conf:7: tls.certificate = \"missing\\\".pem\": cannot read the file: "
		"No such file or directory (tls \"site\")");
	cr_assert_not(e.transient);
	config.tls[0].certificate = "fifo";
	MUST(mkfifo("fifo", 0600) == 0);
	expect_error("certificate", "fifo", "leads to a FIFO: expected a regular file");
}

Test(tls_sites, a_file_that_changes_while_it_is_read_is_rejected)
{
	writes_at_fstat = "chain.pem";
	expect_error("certificate", "chain.pem", "has changed while it was read");
	cr_assert(e.transient);
	cr_assert_eq(fstats > 2, true);
	load_good();
}

Test(tls_sites, a_file_that_is_too_large_is_rejected)
{
	static char blanks[(1 << 20) + 2];
	memset(blanks, '\n', sizeof(blanks) - 1);
	file_write("chain.pem", blanks);
	expect_error("certificate", "chain.pem", "too large");
	blanks[sizeof(blanks) - 2] = '\0';
	file_write("chain.pem", blanks);
	expect_error("certificate", "chain.pem", "has no certificate");
}

Test(tls_sites, an_empty_file_is_rejected)
{
	file_write("chain.pem", "");
	expect_error("certificate", "chain.pem", "has no certificate");
	certificates_write("chain.pem", leaf, intermediate);
	file_write("key.pem", "");
	expect_error("key", "key.pem", "has no private key");
}

Test(tls_sites, swapped_files_are_explained)
{
	config.tls[0].certificate = "key.pem";
	expect_error("certificate", "key.pem", "are certificate and key swapped?");
	config.tls[0].certificate = config.tls[0].key = "chain.pem";
	expect_error("key", "chain.pem", "are certificate and key swapped?");
}

Test(tls_sites, a_file_in_binary_form_is_explained)
{
	unsigned char *der = NULL;
	int n = i2d_X509(leaf->x, &der);
	file_write_bytes("chain.pem", der, (size_t)n);
	OPENSSL_free(der);
	expect_error("certificate", "chain.pem", "is DER: expected PEM");
}

Test(tls_sites, text_that_may_be_a_part_of_a_block_is_rejected)
{
	static const char *const texts[] = {"MIIBhTCCASugAwIBAgIQ\n",
					    "-----BEGIN CERTIFICATE----\n",
					    "-----END CERTIFICATE-----\n",
					    "AbCd==\n",
					    "--\n",
					    "x"};
	static char chain[16384], text[17000];
	snprintf(chain, sizeof(chain), "%s", file_text("chain.pem"));
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		snprintf(text, sizeof(text), "%s%s", chain, texts[i]);
		file_write("chain.pem", text);
		expect_error("certificate", "chain.pem", "part of a PEM block");
	}
	file_write("chain.pem", "-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n"
				"-----END TRUSTED CERTIFICATE-----\n");
	expect_error("certificate", "chain.pem",
		     "line 1: found a PEM block TRUSTED CERTIFICATE: expected CERTIFICATE");
}

Test(tls_sites, a_damaged_block_is_rejected)
{
	file_write("chain.pem", "\n-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n");
	expect_error("certificate", "chain.pem", "line 2: the PEM block is damaged");
	file_write("chain.pem", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n");
	expect_error("certificate", "chain.pem", "line 1: the PEM block is damaged");
	file_write("chain.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	expect_error("certificate", "chain.pem", "cannot decode the certificate in line 1: ");
	file_write("chain.pem", "-----BEGIN CERTIFICATE-----\nAA=A\n-----END CERTIFICATE-----\n");
	expect_error("certificate", "chain.pem", "line 2: unexpected text in the PEM block");
	file_write("chain.pem", "-----BEGIN CERTIFICATE-----\nAA==\nAAAA\n"
				"-----END CERTIFICATE-----\n");
	expect_error("certificate", "chain.pem", "line 3: unexpected text in the PEM block");
	certificates_write("chain.pem", leaf, intermediate);
	file_write("key.pem", "-----BEGIN PRIVATE KEY-----\nA: b\nAAAA\n"
			      "-----END PRIVATE KEY-----\n"); /* no empty line */
	expect_error("key", "key.pem", "line 3: unexpected text in the PEM block");
	file_write("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
	expect_error("key", "key.pem", "cannot decode the private key: ");
}

Test(tls_sites, an_encrypted_key_is_rejected_without_a_question)
{
	struct certificate *rsa = certificate_new(root, .name = "r", .key = KEY_RSA_2048);
	key_write_encrypted("key.pem", leaf, false);
	expect_error("key", "key.pem", "is encrypted");
	key_write_encrypted("key.pem", leaf, true);
	expect_error("key", "key.pem", "is encrypted");
	key_write_encrypted("key.pem", rsa, true);
	expect_error("key", "key.pem", "is encrypted");
	certificate_free(rsa);
	/* The label hides the encryption. */
	static char text[8192];
	key_write_encrypted("key.pem", leaf, false);
	snprintf(text, sizeof(text), "%s", file_text("key.pem"));
	for (char *at; (at = strstr(text, "ENCRYPTED "));)
		memmove(at, at + 10, strlen(at + 10) + 1);
	file_write("key.pem", text);
	expect_error("key", "key.pem", "cannot decode the private key");
}

Test(tls_sites, a_second_key_is_rejected)
{
	static char text[8192];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", file_text("key.pem"));
	snprintf(text + n, sizeof(text) - n, "%s", file_text("key.pem"));
	file_write("key.pem", text);
	expect_error("key", "key.pem", "a second private key");
}

Test(tls_sites, a_key_of_another_certificate_is_rejected)
{
	key_write("key.pem", root);
	expect_error("certificate", "chain.pem",
		     "the private key does not belong to the certificate (CN=a.example)");
	key_write("key.pem", intermediate);
	expect_error("certificate", "chain.pem",
		     "the private key belongs to certificate 2 (CN=Intermediate)");
}

Test(tls_sites, a_chain_in_another_order_is_rejected)
{
	certificates_write("chain.pem", leaf, root, intermediate);
	cr_assert_not(load_sites());
	cr_assert(strstr(errors_text(&e, 0), "certificate 1 (CN=a.example) was not issued by "
					     "certificate 2 (CN=Root): expected the certificate of "
					     "CN=Intermediate next"),
		  "%s", errors_text(&e, 0));
	certificates_write("chain.pem", leaf, leaf);
	expect_error("certificate", "chain.pem", "was not issued by certificate 2");
	/* The names are right, the signature is not. */
	struct certificate *forged = certificate_new(NULL, .name = "Intermediate", .is_ca = true);
	certificates_write("chain.pem", leaf, forged);
	expect_error("certificate", "chain.pem", "was not issued by certificate 2");
	certificate_free(forged);
}

static void write_leaf(struct certificate *c)
{
	certificate_free(leaf);
	leaf = c;
	certificates_write("chain.pem", leaf, intermediate);
	key_write("key.pem", leaf);
}

Test(tls_sites, a_certificate_outside_its_dates_is_rejected)
{
	write_leaf(certificate_new(intermediate, .name = "a", .from = -2 * DAY, .to = -DAY));
	expect_error("certificate", "chain.pem", "certificate 1 (CN=a) has expired: expires=");
	write_leaf(certificate_new(intermediate, .name = "a", .from = DAY));
	expect_error("certificate", "chain.pem",
		     "certificate 1 (CN=a) is not valid yet: valid_from=");
	struct certificate *expired = certificate_new(root, .name = "Old CA", .is_ca = true,
						      .from = -2 * DAY, .to = -DAY);
	certificate_free(intermediate);
	intermediate = expired;
	write_leaf(certificate_new(intermediate, .name = "a"));
	expect_error("certificate", "chain.pem", "certificate 2 (CN=Old CA) has expired");
}

Test(tls_sites, weak_keys_and_signatures_are_rejected)
{
	write_leaf(certificate_new(intermediate, .name = "a", .key = KEY_RSA_1024));
	expect_error("certificate", "chain.pem",
		     "the key of certificate 1 (CN=a) is too weak: rsaEncryption with 1024 bits");
	write_leaf(certificate_new(intermediate, .name = "a", .digest = "SHA1"));
	expect_error("certificate", "chain.pem",
		     "the signature of certificate 1 (CN=a) is too weak: it uses SHA1");
}

Test(tls_sites, every_mistake_of_every_section_is_reported)
{
	add_section("second", "missing", "missing");
	add_section("third", "chain.pem", "key.pem");
	key_write("key.pem", root);
	cr_assert_not(load_sites());
	cr_assert_eq(e.n, 4);
}

/* Warnings. */

Test(tls_sites, a_certificate_that_expires_soon_is_a_warning)
{
	write_leaf(certificate_new(intermediate, .name = "a", .to = 14 * DAY - 60));
	expect_warning("certificate", "chain.pem", "the certificate expires soon: expires=");
	cr_assert(strstr(errors_text(&warnings, 0), " days=13; "));
	write_leaf(certificate_new(intermediate, .name = "a", .to = 14 * DAY + 60));
	load_good();
}

Test(tls_sites, a_key_that_others_may_use_is_a_warning)
{
	MUST(chmod("key.pem", 0644) == 0);
	expect_warning("key", "key.pem", "other users may use the private key: mode=0644");
	MUST(chmod("key.pem", 0640) == 0);
	load_good();
}

Test(tls_sites, must_staple_is_a_warning)
{
	write_leaf(certificate_new(intermediate, .name = "a", .must_staple = true));
	expect_warning("certificate", "chain.pem", "must-staple");
}

Test(tls_sites, an_incomplete_chain_is_a_warning)
{
	certificates_write("chain.pem", leaf);
	expect_warning("certificate", "chain.pem", "it ends before CN=Intermediate");
	certificates_write("chain.pem", leaf, intermediate, root);
	load_good();
	struct certificate *own = certificate_new(NULL, .name = "self");
	certificates_write("chain.pem", own);
	key_write("key.pem", own);
	load_good();
	certificate_free(own);
}

/* Client certificates. */

Test(tls_sites, a_client_ca_requires_a_certificate_and_names_itself)
{
	config.tls[0].client_ca = "root.pem";
	load_good();
	const struct tls_site *s = tls_sites_listen(sites, 0)->site[0];
	cr_assert(s->needs_client_certificate);
	cr_assert_eq(SSL_CTX_get_verify_mode(s->context),
		     SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
	cr_assert_eq(sk_X509_NAME_num(SSL_CTX_get_client_CA_list(s->context)), 1);
}

Test(tls_sites, a_client_ca_that_cannot_issue_is_rejected)
{
	config.tls[0].client_ca = "chain.pem";
	expect_error("client_ca", "chain.pem",
		     "certificate 1 (CN=a.example) cannot issue certificates");
	config.tls[0].client_ca = "missing";
	cr_assert_not(load_sites());
}

Test(tls_sites, an_expired_client_ca_is_a_warning)
{
	struct certificate *ca = certificate_new(NULL, .name = "Old CA", .is_ca = true,
						 .from = -2 * DAY, .to = -DAY);
	certificates_write("ca.pem", ca);
	certificate_free(ca);
	config.tls[0].client_ca = "ca.pem";
	expect_warning("client_ca", "ca.pem", "certificate 1 (CN=Old CA) has expired");
}

/* Reloads. */

static const struct tls_site *site_of(const struct tls_sites *s)
{
	return tls_sites_listen(s, 0)->site[0];
}

Test(tls_sites, unchanged_files_and_settings_keep_the_context)
{
	load_good();
	const struct tls_site *first = site_of(sites);
	load_good();
	cr_assert_eq(site_of(sites), first);
	config.tls[0].min_version = 1;
	load_good();
	cr_assert_neq(site_of(sites), first);
}

Test(tls_sites, each_changed_file_makes_a_new_context)
{
	config.tls[0].client_ca = "root.pem";
	load_good();
	const struct tls_site *before = site_of(old);
	write_leaf(certificate_new(intermediate, .name = "a.example", .names = "DNS:a.example",
				   .same_key = leaf->key));
	load_good();
	cr_assert_neq(site_of(sites), before);
	before = site_of(old);
	certificates_write("root.pem", root, intermediate);
	load_good();
	cr_assert_neq(site_of(sites), before);
}

Test(tls_sites, an_unchanged_certificate_that_has_expired_stays_in_force)
{
	write_leaf(certificate_new(intermediate, .name = "a", .to = 3));
	cr_assert(load_sites(), "%s", errors_text(&e, 0));
	old = tls_sites_ref(sites);
	site_of(old); /* three seconds later */
	((struct tls_site *)(uintptr_t)site_of(old))->expiry = time(NULL) - 1;
	expect_warning("certificate", "chain.pem", "has expired and stays in force");
}

/* The sites of a set that is freed serve on in its successor. */
Test(tls_sites, a_set_outlives_the_one_that_it_shares_sites_with)
{
	load_good();
	tls_sites_unref(old);
	old = NULL;
	struct tls_sites *first = sites;
	sites = tls_sites_load(&config, first, &warnings, &e);
	tls_sites_unref(first);
	cr_assert_str_eq(found("a.example"), "site");
	cr_assert(SSL_CTX_get0_certificate(site_of(sites)->context));
}

static size_t file_size(const char *name)
{
	struct stat st;
	MUST(stat(name, &st) == 0);
	return (size_t)st.st_size;
}

Test(tls_sites, a_chain_that_is_cut_anywhere_never_replaces_the_whole_one)
{
	static char chain[16384];
	load_good();
	write_leaf(certificate_new(intermediate, .name = "a.example", .same_key = leaf->key));
	size_t n = file_size("chain.pem"), accepted = 0;
	memcpy(chain, file_text("chain.pem"), n);
	for (size_t cut = 0; cut < n; cut++) {
		file_write_bytes("chain.pem", chain, cut);
		if (!load_sites())
			continue;
		STACK_OF(X509) * issuers;
		SSL_CTX_get0_chain_certs(site_of(sites)->context, &issuers);
		cr_assert_eq(sk_X509_num(issuers), 1, "cut at byte %zu of %zu", cut, n);
		accepted++;
	}
	cr_assert_eq(accepted, 1, "%zu: only the last newline may be missing", accepted);
}

Test(tls_sites, a_chain_without_its_intermediate_is_rejected_only_if_it_had_one)
{
	certificates_write("chain.pem", leaf);
	expect_warning("certificate", "chain.pem", "it ends before CN=Intermediate");
	certificates_write("chain.pem", leaf, intermediate, root);
	load_good();
	certificates_write("chain.pem", leaf, intermediate);
	load_good(); /* no client needs the root */
	certificates_write("chain.pem", leaf);
	expect_error("certificate", "chain.pem",
		     "the chain lacks the certificate of CN=Intermediate");
	struct certificate *other = certificate_new(root, .name = "a.example");
	certificates_write("chain.pem", other);
	key_write("key.pem", other);
	load_good(); /* another issuer */
	certificate_free(other);
}
