#include "data/tls_internal.h"

#include "base/log.h"
#include "data/tls_check.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Sites. */

struct tls_site *tls_site_new(const char *title)
{
	struct tls_site *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->refs = 1;
	s->title = strdup(title);
	if (s->title)
		return s;
	free(s);
	return NULL;
}

struct tls_site *tls_site_ref(struct tls_site *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void tls_site_unref(struct tls_site *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	for (size_t i = 0; i < s->n_names; i++)
		free(s->names[i]);
	free(s->names);
	X509_free(s->leaf);
	SSL_CTX_free(s->context);
	free(s->title);
	free(s);
}

/* tolower(3) depends on the locale. */
static char lower(char ch)
{
	if (ch >= 'A' && ch <= 'Z')
		return (char)(ch - 'A' + 'a');
	return ch;
}

/* Add NAME in lower case. Text with a NUL is no name: "good.example\0.evil.example". */
static bool add_name(struct tls_site *s, const unsigned char *name, int length)
{
	char *copy;
	if (length <= 0 || memchr(name, '\0', (size_t)length))
		return true;
	copy = strndup((const char *)name, (size_t)length);
	if (!copy)
		return false;
	for (char *ch = copy; *ch; ch++)
		*ch = lower(*ch);
	s->names[s->n_names++] = copy;
	return true;
}

/* The subject's common name: old certificates have their only name there. */
static bool add_common_name(struct tls_site *s, X509 *leaf)
{
	const X509_NAME *subject = X509_get_subject_name(leaf);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	unsigned char *text;
	s->names = at < 0 ? NULL : calloc(1, sizeof(*s->names));
	if (at < 0 || !s->names)
		return at < 0;
	int n = ASN1_STRING_to_UTF8(&text,
				    X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	if (n < 0) /* not a valid string */
		return true;
	bool good = add_name(s, text, n);
	OPENSSL_free(text);
	return good;
}

static bool add_alternative_names(struct tls_site *s, const GENERAL_NAMES *all)
{
	int n = sk_GENERAL_NAME_num(all);
	bool good = true;
	s->names = calloc((size_t)n + 1, sizeof(*s->names));
	for (int i = 0; s->names && good && i < n; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
		if (name->type == GEN_DNS)
			good = add_name(s, ASN1_STRING_get0_data(name->d.dNSName),
					ASN1_STRING_length(name->d.dNSName));
	}
	return s->names && good;
}

bool tls_site_set_leaf(struct tls_site *s, X509 *leaf)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	bool good = all ? add_alternative_names(s, all) : add_common_name(s, leaf);
	GENERAL_NAMES_free(all);
	X509_up_ref(leaf);
	s->leaf = leaf;
	return good;
}

/* Servers. */

/* By name, and those of equal names in the order of their sites. */
static int compare_names(const void *a, const void *b)
{
	const struct tls_name *x = a, *y = b;
	int difference = strcmp(x->name, y->name);
	return difference ? difference : x->site < y->site ? -1 : x->site > y->site;
}

static bool add_names(struct tls_server *server)
{
	size_t n = 0;
	for (size_t i = 0; i < server->n; i++)
		n += server->site[i]->n_names;
	struct tls_name *names = server->names = calloc(n + 1, sizeof(*names));
	if (!names)
		return false;
	n = 0;
	for (size_t i = 0; i < server->n; i++)
		for (size_t k = 0; k < server->site[i]->n_names; k++)
			names[n++] = (struct tls_name){server->site[i]->names[k], i};
	qsort(names, n, sizeof(*names), compare_names);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || strcmp(names[i].name, names[server->n_names - 1].name) != 0)
			names[server->n_names++] = names[i];
	return true;
}

static void free_server(struct tls_server *server)
{
	if (!server)
		return;
	for (size_t i = 0; i < server->n; i++)
		tls_site_unref(server->site[i]);
	free(server->names);
	free(server);
}

