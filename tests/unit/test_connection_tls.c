/* data/connection with TLS: failures, ends, limits, and writes of the service. */
/* build: WRAP evbuffer_new send */
/* test: NEEDS TLS */
#include "certificates.h"
#include "fixture.h"
#include "peer.h"
#include "serving.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Replaces send(2). */
ssize_t __real_send(int fd, const void *bytes, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t n, int flags);

static int send_error; /* errno, 0: it does not fail */

ssize_t __wrap_send(int fd, const void *bytes, size_t n, int flags)
{
	errno = send_error;
	return send_error ? -1 : __real_send(fd, bytes, n, flags);
}

/* Replaces evbuffer_new(): memory may be short. */
struct evbuffer *__real_evbuffer_new(void);
struct evbuffer *__wrap_evbuffer_new(void);

static bool lacks_memory;

struct evbuffer *__wrap_evbuffer_new(void)
{
	return lacks_memory ? NULL : __real_evbuffer_new();
}

static struct certificate *authority, *person; /* `person`: of the client */

static void enter(void)
{
	fixture_enter();
	authority = certificate_new(NULL, .name = "test CA", .is_ca = true);
	person = certificate_new(authority, .name = "someone");
	struct certificate *site =
		certificate_new(authority, .name = "a", .names = "DNS:a.example");
	certificates_write("ca.pem", authority);
	certificates_write("cert.pem", site, authority);
	key_write("key.pem", site);
	certificate_free(site);
	serving.listen = "tls = \"a\"";
}

static void leave(void)
{
	certificate_free(person);
	certificate_free(authority);
	fixture_leave();
}

TestSuite(connection_tls, .init = enter, .fini = leave);

/* Serve with the option MORE of the tls section, and CONF. */
static void serve_tls(const char *more, const char *conf)
{
	char text[512], certificate[PATH_IN_MAX], key[PATH_IN_MAX];
	snprintf(text, sizeof(text), "tls \"a\" { certificate = \"%s\" key = \"%s\" %s }\n%s",
		 path_in("cert.pem", certificate), path_in("key.pem", key), more, conf);
	serve(text);
}

/* A client whose records are in memory until they are sent. */
struct client {
	int fd;
	SSL *ssl;
};

static void flush(struct client *c)
{
	char bytes[65536];
	int n = BIO_read(SSL_get_wbio(c->ssl), bytes, sizeof(bytes));
	if (n > 0)
		MUST(send(c->fd, bytes, (size_t)n, MSG_NOSIGNAL) == n);
}

/* Take what has arrived. Returns false at the end of the socket. */
static bool take(struct client *c)
{
	char bytes[65536];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n > 0)
		MUST(BIO_write(SSL_get_rbio(c->ssl), bytes, (int)n) == n);
	return n > 0 || (n < 0 && errno == EAGAIN);
}

static bool shakes_hands(struct client *c)
{
	MUST(take(c));
	ERR_clear_error();
	int result = SSL_do_handshake(c->ssl);
	MUST(result == 1 || SSL_get_error(c->ssl, result) == SSL_ERROR_WANT_READ);
	flush(c);
	return result == 1;
}

