/* data/tls_session: between the bytes of the network and those of the service, in memory. */
/* test: NEEDS TLS */
#include "certificates.h"
#include "data/tls.h"
#include "fixture.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

enum { MOST = 65536 };

static struct config config; /* its strings are literals: never passed to config_unref() */
static struct tls_sites *sites;
static struct tls_io io;
static struct tls_session *session;

/* The client, and the bytes that it has sent. */
static SSL *client;
static char wire[MOST];
static size_t n_wire;

static void setup(void)
{
	static char *titles[] = {"site", NULL};
	struct errors e = {0}, warnings = {0};
	fixture_enter();
	struct certificate *own = certificate_new(NULL, .name = "a", .names = "DNS:a.example");
	certificates_write("cert.pem", own);
	key_write("key.pem", own);
	certificate_free(own);
	config.tls[config.n_tls++] = (struct tls_config){
		.title = "site", .certificate = "cert.pem", .key = "key.pem", .client_ca = ""};
	config.n_listen = 1;
	config.listen[0].tls = titles;
	sites = tls_sites_load(&config, NULL, &warnings, &e);
	MUST(sites && tls_io_init(&io, MOST));
	errors_clear(&warnings);
}

static void teardown(void)
{
	tls_io_free(&io);
	tls_sites_unref(sites);
	fixture_leave_nothing();
}

TestSuite(tls_session, .init = setup, .fini = teardown);

/* The bytes that the client has sent so far. */
static void collect(void)
{
	int n = BIO_read(SSL_get_wbio(client), wire + n_wire, (int)(MOST - n_wire));
	n_wire += n > 0 ? (size_t)n : 0;
}

/* Pass bytes FROM to TO of the wire. The answers of the session go to the client. */
static enum tls_status pass(size_t from, size_t to)
{
	enum tls_status status = tls_session_receive(session, &io, wire + from, to - from);
	if (io.n_out)
		MUST(BIO_write(SSL_get_rbio(client), io.out, (int)io.n_out) == (int)io.n_out);
	io.n_out = 0;
	return status;
}

static enum tls_status pass_all(void)
{
	collect();
	enum tls_status status = pass(0, n_wire);
	n_wire = 0;
	return status;
}

/* Create both sides. */
static void create(int version)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	session = tls_session_new(tls_sites_listen(sites, 0));
	client = context ? SSL_new(context) : NULL;
	SSL_CTX_free(context);
	MUST(session && client && SSL_set_max_proto_version(client, version) == 1);
	SSL_set_bio(client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_connect_state(client);
	n_wire = 0;
	io.n_out = 0;
}

/* Begin a connection. The client's last message is not passed on yet. */
static void begin(int version)
{
	create(version);
	while (SSL_do_handshake(client) != 1)
		MUST(pass_all() == TLS_OPEN);
	ERR_clear_error();
	collect();
}

static void end(void)
{
	SSL_free(client);
	tls_session_free(session);
}

static void open_both(int version)
{
	begin(version);
	MUST(pass_all() == TLS_OPEN && session->open);
}

static void send_record(const char *text)
{
	MUST(SSL_write(client, text, (int)strlen(text)) == (int)strlen(text));
	collect();
}

static void expect_plain(const char *text)
{
	cr_assert_eq(io.n_plain, strlen(text), "%zu bytes, not \"%s\"", io.n_plain, text);
	cr_assert_eq(memcmp(io.plain, text, io.n_plain), 0);
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define EACH_VERSION(v) (const int *v = versions; v < versions + 2; v++)

Test(tls_session, records_that_are_cut_anywhere_arrive_whole)
{
	for
		EACH_VERSION(v)
		{
			size_t cut = 0, size = 1;
			open_both(*v);
			for (; cut <= size; cut++) {
				char all[16] = "";
				n_wire = 0;
				send_record("first");
				send_record("second");
				size = n_wire;
				cr_assert_eq(pass(0, cut), TLS_OPEN);
				memcpy(all, io.plain, io.n_plain);
				size_t n = io.n_plain;
				cr_assert_eq(pass(cut, size), TLS_OPEN);
				memcpy(all + n, io.plain, io.n_plain);
				cr_assert_str_eq(all, "firstsecond", "cut after byte %zu", cut);
			}
			end();
		}
}

Test(tls_session, all_records_of_one_receive_are_decrypted_at_once)
{
	for
		EACH_VERSION(v)
		{
			open_both(*v);
			send_record("one ");
			send_record("two ");
			send_record("three");
			cr_assert_eq(pass_all(), TLS_OPEN);
			expect_plain("one two three");
			end();
		}
}

Test(tls_session, bytes_behind_the_handshake_are_decrypted_with_it)
{
	for
		EACH_VERSION(v)
		{
			begin(*v);
			if (*v == TLS1_2_VERSION) /* the server finishes last */
				pass_all();
			send_record("early");
			cr_assert_eq(pass_all(), TLS_OPEN);
			cr_assert(session->open);
			expect_plain("early");
			end();
		}
}

Test(tls_session, close_notify_behind_bytes_ends_the_peer_after_them)
{
	for
		EACH_VERSION(v)
		{
			open_both(*v);
			send_record("last");
			SSL_shutdown(client);
			cr_assert_eq(pass_all(), TLS_PEER_END);
			expect_plain("last");
			cr_assert(tls_session_send(session, &io, "answer", 6),
				  "the session sends still");
			end();
		}
}

Test(tls_session, an_error_left_by_other_code_does_not_end_a_session)
{
	for
		EACH_VERSION(v)
		{
			open_both(*v);
			ERR_raise(ERR_LIB_USER, ERR_R_INTERNAL_ERROR);
			send_record("half a record follows");
			n_wire -= 3;
			cr_assert_eq(pass(0, n_wire), TLS_OPEN, "%s", tls_session_error(session));
			ERR_raise(ERR_LIB_USER, ERR_R_INTERNAL_ERROR);
			cr_assert(tls_session_send(session, &io, "answer", 6));
			ERR_raise(ERR_LIB_USER, ERR_R_INTERNAL_ERROR);
			cr_assert_eq(pass(n_wire, n_wire + 3), TLS_OPEN, "%s",
				     tls_session_error(session));
			expect_plain("half a record follows");
			end();
		}
}

static enum tls_status pass_key_updates(int n)
{
	n_wire = 0;
	for (int i = 0; i < n; i++) {
		MUST(SSL_key_update(client, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
		     SSL_do_handshake(client) == 1);
		collect();
	}
	return pass(0, n_wire);
}

Test(tls_session, some_key_updates_are_accepted_and_many_are_not)
{
	open_both(TLS1_3_VERSION);
	cr_assert_eq(pass_key_updates(10), TLS_OPEN, "%s", tls_session_error(session));
	n_wire = 0;
	send_record("with the new key");
	pass_all();
	expect_plain("with the new key");
	cr_assert_eq(pass_key_updates(1000), TLS_BROKEN);
	cr_assert_str_eq(tls_session_error(session), "the client sent too many key updates");
	end();
}

Test(tls_session, a_client_that_ends_the_handshake_is_not_taken_for_a_lack_of_memory)
{
	static const char close_notify[] = "\x15\3\3\0\2\1\0";
	create(TLS1_2_VERSION);
	SSL_do_handshake(client);
	cr_assert_eq(pass_all(), TLS_OPEN);
	memcpy(wire, close_notify, 7);
	cr_assert_eq(pass(0, 7), TLS_BROKEN);
	cr_assert_str_eq(tls_session_error(session), "the client has ended the handshake");
	end();
}
