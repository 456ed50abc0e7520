/*
 * TLS for connections: the certificates of a configuration, and one session for each connection.
 *
 * A session is a filter between the bytes of the network and those of the service. It reads from
 * and writes to memory only (struct tls_io); the caller owns the socket, and receives and sends as
 * without TLS. A session therefore never waits, and OpenSSL never has to repeat a write. All bytes
 * of one recv(2) go through the session at once, so that no decrypted bytes stay in it.
 *
 * struct tls_sites has the certificates, keys and settings of all tls sections. It is immutable and
 * reference-counted, and part of a snapshot. A session keeps the parts that it needs: a reload that
 * renews a certificate changes no open session.
 *
 * Without -DSKELD_TLS=ON, this file supplies functions that do nothing: no configuration has a tls
 * section then.
 */
#ifndef SKELD_TLS_H
#define SKELD_TLS_H

#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls_sites;  /* of one configuration */
struct tls_server; /* the sites of one listener: the client's server name selects one */

/* How a handshake ended, in the order of tls_results[]. */
enum tls_result { TLS_FULL, TLS_RESUMED, TLS_FAILED, TLS_NOT_TLS, TLS_TIMEOUT, N_TLS_RESULTS };
extern const char *const tls_results[N_TLS_RESULTS];

/* Of one connection. The caller may read the first fields. */
struct tls_session {
	enum tls_result result; /* valid once `open` or `broken` */
	bool open;		/* the handshake is complete */
	bool tls13;		/* its version, valid once `open` */
	bool broken;		/* it was TLS_BROKEN, or memory is short: nothing can be sent */
	struct ssl_st *ssl;	/* NULL until the first byte arrives */

	/* Private to data/tls_session.c. */
	struct bio_st *bio;		 /* of `ssl` */
	const struct tls_server *server; /* NULL once the handshake is complete */
	bool answered;			 /* the client's hello was complete */
	bool ended;			 /* close_notify was sent */
	char *error, *peer_name;	 /* NULL: none */
};

/*
 * The buffers of one thread, for all of its sessions. `plain` has what tls_session_receive() has
 * decrypted, valid until the next call. `out` collects what is to be sent: the caller sends it and
 * sets n_out to 0 before it uses another session.
 */
struct tls_io {
	char *plain;
	size_t n_plain, plain_size;
	char *out;
	size_t n_out, out_size;
	const char *in; /* private: received, not yet read by OpenSSL */
	size_t n_in;
};

enum tls_status {
	TLS_OPEN,     /* go on; before the end of the handshake, too */
	TLS_PEER_END, /* the peer sends no more (close_notify); `plain` may have its last bytes */
	TLS_BROKEN /* close the socket once `out` is sent: it has the alert. See tls_session_error()
		    */
};

#if SKELD_TLS

/*
 * Read and check the files of all tls sections of C. OLD (may be NULL) is the set in force:
 * unchanged sites are taken over from OLD. Returns a reference; or NULL, with every mistake
 * appended to E with its FILE:LINE. Accepted mistakes, for example a certificate that expires soon,
 * are appended to WARNINGS. May block on a file system: for a helper thread.
 */
struct tls_sites *tls_sites_load(const struct config *c, const struct tls_sites *old,
				 struct errors *warnings, struct errors *e);

/* Any thread. S may be NULL. The thread that drops the last reference frees the set. */
struct tls_sites *tls_sites_ref(struct tls_sites *s);
void tls_sites_unref(struct tls_sites *s);

/* The server of listen section number I of the configuration, or of the admin server. NULL: without
 * TLS. Valid as long as S. */
const struct tls_server *tls_sites_listen(const struct tls_sites *s, size_t i);
const struct tls_server *tls_sites_admin(const struct tls_sites *s);

/* The tls sections, for metrics: the titles, and when the first certificate of its chain expires,
 * in seconds since the epoch. S may be NULL: no section. */
size_t tls_sites_n(const struct tls_sites *s);
const char *const *tls_sites_titles(const struct tls_sites *s);
int64_t tls_sites_expiry(const struct tls_sites *s, size_t i);

/* Log which certificates of S differ from those of OLD. Both may be NULL. Control thread. */
void tls_sites_log(const struct tls_sites *s, const struct tls_sites *old);

/*
 * Prepare OpenSSL. tls_sites_load() calls it, and nothing else of OpenSSL is called before: a
 * daemon without a tls section does not pay for it. At the start, this is before privileges are
 * dropped, so that the configuration of OpenSSL is readable. Returns false if memory is short. Any
 * thread, any number of times.
 */