static struct client client_begin(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	struct client c = {peer_connect(&serving.snapshot->listener[0]->actual), SSL_new(context)};
	MUST(c.fd >= 0 && c.ssl);
	MUST(SSL_use_certificate(c.ssl, person->x) == 1 &&
	     SSL_use_PrivateKey(c.ssl, person->key) == 1);
	SSL_CTX_free(context);
	SSL_set_bio(c.ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_connect_state(c.ssl);
	return c;
}

static struct client client_open(void)
{
	unsigned before = serving.n_opened;
	struct client c = client_begin();
	STEP_UNTIL(shakes_hands(&c));
	STEP_UNTIL(serving.n_opened > before);
	return c;
}

static void client_end(struct client *c)
{
	SSL_free(c->ssl);
	close(c->fd);
}

static void send_text(struct client *c, const char *text)
{
	MUST(SSL_write(c->ssl, text, (int)strlen(text)) == (int)strlen(text));
	flush(c);
}

/* Read up to N bytes. Returns their number, 0 after close_notify, -1 at another end. */
static int read_some(struct client *c, char *bytes, int n)
{
	int got;
	bool more = true;
	ERR_clear_error();
	while ((got = SSL_read(c->ssl, bytes, n)) <= 0) {
		if (SSL_get_error(c->ssl, got) == SSL_ERROR_ZERO_RETURN)
			return 0;
		if (SSL_get_error(c->ssl, got) != SSL_ERROR_WANT_READ || !more)
			return -1;
		step();
		more = take(c);
	}
	return got;
}

static void expect(struct client *c, const char *text)
{
	char is[256] = "";
	for (size_t n = 0; n < strlen(text);) {
		int got = read_some(c, is + n, (int)(sizeof(is) - 1 - n));
		cr_assert_gt(got, 0, "the end came after \"%s\"", is);
		n += (size_t)got;
	}
	cr_assert_str_eq(is, text);
}

/* Failures. */

/* A valid record, and then one that is not, in one segment. */
static void send_good_and_bad(struct client *c)
{
	char bytes[1024];
	MUST(SSL_write(c->ssl, "good\n", 5) == 5 && SSL_write(c->ssl, "bad\n", 4) == 4);
	int n = BIO_read(SSL_get_wbio(c->ssl), bytes, sizeof(bytes));
	bytes[n - 1] ^= 1;
	MUST(send(c->fd, bytes, (size_t)n, 0) == n);
}

static size_t answer_much(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	cr_assert_eq(connection_write(c, pattern(0, 100000), 100000), -1);
	return n;
}

static void expect_failure_of_tls(size_t (*data)(struct connection *c, const char *bytes, size_t n))
{
	serving.data = data;
	serve_tls("", "");
	struct client c = client_open();
	send_good_and_bad(&c);
	STEP_UNTIL(serving.n_closed);
	cr_assert_str_eq(serving.offered, "[good\n]");
	cr_assert_eq(closed_by(CLOSED_TLS), 1);
	client_end(&c);
	serving_end();
}

Test(connection_tls, a_bad_record_behind_an_answered_one_is_no_lack_of_memory)
{
	expect_failure_of_tls(echo);
}

Test(connection_tls, a_large_answer_before_a_bad_record_is_no_lack_of_memory)
{
	expect_failure_of_tls(answer_much);
}

/* Ends. */

static size_t abort_it(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	connection_write(c, "lost", 4);
	connection_abort(c);
	return n;
}

/* A client that saw close_notify would take an answer that was cut off for a whole one. */
Test(connection_tls, an_aborted_connection_sends_no_close_notify)
{
	char byte;
	serving.data = abort_it;
	serve_tls("", "");
	struct client c = client_open();
	send_text(&c, "x");
	STEP_UNTIL(serving.n_closed);
	cr_assert_eq(read_some(&c, &byte, 1), -1);
	client_end(&c);
	serving_end();
}

Test(connection_tls, a_shutdown_that_cannot_send_close_notify_ends_the_connection)
{
	serve_tls("", "");
	struct client c = client_open();
	send_error = ENOMEM;
	connection_shutdown(serving.last);
	step_all();
	cr_assert_eq(serving.n_closed, 1);
	send_error = 0;
	client_end(&c);
	serving_end();
}

/* A client may close its socket as soon as it has sent close_notify. */
Test(connection_tls, a_client_that_does_not_wait_for_close_notify_is_no_error)
{
	serve_tls("", "");
	struct client c = client_open();
	SSL_shutdown(c.ssl);
	flush(&c);
	send_error = EPIPE;
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(closed_by(CLOSED_BY_PEER), 1);
	send_error = 0;
	client_end(&c);
	serving_end();
}

/* Unread bytes of the client would let the connection linger. */
Test(connection_tls, a_close_that_cannot_send_close_notify_ends_the_connection)
{
	serve_tls("", "");
	struct client c = client_open();
	send_text(&c, "x");
	send_error = EPIPE;
	connection_close(serving.last);
	step_all();
	cr_assert_eq(closed_by(CLOSED_ERROR), 1);
	send_error = 0;
	client_end(&c);
	serving_end();
}

static size_t keep_all(struct connection *c, const char *bytes, size_t n)
{
	(void)c, (void)bytes, (void)n;
	return 0;
}

Test(connection_tls, a_connection_that_is_closed_for_its_memory_sends_no_close_notify)
{
	char byte;
	serving.data = keep_all;
	serve_tls("", "limits { memory = 1M buffer = 2M }");
	struct client c = client_open();
	while (!serving.n_closed) {
		SSL_write(c.ssl, pattern(0, 16384), 16384);
		flush(&c);
		step_all();
	}
	cr_assert_eq(closed_by(CLOSED_MEMORY), 1);
	cr_assert_eq(read_some(&c, &byte, 1), -1);
	client_end(&c);
	serving_end();
}

static size_t answer_and_close(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes, (void)n;
	connection_write(c, "answer", 6);
	connection_close(c);
	return 0;
}

/* The bytes that `data` does not consume find no memory. */
Test(connection_tls, a_close_whose_answer_is_lost_sends_no_close_notify)
{
	char byte;
	serving.data = answer_and_close;
	serve_tls("", "");
	struct client c = client_open();
	lacks_memory = true;
	send_text(&c, "x");
	STEP_UNTIL(serving.n_closed);
	cr_assert_eq(read_some(&c, &byte, 1), -1);
	cr_assert_eq(closed_by(CLOSED_ERROR), 1);
	client_end(&c);
	serving_end();
}

/* Limits. */

Test(connection_tls, sessions_beyond_the_memory_limit_are_closed)
{
	enum { CLIENTS = 100, MOST = 64 }; /* 1 MiB / 16 KiB */
	struct client c[CLIENTS];
	serve_tls("", "limits { memory = 1M }");
	for (unsigned i = 0; i < CLIENTS; i++) {
		c[i] = client_begin();
		for (uint64_t before = count_of(COUNT_TLS + TLS_FULL) + closed_by(CLOSED_MEMORY);
		     count_of(COUNT_TLS + TLS_FULL) + closed_by(CLOSED_MEMORY) == before;) {
			if (take(&c[i]) && SSL_do_handshake(c[i].ssl) >= -1)
				flush(&c[i]);
			step();
		}
	}
	cr_assert_leq(serving.n_opened - serving.n_closed, MOST);
	cr_assert_geq(serving.n_opened - serving.n_closed, MOST / 2);
	for (unsigned i = 0; i < CLIENTS; i++)
		client_end(&c[i]);
	serving_end();
}

/* OpenSSL allocates memory for the whole message as soon as its header has arrived. */
Test(connection_tls, the_memory_of_an_announced_hello_counts)
{
	static const char hello[] = "\x16\3\1\0\4\1\2\0\0"; /* of 131,072 bytes */
	serve_tls("", "");
	struct client c = client_begin();
	MUST(send(c.fd, hello, sizeof(hello) - 1, 0) == sizeof(hello) - 1);
	STEP_UNTIL(count_of(COUNT_BUFFERED) >= (uint64_t)128 * 1024);
	client_end(&c);
	serving_end();
}

enum { MANY = 24, HANDSHAKES_MAX = 8 };
static struct client many[MANY];
static int n_answered;

/* Count the clients that have an answer to their hello. */
static size_t count_answered(struct connection *c, const char *bytes, size_t n)
{
	(void)c, (void)bytes;
	for (int i = 0, waiting; i < MANY; i++)
		n_answered += ioctl(many[i].fd, FIONREAD, &waiting) == 0 && waiting > 0;
	return n;
}

/* As with the hello, OpenSSL would allocate memory for all of it. CONF: other sections. */
static void expect_announced_certificate_rejected(const char *conf)
{
	static const char certificate[] = "\x16\3\3\0\4\x0b\1\x80\0";
	char ca[PATH_IN_MAX], option[PATH_IN_MAX + 32];
	int waiting = 0;
	snprintf(option, sizeof(option), "client_ca = \"%s\"", path_in("ca.pem", ca));
	serve_tls(option, conf);
	struct client c = client_begin();
	MUST(SSL_set_max_proto_version(c.ssl, TLS1_2_VERSION) == 1 &&
	     SSL_set_tlsext_host_name(c.ssl, "a.example") == 1);
	SSL_do_handshake(c.ssl);
	flush(&c);
	STEP_UNTIL(ioctl(c.fd, FIONREAD, &waiting) == 0 && waiting > 0);
	MUST(send(c.fd, certificate, sizeof(certificate) - 1, 0) == sizeof(certificate) - 1);
	STEP_UNTIL(closed_by(CLOSED_TLS) == 1);
	client_end(&c);
	serving_end();
}

Test(connection_tls, an_announced_client_certificate_of_96_kib_is_rejected)
{
	expect_announced_certificate_rejected("");
}

/* A session begins with the settings of the first site. */
Test(connection_tls, an_announced_client_certificate_of_96_kib_is_rejected_by_the_second_site)
{
	char conf[256], certificate[PATH_IN_MAX], key[PATH_IN_MAX];
	struct certificate *first = certificate_new(NULL, .name = "b", .names = "DNS:b.example");
	certificates_write("cert-b.pem", first);
	key_write("key-b.pem", first);
	certificate_free(first);
	snprintf(conf, sizeof(conf), "tls \"b\" { certificate = \"%s\" key = \"%s\" }",
		 path_in("cert-b.pem", certificate), path_in("key-b.pem", key));
	serving.listen = "tls = {\"b\", \"a\"}";
	expect_announced_certificate_rejected(conf);
}

/* The first bytes were sent before: this must not be a way around the limit. */
Test(connection_tls, an_open_connection_waits_for_few_handshakes)
{
	char hello[MANY][2048];
	int n[MANY];
	serving.data = count_answered;
	serve_tls("", "");
	struct client open = client_open();
	uint64_t before = count_of(COUNT_RECEIVED);
	for (int i = 0; i < MANY; i++) {
		many[i] = client_begin();
		SSL_do_handshake(many[i].ssl);
		n[i] = BIO_read(SSL_get_wbio(many[i].ssl), hello[i], sizeof(hello[i]));
		MUST(send(many[i].fd, hello[i], 1, 0) == 1);
		STEP_UNTIL(count_of(COUNT_RECEIVED) == before + (uint64_t)i + 1);
	}
	for (int i = 0; i < MANY; i++)
		MUST(send(many[i].fd, hello[i] + 1, (size_t)n[i] - 1, 0) == n[i] - 1);
	send_text(&open, "x");
	STEP_UNTIL(serving.n_data == 1);
	cr_assert_leq(n_answered, HANDSHAKES_MAX);
	for (int i = 0; i < MANY; i++)
		STEP_UNTIL(shakes_hands(&many[i]));
	STEP_UNTIL(serving.n_opened == MANY + 1);
	for (int i = 0; i < MANY; i++)
		client_end(&many[i]);
	client_end(&open);
	serving_end();
}

/* The service. */

static int greet_by_name(struct connection *c)
{
	const char *name = connection_tls_name(c);
	connection_write(c, name, strlen(name));
	return 0;
}

Test(connection_tls, the_service_learns_the_name_of_the_client)
{
	char ca[PATH_IN_MAX], option[PATH_IN_MAX + 32];
	serving.opened = greet_by_name;
	snprintf(option, sizeof(option), "client_ca = \"%s\"", path_in("ca.pem", ca));
	serve_tls(option, "");
	struct client c = client_open();
	expect(&c, "CN=someone");
	client_end(&c);
	serving_end();
}

static const char *name_at_first;
static char name_at_last[64];

static size_t hold_with_name(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	connection_hold(c);
	name_at_first = connection_tls_name(c);
	return n;
}

static void copy_name(struct connection *c)
{
	snprintf(name_at_last, sizeof(name_at_last), "%s", connection_tls_name(c));
}

/* A worker of the service may still use it, and `closed` may log it. */
Test(connection_tls, the_name_of_the_client_is_valid_as_long_as_its_connection)
{
	char ca[PATH_IN_MAX], option[PATH_IN_MAX + 32];
	serving.data = hold_with_name;
	serving.closed = copy_name;
	snprintf(option, sizeof(option), "client_ca = \"%s\"", path_in("ca.pem", ca));
	serve_tls(option, "");
	struct client c = client_open();
	send_text(&c, "x");
	STEP_UNTIL(name_at_first);
	MUST(setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
			sizeof(struct linger)) == 0);
	client_end(&c);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_str_eq(name_at_last, "CN=someone");
	cr_assert_str_eq(name_at_first, "CN=someone");
	connection_release(serving.last);
	serving_end();
}

