/*
 * Renewals under load: hundreds of reloads, every second one with files that do not fit together,
 * while clients shake hands all the time. Each client gets one of the two certificates that were in
 * force, and its answer.
 */
/* test: COST 30 TIMEOUT 300 LABELS all NEEDS TLS */
/* test: NAME long ENV SKELD_LONG=1 TIMEOUT 3600 LABELS long NEEDS TLS */
#include "certificates.h"
#include "load.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

DAEMON_SUITE(storm_tls_reloads);

enum { CLIENTS = 2, WARM_UP = 100, SHORT_RELOADS = 400, LONG_RELOADS = 20000 };
enum { MAX_GROWTH_KIB = 1024 };

/* Of a load: handshakes with the certificate "even", with "odd", resumed ones, and failures. */
enum { EVEN, ODD, RESUMED, FAILED };

static const char request[] = "hello\n";

/* Returns false if the answer is another one, or none. */
static bool exchange(SSL *ssl)
{
	char answer[sizeof(request)];
	int n = (int)strlen(request);
	if (SSL_connect(ssl) != 1 || SSL_write(ssl, request, n) != n)
		return false;
	return SSL_read(ssl, answer, sizeof(answer)) == n &&
	       memcmp(answer, request, strlen(request)) == 0;
}

static void count_client(struct load *load, SSL *ssl)
{
	char name[16] = "";
	X509 *x = SSL_get1_peer_certificate(ssl);
	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof(name));
	X509_free(x);
	atomic_fetch_add(&load->count[strcmp(name, "even") == 0 ? EVEN : ODD], 1);
	if (SSL_session_reused(ssl))
		atomic_fetch_add(&load->count[RESUMED], 1);
}

/* Every second client resumes the session of the one before. */
static void shake_hands(struct load *load, unsigned i)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL_SESSION *session = NULL;
	for (unsigned n = i; !atomic_load(&load->stop); n++) {
		int fd = load_connect(load);
		if (fd < 0)
			break;
		SSL *ssl = SSL_new(context);
		SSL_set_fd(ssl, fd);
		if (session && n % 2)
			SSL_set_session(ssl, session);
		if (exchange(ssl))
			count_client(load, ssl);
		else if (!atomic_load(&load->stop))
			atomic_fetch_add(&load->count[FAILED], 1);
		SSL_SESSION_free(session);
		session = SSL_get1_session(ssl);
		SSL_shutdown(ssl);
		SSL_free(ssl);
		load_reset(fd);
	}
	SSL_SESSION_free(session);
	SSL_CTX_free(context);
}

/* Two certificates with their keys; the site is a link to one of each. */
static void make_files(void)
{
	struct certificate *ca = certificate_new(NULL, .name = "CA", .is_ca = true);
	struct certificate *even = certificate_new(ca, .name = "even", .names = "DNS:a.example");
	struct certificate *odd = certificate_new(ca, .name = "odd", .names = "DNS:a.example");
	certificates_write("even.pem", even, ca);
	certificates_write("odd.pem", odd, ca);
	key_write("even.key", even);
	key_write("odd.key", odd);
	certificate_free(even);
	certificate_free(odd);
	certificate_free(ca);
}

static void point(const char *name, const char *to)
{
	MUST(symlink(to, "new") == 0 && rename("new", name) == 0);
}

/* With an odd N, the key is that of the other certificate. */
static void reload_once(unsigned n)
{
	bool odd = n / 2 % 2, good = n % 2 == 0;
	point("site.pem", odd ? "odd.pem" : "even.pem");
	point("site.key", odd == good ? "odd.key" : "even.key");
	daemon_reload_and_wait();
	if (noticed == notices.size) /* free the datagrams that were read */
		notices.size = noticed = 0;
}

static size_t count_lines(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += *text == '\n';
	return n;
}

struct usage {
	size_t fds;
	long threads, resident_kib;
};

static struct usage read_usage(void)
{
	await_idle();
	return (struct usage){count_lines(proc_fds()), proc_number("Threads"),
			      proc_number("VmRSS")};
}

/* Reload N times while clients shake hands. Without a limit, reloads would starve them. */
static void reload_under_load(unsigned n)
{
	struct load *load = load_start(CLIENTS, shake_hands);
	for (unsigned i = 0; i < n; i++) {
		reload_once(i);
		uint64_t before = load_count(load, EVEN) + load_count(load, ODD);
		while (i % 10 == 0 && load_count(load, EVEN) + load_count(load, ODD) == before)
			await_turn(deadline(), "another handshake");
	}
	load_stop(load);
	cr_assert_eq(load_count(load, FAILED), 0, "%s", log_text());
	cr_assert_gt(load_count(load, EVEN), 0);
	cr_assert_gt(load_count(load, ODD), 0);
	cr_assert_gt(load_count(load, RESUMED), 0);
	fprintf(stderr, "# %u reloads, %llu handshakes, %llu of them resumed\n", n,
		(unsigned long long)(load_count(load, EVEN) + load_count(load, ODD)),
		(unsigned long long)load_count(load, RESUMED));
	load_free(load);
	stats_await_open(0);
}

Test(storm_tls_reloads, renewals_fail_no_handshake_and_leak_nothing)
{
	unsigned reloads = is_long_form() ? LONG_RELOADS : SHORT_RELOADS;
	char config[1024];
	if (!SANITIZED(""))
		reloads /= 4;
	make_files();
	point("site.pem", "even.pem");
	point("site.key", "even.key");
	snprintf(config, sizeof(config),
		 "workers = 2\nadmin { address = \"\" }\n"
		 "tls \"site\" { certificate = \"%s/site.pem\" key = \"%s/site.key\" }\n"
		 "listen \"main\" { address = \"127.0.0.1:0\" tls = \"site\" }\n",
		 test_dir, test_dir);
	daemon_start(config);
	reload_under_load(WARM_UP);
	struct usage before = read_usage();
	reload_under_load(reloads);
	struct usage after = read_usage();
	cr_assert_eq(after.fds, before.fds, "%s", proc_fds());
	cr_assert_eq(after.threads, before.threads);
	if (SANITIZED("")) /* sanitizers delay the reuse of freed memory */
		cr_assert_leq(after.resident_kib - before.resident_kib, MAX_GROWTH_KIB);
	cr_assert_eq(status_number("reloads_ok"), (WARM_UP + reloads) / 2);
	cr_assert_eq(status_number("reloads_rejected"), (WARM_UP + reloads) / 2);
	daemon_finish();
}
