/*
 * Each call fails once, see test_calls.c: while a TLS client is served, and while a reload replaces
 * the certificate.
 */
/* test: COST 60 NEEDS TLS TIMEOUT 600 LABELS all */
/* test: NAME all ENV SKELD_LONG=1 NEEDS TLS TIMEOUT 3600 LABELS long */
#include "certificates.h"
#include "judge.h"
#include "phase.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* OpenSSL allocates thousands of times, and a reload takes half a second: without $SKELD_LONG, only
 * every Nth allocation fails. */
enum { STEP_OF_TALKS = 7, STEP_OF_RELOADS = 41 };

static char sections[2][512];

/* The certificate of side 0 has the name "0". */
static void write_certificate(int side)
{
	char name[] = {(char)('0' + side), '\0'}, file[32];
	struct certificate *own = certificate_new(NULL, .name = name);
	snprintf(file, sizeof(file), "cert.%d", side);
	certificates_write(file, own);
	snprintf(file, sizeof(file), "key.%d", side);
	key_write(file, own);
	MUST(chmod(file, 0600) == 0);
	certificate_free(own);
}

static struct trial *tls_trial(const char *phase, long memory_step)
{
	struct trial *t = trial_new(phase);
	for (int side = 0; side < 2; side++) {
		write_certificate(side);
		snprintf(sections[side], sizeof(sections[side]),
			 "tls \"a\" { certificate = \"%1$s/cert.%2$d\" key = \"%1$s/key.%2$d\" }\n"
			 "listen \"secure\" { address = \"%3$s\" tls = \"a\" }\n",
			 test_dir, side, t->address[SECURE]);
		t->service[side] = sections[side];
	}
	t->memory_step = getenv("SKELD_LONG") ? 1 : memory_step;
	start_clean(t);
	return t;
}

/* Echo TEXT, and expect close_notify. Sets SIDE to the one whose certificate the daemon has. */
static enum answer talk(SSL *ssl, int *side)
{
	static const char text[] = "hello";
	char name[8] = "", back[sizeof(text)];
	if (SSL_connect(ssl) != 1)
		return CLOSED;
	X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(ssl)),
				  NID_commonName, name, sizeof(name));
	*side = name[0] - '0';
	if (SSL_write(ssl, text, sizeof(text)) <= 0 || SSL_read(ssl, back, sizeof(back)) <= 0)
		return CLOSED;
	SSL_shutdown(ssl);
	return SSL_read(ssl, back, sizeof(back)) == 0 ? ANSWERED : CLOSED;
}

static enum answer talk_tls(struct trial *t, int *side)
{
	int fd = trial_dial(t, SECURE);
	if (fd < 0)
		return REFUSED;
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	MUST(ssl && SSL_set_fd(ssl, fd) == 1);
	errno = 0;
	signal(SIGPIPE, SIG_IGN); /* OpenSSL uses write(2); the daemon must not inherit this */
	enum answer a = talk(ssl, side);
	signal(SIGPIPE, SIG_DFL);
	a = a == CLOSED && errno == EAGAIN ? HUNG : a;
	SSL_free(ssl);
	SSL_CTX_free(context);
	close(fd);
	return a;
}

/* A client is served, or its end is reported. */
static void run_talk(struct trial *t)
{
	int side = -1;
	trial_forget();
	enum answer a = talk_tls(t, &side);
	trial_disarm(t);
	if (a == HUNG || a == REFUSED)
		trial_wrong(t, a == HUNG ? "no answer" : "refused");
	if (has_ended(t))
		return;
	bool reported = trial_reported(), peer = t->error == ECONNRESET || t->error == EPIPE;
	if (a == CLOSED && !reported && !peer)
		trial_wrong(t, "a client was cut off, and the log has no reason");
	else if (a == CLOSED || reported)
		t->reported++;
	else
		t->as_if_nothing++;
	if (talk_tls(t, &side) != ANSWERED || !trial_serves(t, 0))
		trial_wrong(t, "does not serve");
	expect_no_leak(t, 0);
	if (!reported)
		return;
	kill(daemon_pid, SIGKILL); /* it warns once a second; a new daemon warns at once */
	trial_end();
	start_clean(t);
}

Test(tls_faults, a_client_is_served_or_its_end_is_reported)
{
	struct trial *t = tls_trial("tls", STEP_OF_TALKS);
	keep_clean(t, 0);
	each_call(t, run_talk);
	trial_free(t);
}

/* The daemon has the certificate of the configuration that it reports, never half of another. */
static void run_renewal(struct trial *t)
{
	int side = -1;
	run_reload(t);
	if (talk_tls(t, &side) != ANSWERED)
		trial_wrong(t, "no TLS after the reload");
	else if (side != t->side)
		trial_wrong(t, "the certificate is that of the other configuration");
}

Test(tls_faults, a_renewed_certificate_is_served_or_the_reload_is_rejected)
{
	struct trial *t = tls_trial("renewal", STEP_OF_RELOADS);
	each_call_of_reloads(t, run_renewal);
	trial_free(t);
}
