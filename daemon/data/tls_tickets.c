/*
 * Session tickets (RFC 5077 4, RFC 8446 4.6.1): the session, encrypted with a key that only this
 * process has, is kept by the client. All contexts use the same keys; OpenSSL's own keys belong to
 * one context, and each reload would end resumption.
 *
 * The callback rotates the keys when it notices that the current one is too old, so that no timer
 * is necessary. A worker holds the lock for as long as it copies one key. A reload cannot renew the
 * keys. Their memory is kept out of core dumps and of child processes.
 */
#include "data/tls_internal.h"

#include "base/clock.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

enum { NAME_SIZE = 16, KEY_SIZE = 32, IV_SIZE = 16 };
#define ROTATION_NS (INT64_C(12) * 3600 * 1000000000)

struct ticket_key {
	unsigned char name[NAME_SIZE]; /* public, in the ticket */
	unsigned char aes[KEY_SIZE], hmac[KEY_SIZE];
	int64_t created_ns; /* CLOCK_MONOTONIC; 0: there is no key */
};

/* Global: OpenSSL passes the callback no argument of the daemon. Guarded by the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ticket_keys {
	struct ticket_key current, previous;
} * keys;		   /* in a separate mapping; never freed */
static EVP_CIPHER *cipher; /* fetched once: a fetch is slower than the encryption of a ticket */

/* The next three functions are called with the lock. */

static bool prepare(void)
{
	if (!keys) {
		void *memory = mmap(NULL, sizeof(*keys), PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			return false;
		madvise(memory, sizeof(*keys), MADV_DONTDUMP);
		madvise(memory, sizeof(*keys), MADV_DONTFORK);
		keys = memory;
	}
	if (!cipher)
		cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	return cipher;
}

static bool is_older(const struct ticket_key *k, int64_t age_ns)
{
	return !k->created_ns || now_ns() - k->created_ns >= age_ns;
}

/* Returns false if there is no random number: then the old keys stay as they are. */
static bool rotate(void)
{
	struct ticket_key new = {.created_ns = now_ns()};
	bool good = RAND_bytes(new.name, sizeof(new.name)) > 0 &&
		    RAND_priv_bytes(new.aes, sizeof(new.aes)) > 0 &&
		    RAND_priv_bytes(new.hmac, sizeof(new.hmac)) > 0;
	if (good) {
		keys->previous = keys->current;
		keys->current = new;
	}
	OPENSSL_cleanse(&new, sizeof(new));
	return good;
}

/* Copy the key that encrypts. Returns false if there is none. */
static bool copy_current(struct ticket_key *k)
{
	pthread_mutex_lock(&lock);
	bool good = !is_older(&keys->current, ROTATION_NS) || rotate();
	if (good)
		*k = keys->current;
	pthread_mutex_unlock(&lock);
	return good;
}

/* Copy the key with NAME. Sets IS_OLD if there is a newer one. Returns false if there is none. */
static bool copy_named(struct ticket_key *k, const unsigned char *name, bool *is_old)
{
	bool found = false;
	pthread_mutex_lock(&lock);
	if (is_older(&keys->current, ROTATION_NS))
		rotate();
	const struct ticket_key *const all[] = {&keys->current, &keys->previous};
	for (size_t i = 0; i < 2 && !found; i++) {
		found = !is_older(all[i], 2 * ROTATION_NS) &&
			memcmp(all[i]->name, name, NAME_SIZE) == 0;
		if (found)
			*k = *all[i];
	}
	*is_old = found && memcmp(k->name, keys->current.name, NAME_SIZE) != 0;
	pthread_mutex_unlock(&lock);
	return found;
}

static bool set_keys(const struct ticket_key *k, const unsigned char *iv, EVP_CIPHER_CTX *ctx,
		     EVP_MAC_CTX *mac, int encrypts)
{
	char digest[] = "SHA256";
	const OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end()};
	return EVP_CipherInit_ex2(ctx, cipher, k->aes, iv, encrypts, NULL) > 0 &&
	       EVP_MAC_init(mac, k->hmac, sizeof(k->hmac), parameters) > 0;
}

/*
 * SSL_CTX_set_tlsext_ticket_key_evp_cb(3). Returns 1: the keys are set; 2: the same, and the client
 * gets a new ticket; 0: a full handshake, or no ticket.
 *
 * With TLS 1.2, a client uses a ticket many times; it gets a new one only if the key has been
 * replaced. With TLS 1.3, a client uses a ticket once (RFC 8446 C.4): without a new one each time,
 * every second connection would be a full handshake.
 */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *ctx,
		     EVP_MAC_CTX *mac, int encrypts)
{
	struct ticket_key k = {0};
	bool is_old = false, good;
	if (encrypts) {
		good = copy_current(&k) && RAND_bytes(iv, IV_SIZE) > 0;
		memcpy(name, k.name, NAME_SIZE);
	} else {
		good = copy_named(&k, name, &is_old);
	}
	good = good && set_keys(&k, iv, ctx, mac, encrypts);
	OPENSSL_cleanse(&k, sizeof(k));
	bool renews = is_old || (!encrypts && SSL_version(ssl) >= TLS1_3_VERSION);
	return !good ? 0 : renews ? 2 : 1;
}

bool tls_tickets_use(SSL_CTX *context)
{
	pthread_mutex_lock(&lock);
	bool good = prepare();
	pthread_mutex_unlock(&lock);
	return good && SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket) > 0;
}