struct tls_server *tls_server_new(struct tls_sites *s, char *const *titles)
{
	size_t n = 0;
	while (titles[n])
		n++;
	struct tls_server *server = calloc(1, sizeof(*server) + n * sizeof(*server->site));
	if (!server)
		return NULL;
	server->sites = s;
	for (size_t i = 0; i < n; i++) {
		struct tls_site *site = tls_sites_find(s, titles[i]);
		if (site) /* the configuration was checked for it */
			server->site[server->n++] = tls_site_ref(site);
	}
	if (server->n && add_names(server))
		return server;
	free_server(server);
	return NULL;
}

static int compare_key(const void *key, const void *name)
{
	return strcmp(key, ((const struct tls_name *)name)->name);
}

static struct tls_site *find_name(const struct tls_server *server, const char *name)
{
	const struct tls_name *found =
		bsearch(name, server->names, server->n_names, sizeof(*server->names), compare_key);
	return found ? server->site[found->site] : NULL;
}

struct tls_site *tls_server_find(const struct tls_server *server, const char *name)
{
	enum { NAME_MAX_LENGTH = 255 }; /* RFC 1035 */
	char text[NAME_MAX_LENGTH + 2]; /* an asterisk, the name from its first dot, NUL */
	size_t n = name ? strnlen(name, sizeof(text)) : 0;
	/* "*.example" is the text of a certificate, not the name of a host. */
	if (n == 0 || n >= sizeof(text) - 1 || *name == '*')
		return server->site[0];
	for (size_t i = 0; i <= n; i++)
		text[i] = lower(name[i]);
	struct tls_site *site = find_name(server, text);
	char *dot = strchr(text, '.');
	if (!site && dot && dot > text) {
		*--dot = '*';
		site = find_name(server, dot);
	}
	return site ? site : server->site[0];
}

/* Sets. */

struct tls_sites *tls_sites_new(void)
{
	struct tls_sites *s = calloc(1, sizeof(*s));
	if (s)
		s->refs = 1;
	return s;
}

struct tls_sites *tls_sites_ref(struct tls_sites *s)
{
	if (s)
		atomic_fetch_add(&s->refs, 1);
	return s;
}

void tls_sites_unref(struct tls_sites *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	for (size_t i = 0; i < CONFIG_LISTEN_MAX; i++)
		free_server(s->listen[i]);
	free_server(s->admin);
	for (size_t i = 0; i < s->n; i++)
		tls_site_unref(s->site[i]);
	free(s);
}

struct tls_site *tls_sites_find(const struct tls_sites *s, const char *title)
{
	for (size_t i = 0; s && i < s->n; i++)
		if (strcmp(s->site[i]->title, title) == 0)
			return s->site[i];
	return NULL;
}

const struct tls_server *tls_sites_listen(const struct tls_sites *s, size_t i)
{
	return s ? s->listen[i] : NULL;
}

const struct tls_server *tls_sites_admin(const struct tls_sites *s)
{
	return s ? s->admin : NULL;
}

size_t tls_sites_n(const struct tls_sites *s)
{
	return s ? s->n : 0;
}

const char *const *tls_sites_titles(const struct tls_sites *s)
{
	return s ? s->title : NULL;
}

int64_t tls_sites_expiry(const struct tls_sites *s, size_t i)
{
	return s->site[i]->expiry;
}

/* The log. */

static void log_change(const struct tls_site *s, const char *event, const char *what)
{
	char date[TLS_DATE_MAX];
	struct log_about about = {.event = event,
				  .field = {LOG_TEXT("tls", s->title),
					    LOG_TEXT("expires", tls_date(s->expiry, date))}};
	log_about(LOG_NOTICE, &about, "tls \"%s\": %s: expires=%s", s->title, what, date);
}

void tls_sites_log(const struct tls_sites *s, const struct tls_sites *old)
{
	for (size_t i = 0; i < tls_sites_n(s); i++) {
		const struct tls_site *new = s->site[i], *was = tls_sites_find(old, new->title);
		if (!was)
			log_change(new, "certificate_loaded", "certificate loaded");
		else if (X509_cmp(new->leaf, was->leaf) != 0)
			log_change(new, "certificate_renewed", "certificate renewed");
		else if (memcmp(new->digest, was->digest, sizeof(new->digest)) != 0 &&
			 new->min_version == was->min_version) /* that one is logged elsewhere */
			log_change(new, "tls_files_changed", "key, chain or client CA changed");
	}
}