/* The service asks for the name in `closed` only. */
Test(connection_tls, closed_learns_the_name_of_the_client)
{
	char ca[PATH_IN_MAX], option[PATH_IN_MAX + 32];
	serving.closed = copy_name;
	snprintf(option, sizeof(option), "client_ca = \"%s\"", path_in("ca.pem", ca));
	serve_tls(option, "");
	struct client c = client_open();
	client_end(&c);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_str_eq(name_at_last, "CN=someone");
	serving_end();
}

Test(connection_tls, the_name_of_a_client_that_was_not_asked_for_one_is_empty)
{
	serving.opened = greet_by_name;
	serving.data = echo;
	serve_tls("", "");
	struct client c = client_open();
	send_text(&c, "nothing came first");
	expect(&c, "nothing came first");
	client_end(&c);
	serving_end();
}

static struct connection *first;

/* Notify the first client of each later one. */
static int announce(struct connection *c)
{
	connection_write(c, "hello ", 6);
	if (first)
		connection_write(first, "another ", 8);
	first = first ? first : c;
	return connection_write(c, "you", 3) < 0 ? -1 : 0;
}

Test(connection_tls, bytes_that_opened_writes_to_two_connections_reach_both)
{
	first = NULL;
	serving.opened = announce;
	serve_tls("", "");
	struct client one = client_open(), two = client_open(), three = client_open();
	expect(&two, "hello you");
	expect(&three, "hello you");
	expect(&one, "hello youanother another ");
	client_end(&one);
	client_end(&two);
	client_end(&three);
	serving_end();
}

