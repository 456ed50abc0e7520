#include "data/tls_internal.h"

#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const tls_results[N_TLS_RESULTS] = {[TLS_FULL] = "full",
						[TLS_RESUMED] = "resumed",
						[TLS_FAILED] = "failed",
						[TLS_NOT_TLS] = "not_tls",
						[TLS_TIMEOUT] = "timeout"};

/*
 * The first byte of a TLS connection: a handshake record (RFC 8446 5.1). RECORD_MAX: its largest
 * size, of which a session may keep a part until the rest arrives.
 */
enum { HANDSHAKE_RECORD = 0x16, RECORD_MAX = 16384 + 256 + 5 };

/* Records without bytes for the service that one call accepts: KeyUpdate costs CPU. */
enum { SILENT_RECORDS_MAX = 32 };

enum { TEXT_MAX = 256 };

/*
 * Memory of a session, as measured. HELLO: OpenSSL allocates the memory for a whole message, of up
 * to 128 KiB, when the first 9 bytes of the message have arrived.
 */
enum { OPEN_KIB = 16, HANDSHAKE_KIB = 64, HELLO_KIB = 160 };

static BIO_METHOD *method;

/* The buffers. */

static int bio_read(BIO *b, char *out, int size)
{
	struct tls_io *io = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	if (!io->n_in) {
		BIO_set_retry_read(b);
		return -1;
	}
	size_t n = io->n_in < (size_t)size ? io->n_in : (size_t)size;
	memcpy(out, io->in, n);
	io->in += n;
	io->n_in -= n;
	return (int)n;
}

static int bio_write(BIO *b, const char *bytes, int n)
{
	struct tls_io *io = BIO_get_data(b);
	size_t wanted = io->n_out + (size_t)n;
	BIO_clear_retry_flags(b);
	if (wanted > io->out_size) {
		char *larger = realloc(io->out, wanted * 2);
		if (!larger)
			return -1;
		io->out = larger;
		io->out_size = wanted * 2;
	}
	memcpy(io->out + io->n_out, bytes, (size_t)n);
	io->n_out = wanted;
	return n;
}

static long bio_ctrl(BIO *b, int command, long n, void *p)
{
	(void)b;
	(void)n;
	(void)p;
	return command == BIO_CTRL_FLUSH;
}

static bool create_method(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "memory");
	return method && BIO_meth_set_read(method, bio_read) > 0 &&
	       BIO_meth_set_write(method, bio_write) > 0 && BIO_meth_set_ctrl(method, bio_ctrl) > 0;
}

/*
 * OpenSSL 3 creates all algorithms of a kind when the first of them is used. If memory is short
 * then, the missing ones stay unknown, and every later handshake fails. So use each kind before
 * there are clients.
 */
static bool create_algorithms(void)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", NULL);
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_RAND *rand = EVP_RAND_fetch(NULL, "CTR-DRBG", NULL);
	EVP_KEYMGMT *key = EVP_KEYMGMT_fetch(NULL, "X25519", NULL);
	EVP_KEYEXCH *exchange = EVP_KEYEXCH_fetch(NULL, "X25519", NULL);
	EVP_SIGNATURE *signature = EVP_SIGNATURE_fetch(NULL, "ECDSA", NULL);
	bool good = kdf && mac && rand && key && exchange && signature;
	EVP_KDF_free(kdf);
	EVP_MAC_free(mac);
	EVP_RAND_free(rand);
	EVP_KEYMGMT_free(key);
	EVP_KEYEXCH_free(exchange);
	EVP_SIGNATURE_free(signature);
	return good;
}

bool tls_init(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_lock(&lock);
	/* The handlers of atexit(3) would free what threads still use: a forced stop does not wait
	 * for a stuck worker. This option has to come with the very first call. */
	OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
	OPENSSL_init_ssl(0, NULL);
	bool good = method || (create_algorithms() && create_method());
	pthread_mutex_unlock(&lock);
	return good;
}

const char *tls_library(void)
{
	return OpenSSL_version(OPENSSL_VERSION_STRING);
}

bool tls_io_init(struct tls_io *io, size_t max)
{
	*io = (struct tls_io){.plain = malloc(max + RECORD_MAX), .plain_size = max + RECORD_MAX};
	return io->plain;
}

void tls_io_free(struct tls_io *io)
{
	free(io->plain);
	free(io->out);
	*io = (struct tls_io){0};
}

/* Sessions. */

struct tls_session *tls_session_new(const struct tls_server *server)
{
	struct tls_session *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->server = server;
	tls_sites_ref(server->sites);
	return s;
}

static void release_server(struct tls_session *s)
{
	if (s->server)
		tls_sites_unref(s->server->sites);
	s->server = NULL;
}

