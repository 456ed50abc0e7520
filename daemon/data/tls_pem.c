#include "data/tls_pem.h"

#include "base/log.h"
#include "base/text.h"
#include "config/file.h"
#include "config/option.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void tls_report(const struct tls_place *p, int level, const char *format, ...)
{
	struct errors *list = level == LOG_WARNING ? p->warnings : p->e;
	char *path = NULL, *text = NULL;
	size_t size;
	FILE *out = open_memstream(&path, &size);
	va_list ap;
	if (out)
		option_print_text(p->path, out);
	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	if (text_close_stream(out, &path) && text)
		errors_add(list, p->file, p->line, "tls.%s = %s: %s (tls \"%s\")", p->option, path,
			   text, p->title);
	else
		errors_add_no_memory(list, p->file, p->line);
	free(path);
	free(text);
}

void tls_report_openssl(const struct tls_place *p, const char *what)
{
	unsigned long first = ERR_peek_error();
	const char *reason = ERR_reason_error_string(first);
	if (ERR_GET_REASON(first) == ERR_R_MALLOC_FAILURE)
		errors_add_no_memory(p->e, p->file, p->line);
	else
		tls_report(p, LOG_ERR, "cannot %s: OpenSSL reports \"%s\"", what,
			   reason ? reason : "no reason");
	ERR_clear_error();
}

/* Reading. */