static size_t pause_at_once(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	connection_read_pause(c);
	return n > 3 ? 3 : n;
}

/* The socket is not readable any more: all bytes of the record were received before. */
Test(connection_tls, bytes_that_a_pause_has_left_are_offered_on_resume)
{
	serving.data = pause_at_once;
	serve_tls("", "");
	struct client c = client_open();
	send_text(&c, "onetwo");
	STEP_UNTIL(serving.n_data == 1);
	step_all();
	cr_assert_str_eq(serving.offered, "[onetwo]");
	connection_read_resume(serving.last);
	STEP_UNTIL(serving.n_data == 2);
	cr_assert_str_eq(serving.offered, "[onetwo][two]");
	client_end(&c);
	serving_end();
}

/* The end arrives with the bytes that a pause leaves: it comes behind them all the same. */
static void expect_end_behind(const char *offered, unsigned n_data)
{
	step_all();
	cr_assert_eq(serving.n_data, n_data);
	cr_assert_eq(serving.n_ended, 0);
	cr_assert_eq(serving.n_closed, 0);
	connection_read_resume(serving.last);
	STEP_UNTIL(serving.n_closed == 1);
	cr_assert_eq(serving.n_ended, 1);
	cr_assert_str_eq(serving.offered, offered);
}

Test(connection_tls, an_end_behind_bytes_that_a_pause_has_left_waits)
{
	serving.data = pause_at_once;
	serve_tls("", "");
	struct client c = client_open();
	MUST(SSL_write(c.ssl, "onetwo", 6) == 6);
	SSL_shutdown(c.ssl);
	flush(&c);
	STEP_UNTIL(serving.n_data == 1);
	expect_end_behind("[onetwo][two]", 1);
	client_end(&c);
	serving_end();
}