void tls_session_free(struct tls_session *s)
{
	if (!s)
		return;
	SSL_free(s->ssl);
	release_server(s);
	free(s->error);
	free(s->peer_name);
	free(s);
}

static bool begin(struct tls_session *s)
{
	s->ssl = SSL_new(s->server->site[0]->context);
	s->bio = s->ssl ? BIO_new(method) : NULL;
	if (!s->bio || !SSL_set_app_data(s->ssl, s)) {
		BIO_free(s->bio);
		SSL_free(s->ssl);
		s->ssl = NULL;
		return false;
	}
	BIO_set_init(s->bio, 1);
	SSL_set_bio(s->ssl, s->bio, s->bio);
	SSL_set_accept_state(s->ssl);
	return true;
}

/* The host name that the client has sent, in its own bytes (RFC 6066 3): one entry of type 0. */
static const char *requested_name(SSL *ssl, size_t *length)
{
	const unsigned char *p;
	size_t n;
	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) || n < 5 || p[2] != 0)
		return NULL;
	*length = (size_t)p[3] << 8 | p[4];
	return *length <= n - 5 ? (const char *)p + 5 : NULL;
}

/*
 * Select the site before OpenSSL looks at a ticket, so that a ticket of one site opens no other.
 * SSL_set_SSL_CTX(3) leaves the settings of the first site in place: replace them.
 */