bool tls_init(void);

/* The version of the library that is used, "3.0.17", for -V. */
const char *tls_library(void);

/* One session for an accepted connection. Small until the first byte arrives. Returns NULL if
 * memory is short. A session and the io that it uses belong to one thread. */
struct tls_session *tls_session_new(const struct tls_server *server);
void tls_session_free(struct tls_session *s); /* S may be NULL */

/* The connection has ended: free all but the name of the peer. */
void tls_session_close(struct tls_session *s);

/* MAX is the most bytes that one call of tls_session_receive() passes. */
bool tls_io_init(struct tls_io *io, size_t max);
void tls_io_free(struct tls_io *io);

/*
 * Pass N received bytes, all that one recv(2) has returned. Sets io->plain and io->n_plain to the
 * decrypted bytes, and appends answers of the protocol to io->out.
 */
enum tls_status tls_session_receive(struct tls_session *s, struct tls_io *io, const char *bytes,
				    size_t n);

/* Append N encrypted BYTES to io->out. Returns false if memory is short. */
bool tls_session_send(struct tls_session *s, struct tls_io *io, const void *bytes, size_t n);

/* Append close_notify to io->out, once, and only if the handshake is complete and no error has
 * occurred. The session receives still. */
void tls_session_end(struct tls_session *s, struct tls_io *io);

/* The memory that it needs, in KiB, for limits.memory. */
uint32_t tls_session_kib(const struct tls_session *s);

/* Why a session is TLS_BROKEN, in plain words, for the log. */
const char *tls_session_error(const struct tls_session *s);

/* The subject of the client's verified certificate, "CN=a,O=b" (RFC 2253), "" without one. Valid as
 * long as S. */
const char *tls_session_peer_name(struct tls_session *s);

#else

static inline struct tls_sites *tls_sites_ref(struct tls_sites *s)
{
	return s;
}
static inline void tls_sites_unref(struct tls_sites *s)
{
	(void)s;
}
static inline struct tls_sites *tls_sites_load(const struct config *c, const struct tls_sites *old,
					       struct errors *warnings, struct errors *e)
{
	(void)c;
	(void)old;
	(void)warnings;
	(void)e;
	return NULL;
}
static inline void tls_sites_log(const struct tls_sites *s, const struct tls_sites *old)
{
	(void)s;
	(void)old;
}
static inline const struct tls_server *tls_sites_listen(const struct tls_sites *s, size_t i)
{
	(void)s;
	(void)i;
	return NULL;
}
static inline const struct tls_server *tls_sites_admin(const struct tls_sites *s)
{
	(void)s;
	return NULL;
}
static inline const char *const *tls_sites_titles(const struct tls_sites *s)
{
	(void)s;
	return NULL;
}
static inline int64_t tls_sites_expiry(const struct tls_sites *s, size_t i)
{
	(void)s;
	(void)i;
	return 0;
}
static inline size_t tls_sites_n(const struct tls_sites *s)
{
	(void)s;
	return 0;
}
static inline struct tls_session *tls_session_new(const struct tls_server *server)
{
	(void)server;
	return NULL;
}
static inline void tls_session_free(struct tls_session *s)
{
	(void)s;
}
static inline void tls_session_close(struct tls_session *s)
{
	(void)s;
}
static inline bool tls_io_init(struct tls_io *io, size_t max)
{
	(void)io;
	(void)max;
	return false;
}
static inline void tls_io_free(struct tls_io *io)
{
	(void)io;
}
static inline enum tls_status tls_session_receive(struct tls_session *s, struct tls_io *io,
						  const char *bytes, size_t n)
{
	(void)s;
	(void)io;
	(void)bytes;
	(void)n;
	return TLS_BROKEN;
}
static inline bool tls_session_send(struct tls_session *s, struct tls_io *io, const void *bytes,
				    size_t n)
{
	(void)s;
	(void)io;
	(void)bytes;
	(void)n;
	return false;
}
static inline void tls_session_end(struct tls_session *s, struct tls_io *io)
{
	(void)s;
	(void)io;
}
static inline uint32_t tls_session_kib(const struct tls_session *s)
{
	(void)s;
	return 0;
}
static inline const char *tls_session_error(const struct tls_session *s)
{
	(void)s;
	return "";
}
static inline const char *tls_session_peer_name(struct tls_session *s)
{
	(void)s;
	return "";
}

#endif
#endif