static int pause_in_opened(struct connection *c)
{
	connection_read_pause(c);
	return 0;
}

Test(connection_tls, an_end_behind_bytes_of_a_connection_that_opened_pauses_waits)
{
	serving.opened = pause_in_opened;
	serve_tls("", "");
	struct client c = client_begin();
	while (SSL_do_handshake(c.ssl) != 1) {
		flush(&c);
		step();
		MUST(take(&c));
	}
	MUST(SSL_write(c.ssl, "all", 3) == 3);
	SSL_shutdown(c.ssl);
	flush(&c);
	STEP_UNTIL(serving.n_opened == 1);
	expect_end_behind("[all]", 0);
	client_end(&c);
	serving_end();
}

static size_t hold_it(struct connection *c, const char *bytes, size_t n)
{
	(void)bytes;
	connection_hold(c);
	return n;
}

static void answer_late(struct worker *w, void *arg)
{
	(void)w;
	connection_write(arg, "late", 4);
	connection_release(arg);
}

Test(connection_tls, a_posted_answer_of_a_held_connection_arrives_behind_its_end)
{
	char byte;
	serving.data = hold_it;
	serve_tls("", "");
	struct client c = client_open();
	send_text(&c, "x");
	SSL_shutdown(c.ssl);
	flush(&c);
	STEP_UNTIL(serving.n_ended == 1);
	MUST(worker_post(serving.w, answer_late, serving.last) == 0);
	expect(&c, "late");
	cr_assert_eq(read_some(&c, &byte, 1), 0);
	client_end(&c);
	serving_end();
}