int tls_session_on_client_hello(SSL *ssl, int *alert, void *arg)
{
	struct tls_session *s = SSL_get_app_data(ssl);
	size_t length = 0;
	char name[TEXT_MAX];
	const char *requested = requested_name(ssl, &length);
	bool valid = requested && length < sizeof(name) && !memchr(requested, '\0', length);
	(void)arg;
	snprintf(name, sizeof(name), "%.*s", valid ? (int)length : 0, valid ? requested : "");
	const struct tls_site *site = tls_server_find(s->server, *name ? name : NULL);
	if (site == s->server->site[0])
		return SSL_CLIENT_HELLO_SUCCESS;
	*alert = SSL_AD_INTERNAL_ERROR;
	if (!SSL_set_SSL_CTX(ssl, site->context) ||
	    !SSL_set_min_proto_version(ssl, site->min_version))
		return SSL_CLIENT_HELLO_ERROR;
	SSL_set_verify(ssl, SSL_CTX_get_verify_mode(site->context), NULL);
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* Failures. */

/* Plain words for the errors of OpenSSL. */
static const char *reason_text(struct tls_session *s, unsigned long error)
{
	switch (ERR_GET_REASON(error)) {
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return "the client sent no certificate; tls.client_ca requires one";
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
		return X509_verify_cert_error_string(SSL_get_verify_result(s->ssl));
	case SSL_R_UNSUPPORTED_PROTOCOL:
		return "the client offers no TLS version that tls.min_version accepts";
	case SSL_R_NO_SHARED_CIPHER:
		return "the client offers no cipher that the server accepts";
	case SSL_R_UNEXPECTED_EOF_WHILE_READING:
		return "the client closed the connection";
	default:
		return ERR_reason_error_string(error);
	}
}

static void set_error(struct tls_session *s, const char *prefix, const char *text)
{
	char both[TEXT_MAX];
	snprintf(both, sizeof(both), "%s%s", prefix, text ? text : "unknown error");
	free(s->error);
	s->error = strdup(both);
}

static enum tls_status fail(struct tls_session *s, const char *text)
{
	unsigned long error = ERR_peek_last_error();
	if (text) {
		set_error(s, "", text);
	} else if (ERR_GET_LIB(error) == ERR_LIB_SSL &&
		   ERR_GET_REASON(error) > SSL_AD_REASON_OFFSET) {
		int alert = ERR_GET_REASON(error) - SSL_AD_REASON_OFFSET;
		set_error(s, "the client sent an alert: ", SSL_alert_desc_string_long(alert));
	} else {
		bool about_certificate = ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED;
		set_error(s, about_certificate ? "the client's certificate: " : "",
			  error ? reason_text(s, error) : "out of memory");
	}
	ERR_clear_error();
	s->broken = true;
	if (!s->open) {
		s->result = TLS_FAILED;
		release_server(s);
	}
	return TLS_BROKEN;
}

/* Receiving and sending. */

/* An old entry would turn WANT_READ into an error. Without one, the test is cheaper. */
static void clear_errors(void)
{
	if (ERR_peek_error())
		ERR_clear_error();
}

/* Returns true when the handshake is complete. Otherwise sets STATUS. */
static bool shake_hands(struct tls_session *s, struct tls_io *io, enum tls_status *status)
{
	*status = TLS_OPEN;
	for (;;) {
		size_t before = io->n_in;
		int result = SSL_do_handshake(s->ssl);
		if (result == 1)
			break;
		int error = SSL_get_error(s->ssl, result);
		if (error == SSL_ERROR_ZERO_RETURN)
			*status = fail(s, "the client has ended the handshake");
		else if (error != SSL_ERROR_WANT_READ)
			*status = fail(s, NULL);
		if (*status == TLS_BROKEN || !io->n_in || io->n_in == before)
			return false;
	}
	s->open = true;
	s->tls13 = SSL_version(s->ssl) == TLS1_3_VERSION;
	s->result = SSL_session_reused(s->ssl) ? TLS_RESUMED : TLS_FULL;
	release_server(s);
	return true;
}

/* Decrypt all that has arrived. A call that finds nothing costs as much as a short record: OpenSSL
 * allocates a buffer for it. */
static enum tls_status decrypt(struct tls_session *s, struct tls_io *io)
{
	for (unsigned silent = 0; silent <= SILENT_RECORDS_MAX; silent++) {
		size_t n;
		while (io->n_plain < io->plain_size &&
		       SSL_read_ex(s->ssl, io->plain + io->n_plain, io->plain_size - io->n_plain,
				   &n)) {
			io->n_plain += n;
			if (!io->n_in && !SSL_pending(s->ssl))
				return TLS_OPEN;
		}
		switch (SSL_get_error(s->ssl, 0)) {
		case SSL_ERROR_WANT_READ:
			if (!io->n_in)
				return TLS_OPEN;
			break;
		case SSL_ERROR_ZERO_RETURN:
			return TLS_PEER_END;
		default:
			return fail(s, NULL);
		}
	}
	return fail(s, "the client sent too many key updates");
}

enum tls_status tls_session_receive(struct tls_session *s, struct tls_io *io, const char *bytes,
				    size_t n)
{
	enum tls_status status;
	io->n_plain = 0;
	if (s->broken)
		return TLS_BROKEN;
	if (!s->ssl && n && *bytes != HANDSHAKE_RECORD) {
		fail(s, "the client does not speak TLS");
		s->result = TLS_NOT_TLS;
		return TLS_BROKEN;
	}
	clear_errors();
	if (!s->ssl && !begin(s))
		return fail(s, "out of memory");
	io->in = bytes;
	io->n_in = n;
	BIO_set_data(s->bio, io);
	size_t before = io->n_out;
	bool is_open = s->open || shake_hands(s, io, &status);
	s->answered = s->answered || io->n_out > before;
	if (!is_open)
		return status;
	return decrypt(s, io);
}

bool tls_session_send(struct tls_session *s, struct tls_io *io, const void *bytes, size_t n)
{
	size_t written;
	if (!n)
		return true;
	if (s->broken || s->ended)
		return false;
	clear_errors();
	io->n_in = 0;
	BIO_set_data(s->bio, io);
	if (SSL_write_ex(s->ssl, bytes, n, &written))
		return true;
	fail(s, NULL);
	return false;
}

void tls_session_end(struct tls_session *s, struct tls_io *io)
{
	if (!s->open || s->broken || s->ended)
		return;
	s->ended = true;
	ERR_clear_error();
	io->n_in = 0;
	BIO_set_data(s->bio, io);
	SSL_shutdown(s->ssl); /* only once: a second call would read */
	ERR_clear_error();
}

uint32_t tls_session_kib(const struct tls_session *s)
{
	if (!s->ssl)
		return 0;
	return s->open ? OPEN_KIB : s->answered ? HANDSHAKE_KIB : HELLO_KIB;
}

const char *tls_session_error(const struct tls_session *s)
{
	return s->error ? s->error : "";
}

/* The subject of CERTIFICATE as in RFC 2253. Returns NULL if memory is short. */
static char *subject(const X509 *certificate)
{
	char *text = NULL, *copy = NULL;
	BIO *memory = BIO_new(BIO_s_mem());
	if (memory &&
	    X509_NAME_print_ex(memory, X509_get_subject_name(certificate), 0,
			       XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) >= 0) {
		long n = BIO_get_mem_data(memory, &text);
		copy = strndup(text, (size_t)n);
	}
	BIO_free(memory);
	return copy;
}

const char *tls_session_peer_name(struct tls_session *s)
{
	const X509 *certificate = s->open && s->ssl ? SSL_get0_peer_certificate(s->ssl) : NULL;
	bool verified = certificate && SSL_get_verify_result(s->ssl) == X509_V_OK;
	if (verified && !s->peer_name)
		s->peer_name = subject(certificate);
	return s->peer_name ? s->peer_name : "";
}

void tls_session_close(struct tls_session *s)
{
	tls_session_peer_name(s); /* keep it */
	SSL_free(s->ssl);
	s->ssl = NULL;
	s->broken = true;
	release_server(s);
}