static bool read_bytes(int fd, struct tls_file *f)
{
	while (f->n <= TLS_FILE_MAX) {
		ssize_t n = read(fd, f->bytes + f->n, TLS_FILE_MAX + 1 - f->n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		f->n += (size_t)n;
	}
	return true;
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Is the file that was A still the same as B, and were all of its bytes read? */
static bool is_unchanged(const struct stat *a, const struct stat *b, size_t n)
{
	return a->st_size == b->st_size && b->st_size == (off_t)n &&
	       is_same_time(&a->st_mtim, &b->st_mtim) && is_same_time(&a->st_ctim, &b->st_ctim);
}

static void report_unreadable(const struct tls_place *p, int error)
{
	tls_report(p, LOG_ERR, "cannot read the file: %s", strerror(error));
	p->e->transient = p->e->transient || errors_is_transient(error);
}

bool tls_file_read(const struct tls_place *p, struct tls_file *f)
{
	struct stat before, after;
	const char *kind;
	*f = (struct tls_file){0};
	int fd = config_file_open(p->path, &before, &kind);
	if (fd < 0 && kind)
		tls_report(p, LOG_ERR, "the path leads to %s: expected a regular file", kind);
	else if (fd < 0)
		report_unreadable(p, errno);
	if (fd < 0)
		return false;
	f->mode = before.st_mode;
	f->bytes = malloc(TLS_FILE_MAX + 1);
	bool is_read = f->bytes && read_bytes(fd, f) && fstat(fd, &after) == 0;
	int error = errno;
	close(fd);
	if (!f->bytes) {
		errors_add_no_memory(p->e, p->file, p->line);
	} else if (!is_read) {
		report_unreadable(p, error);
	} else if (f->n > TLS_FILE_MAX) {
		tls_report(p, LOG_ERR, "the file is too large: expected at most %d bytes",
			   TLS_FILE_MAX);
	} else if (!is_unchanged(&before, &after, f->n)) {
		tls_report(p, LOG_ERR,
			   "the file has changed while it was read: it may be half-written, reload "
			   "again");
		p->e->transient = true;
	} else {
		return true;
	}
	tls_file_free(f);
	return false;
}

void tls_file_free(struct tls_file *f)
{
	if (f->bytes)
		OPENSSL_cleanse(f->bytes, f->n);
	free(f->bytes);
	*f = (struct tls_file){0};
}

/* PEM blocks. */

/* A line without its newline and without blanks at its end. */
struct line {
	const char *text;
	size_t n;
};

struct reader {
	const struct tls_place *place;
	const char *at, *end;
	unsigned line; /* number of the line that was read last */
};

struct block {
	struct line label; /* "CERTIFICATE" */
	unsigned line;	   /* of its first line */
	bool is_encrypted;
	char *base64; /* without newlines; at most as long as the file */
	size_t n_base64;
	unsigned char *der;
	long n;
};

static bool next_line(struct reader *r, struct line *l)
{
	if (r->at == r->end)
		return false;
	size_t left = (size_t)(r->end - r->at);
	const char *newline = memchr(r->at, '\n', left);
	*l = (struct line){r->at, newline ? (size_t)(newline - r->at) : left};
	r->at = newline ? newline + 1 : r->end;
	r->line++;
	while (l->n && strchr(" \t\r", l->text[l->n - 1]) && l->text[l->n - 1])
		l->n--;
	return true;
}

static bool is(const struct line *l, const char *text)
{
	return l->n == strlen(text) && memcmp(l->text, text, l->n) == 0;
}

/* Is L `-----WORD LABEL-----`? */
static bool is_boundary(const struct line *l, const char *word, struct line *label)
{
	static const char dashes[] = "-----";
	size_t begin = 5 + strlen(word) + 1;
	if (l->n <= begin + 5 || memcmp(l->text, dashes, 5) != 0 ||
	    memcmp(l->text + 5, word, strlen(word)) != 0 || l->text[begin - 1] != ' ' ||
	    memcmp(l->text + l->n - 5, dashes, 5) != 0)
		return false;
	*label = (struct line){l->text + begin, l->n - begin - 5};
	return true;
}

static bool is_base64_char(char ch)
{
	return (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') ||
	       ch == '+' || ch == '/';
}

/* Is L a line of base64? PADDING is set to the number of `=` at its end. */
static bool is_base64(const struct line *l, size_t *padding)
{
	size_t n = l->n;
	while (n && l->n - n < 2 && l->text[n - 1] == '=')
		n--;
	*padding = l->n - n;
	for (size_t i = 0; i < n; i++)
		if (!is_base64_char(l->text[i]))
			return false;
	return n > 0;
}

/* Text between the blocks is allowed, `openssl x509 -text` writes it; but no line that may be a
 * part of a block. */
static bool check_between(const struct reader *r, const struct line *l)
{
	size_t padding;
	if (memchr(l->text, '\0', l->n) == NULL && (!l->n || *l->text != '-') &&
	    !is_base64(l, &padding))
		return true;
	tls_report(r->place, LOG_ERR,
		   "line %u: part of a PEM block: the file may be half-written, expected a line "
		   "-----BEGIN ...-----, or a comment",
		   r->line);
	return false;
}

static bool decode(const struct reader *r, struct block *b, size_t padding)
{
	int n = -1;
	b->der = malloc(b->n_base64 + 1); /* at least 3/4 of it */
	if (!b->der) {
		errors_add_no_memory(r->place->e, r->place->file, r->place->line);
		return false;
	}
	if (b->n_base64 && b->n_base64 % 4 == 0)
		n = EVP_DecodeBlock(b->der, (unsigned char *)b->base64, (int)b->n_base64);
	b->n = n - (long)padding;
	if (b->n > 0)
		return true;
	tls_report(r->place, LOG_ERR, "line %u: the PEM block is damaged: its base64 is incomplete",
		   b->line);
	return false;
}

/* Read the lines of B behind the first one. An old form of a key has a header, with an empty line
 * behind it (RFC 1421). */
static bool read_block(struct reader *r, struct block *b)
{
	enum { BEGIN, HEADER, BODY } part = BEGIN;
	struct line l, label;
	size_t padding = 0;
	while (next_line(r, &l)) {
		if (is_boundary(&l, "END", &label) && label.n == b->label.n &&
		    memcmp(label.text, b->label.text, label.n) == 0)
			return decode(r, b, padding);
		if (part < BODY && memchr(l.text, ':', l.n)) {
			part = HEADER;
			b->is_encrypted = b->is_encrypted || is(&l, "Proc-Type: 4,ENCRYPTED");
			continue;
		}
		if (part == HEADER && !l.n) {
			part = BODY;
			continue;
		}
		if (part == HEADER || padding || !is_base64(&l, &padding)) {
			tls_report(r->place, LOG_ERR,
				   "line %u: unexpected text in the PEM block that begins in line "
				   "%u: expected base64, or -----END %.*s-----",
				   r->line, b->line, (int)b->label.n, b->label.text);
			return false;
		}
		part = BODY;
		memcpy(b->base64 + b->n_base64, l.text, l.n);
		b->n_base64 += l.n;
	}
	tls_report(r->place, LOG_ERR,
		   "the file ends in the PEM block that begins in line %u: it may be half-written, "
		   "expected -----END %.*s-----",
		   b->line, (int)b->label.n, b->label.text);
	return false;
}

/* Is the file a SEQUENCE with a long length, as certificates and keys in binary form are? */
static bool is_der(const struct tls_file *f)
{
	return f->n > 1 && f->bytes[0] == 0x30 && (f->bytes[1] & 0x80);
}

/* Call ON_BLOCK for each block; it returns false, with an error, to stop. */
static bool read_blocks(const struct tls_place *p, const struct tls_file *f,
			bool (*on_block)(const struct tls_place *p, const struct block *b,
					 void *result),
			void *result)
{
	struct reader r = {p, f->bytes, f->bytes + f->n, 0};
	struct line l, label;
	char *base64 = malloc(f->n + 1);
	bool good = base64 && !is_der(f);
	if (!base64)
		errors_add_no_memory(p->e, p->file, p->line);
	else if (!good)
		tls_report(p, LOG_ERR,
			   "the file is DER: expected PEM, openssl(1) converts it with -inform "
			   "der");
	while (good && next_line(&r, &l)) {
		if (!is_boundary(&l, "BEGIN", &label)) {
			good = check_between(&r, &l);
			continue;
		}
		struct block b = {.label = label, .line = r.line, .base64 = base64};
		good = read_block(&r, &b) && on_block(p, &b, result);
		OPENSSL_cleanse(base64, b.n_base64);
		if (b.der)
			OPENSSL_cleanse(b.der, b.n_base64);
		free(b.der);
	}
	free(base64);
	return good;
}

/* Certificates and keys. */

static bool is_key(const struct block *b)
{
	static const char *const labels[] = {"PRIVATE KEY", "ENCRYPTED PRIVATE KEY",
					     "RSA PRIVATE KEY", "EC PRIVATE KEY",
					     "DSA PRIVATE KEY"};
	for (size_t i = 0; i < sizeof(labels) / sizeof(*labels); i++)
		if (is(&b->label, labels[i]))
			return true;
	return false;
}

static bool report_label(const struct tls_place *p, const struct block *b, const char *expected)
{
	tls_report(p, LOG_ERR, "line %u: found a PEM block %.*s: expected %s", b->line,
		   (int)b->label.n, b->label.text, expected);
	return false;
}

struct certificates {
	STACK_OF(X509) * chain;
	unsigned n_keys;
};

static bool add_certificate(const struct tls_place *p, const struct block *b, void *result)
{
	struct certificates *c = result;
	const unsigned char *at = b->der;
	char what[64];
	if (is_key(b)) {
		c->n_keys++;
		return true;
	}
	if (is(&b->label, "EC PARAMETERS"))
		return true;
	if (!is(&b->label, "CERTIFICATE"))
		return report_label(p, b, "CERTIFICATE");
	X509 *x = d2i_X509(NULL, &at, b->n);
	if (x && at == b->der + b->n && sk_X509_push(c->chain, x) > 0)
		return true;
	X509_free(x);
	snprintf(what, sizeof(what), "decode the certificate in line %u", b->line);
	tls_report_openssl(p, what);
	return false;
}

STACK_OF(X509) * tls_file_certificates(const struct tls_place *p, const struct tls_file *f)
{
	struct certificates c = {.chain = sk_X509_new_null()};
	if (!c.chain) {
		errors_add_no_memory(p->e, p->file, p->line);
		return NULL;
	}
	bool good = read_blocks(p, f, add_certificate, &c);
	if (good && sk_X509_num(c.chain) > 0)
		return c.chain;
	if (good && c.n_keys)
		tls_report(p, LOG_ERR,
			   "the file has a private key but no certificate: are certificate and key "
			   "swapped?");
	else if (good)
		tls_report(p, LOG_ERR,
			   "the file has no certificate: expected a PEM block, -----BEGIN "
			   "CERTIFICATE-----");
	sk_X509_pop_free(c.chain, X509_free);
	return NULL;
}

struct keys {
	EVP_PKEY *key;
	unsigned n_certificates;
};

static bool add_key(const struct tls_place *p, const struct block *b, void *result)
{
	struct keys *k = result;
	const unsigned char *at = b->der;
	if (is(&b->label, "CERTIFICATE")) {
		k->n_certificates++;
		return true;
	}
	if (is(&b->label, "EC PARAMETERS"))
		return true;
	if (!is_key(b))
		return report_label(p, b, "PRIVATE KEY");
	if (b->is_encrypted || is(&b->label, "ENCRYPTED PRIVATE KEY")) {
		tls_report(
			p, LOG_ERR,
			"the private key is encrypted, and a daemon cannot ask for the password: "
			"decrypt it with openssl pkey, and protect the file");
		return false;
	}
	if (k->key) {
		tls_report(p, LOG_ERR, "line %u: a second private key: expected one", b->line);
		return false;
	}
	k->key = d2i_AutoPrivateKey(NULL, &at, b->n);
	if (k->key && at == b->der + b->n) {
		ERR_clear_error(); /* of the formats that were tried first */
		return true;
	}
	tls_report_openssl(p, "decode the private key");
	return false;
}

EVP_PKEY *tls_file_key(const struct tls_place *p, const struct tls_file *f)
{
	struct keys k = {0};
	bool good = read_blocks(p, f, add_key, &k);
	if (good && k.key)
		return k.key;
	if (good && k.n_certificates)
		tls_report(p, LOG_ERR,
			   "the file has a certificate but no private key: are certificate and key "
			   "swapped?");
	else if (good)
		tls_report(p, LOG_ERR,
			   "the file has no private key: expected a PEM block, -----BEGIN PRIVATE "
			   "KEY-----");
	EVP_PKEY_free(k.key);
	return NULL;
}
