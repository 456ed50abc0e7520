/*
 * Example: a key-value store that speaks memcached's text protocol, see protocol.txt of memcached.
 *
 * It shows state that all workers share. The items are in one hash table of a fixed size. Each lock
 * protects every STRIPES-th bucket, so that workers rarely wait for each other. An item holds its
 * answer to `get`, so that nothing is formatted then.
 *
 * Dead items are removed when they are found, or when a new item does not fit. Unlike memcached,
 * the store never discards a live item for a new one, and a value has to fit into limits.buffer.
 */
#include "service.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEY_MAX = 250, STRIPES = 256, BUCKETS = STRIPES * 1024, MONTH = 30 * 24 * 3600 };

static const struct word {
	const char *at;
	size_t n;
} none = {"", 0};

struct item {
	struct item *next; /* in the bucket */
	uint64_t hash;
	uint64_t unique;	  /* the number of this value, for `cas` */
	int64_t stored, expires;  /* of seconds(); expires = 0: never */
	size_t bytes, head, size; /* of all, of the first line in `text`, of the value */
	uint32_t flags, key_length;
	char text[]; /* "VALUE KEY FLAGS SIZE\r\n", the value, "\r\n" */
};

static pthread_mutex_t locks[STRIPES] = {[0 ... STRIPES - 1] = PTHREAD_MUTEX_INITIALIZER};
static struct item *buckets[BUCKETS]; /* locks[i % STRIPES] protects buckets[i] */
static _Atomic size_t n_items, memory;
static _Atomic uint64_t n_values;	     /* ever stored */
static _Atomic uint64_t flushed;	     /* by flush_all: the values up to this number */
static _Atomic int64_t flush_at = INT64_MAX; /* by flush_all DELAY: the values stored before */

static const struct service_option options[] = {{.name = "memory",
						 .type = OPTION_NUMBER,
						 .default_value = "67108864",
						 .max = 1LL << 40,
						 .unit = "bytes",
						 .help = "Limit of all items together"},
						{0}};

enum { COMMANDS, HITS, MISSES };
static const struct service_metric metrics[] = {
	[COMMANDS] = {"skeld_kv_commands_total", METRIC_COUNTER, "Commands", "kv", "commands"},
	[HITS] = {"skeld_kv_hits_total", METRIC_COUNTER, "Keys that get found", "kv", "hits"},
	[MISSES] = {"skeld_kv_misses_total", METRIC_COUNTER, "Keys not found", "kv", "misses"},
	{0}};

/* A command. A function run_*() returns the answer, NULL if the value has not arrived yet. */
struct command {
	struct connection *connection;
	int variant;	      /* from the table of commands */
	const char *at, *end; /* the words of the line that are not parsed yet */
	struct word value;    /* all that was received behind the line; the value is in front */
	size_t used;	      /* bytes of the value and its line end */
	bool noreply;
	int64_t now;
	struct word key;
	uint64_t hash;
	char text[256]; /* room for an answer */
};

static size_t limit_of(const struct command *m)
{
	const int64_t *limit = worker_config(connection_worker(m->connection));
	return (size_t)*limit;
}

/* Of a clock that never jumps. */
static int64_t seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec;
}

/* Parsing. */

static struct word next_word(struct command *m)
{
	while (m->at < m->end && *m->at == ' ')
		m->at++;
	const char *start = m->at;
	while (m->at < m->end && *m->at != ' ')
		m->at++;
	return (struct word){start, (size_t)(m->at - start)};
}

/* A line end or a space follows each word, so that strtoull(3) needs no copy. */
static bool parse_number(struct word w, uint64_t max, uint64_t *number)
{
	char *end;
	if (!w.n || *w.at < '0' || *w.at > '9')
		return false;
	errno = 0;
	*number = strtoull(w.at, &end, 10);
	return end == w.at + w.n && !errno && *number <= max;
}

static bool next_number(struct command *m, uint64_t max, uint64_t *number)
{
	return parse_number(next_word(m), max, number);
}

/* The hash is FNV-1a. */
static bool next_key(struct command *m)
{
	bool valid = true;
	m->key = next_word(m);
	m->hash = 0xcbf29ce484222325;
	for (size_t i = 0; i < m->key.n; i++) {
		valid = valid && (unsigned char)m->key.at[i] > ' ';
		m->hash = (m->hash ^ (unsigned char)m->key.at[i]) * 0x100000001b3;
	}
	return valid && m->key.n && m->key.n <= KEY_MAX;
}

/* Seconds from now, or a UNIX time if they are more than a month. Negative: expired. */
static bool next_expiry(struct command *m, int64_t *expires)
{
	struct word w = next_word(m);
	bool negative = w.n && *w.at == '-';
	uint64_t t;
	if (!parse_number((struct word){w.at + negative, w.n - negative}, INT64_MAX / 2, &t))
		return false;
	int64_t left = t <= MONTH ? (int64_t)t : (int64_t)t - time(NULL);
	*expires = !t ? 0 : negative || left <= 0 ? -1 : m->now + left;
	return true;
}

/* True at the end of the line. A last word "noreply" is part of the end. */
static bool line_ends(struct command *m)
{
	struct word w = next_word(m);
	if (w.n != 7 || memcmp(w.at, "noreply", 7) != 0)
		return !w.n;
	m->noreply = !next_word(m).n;
	return m->noreply;
}

/* The table. Callers hold the lock of the stripe. */

static void remove_item(struct item **at)
{
	struct item *i = *at;
	*at = i->next;
	n_items--;
	memory -= i->bytes;
	free(i);
}

/* The link to the item with this key, or the end of the bucket. Removes dead items on the way. */
static struct item **find(uint64_t hash, struct word key, int64_t now)
{
	struct item **at = &buckets[hash % BUCKETS], *i;
	while ((i = *at)) {
		bool expired = i->expires && i->expires <= now;
		if (expired || i->unique <= flushed || (i->stored < flush_at && flush_at <= now))
			remove_item(at);
		else if (i->hash == hash && i->key_length == key.n &&
			 memcmp(i->text + strlen("VALUE "), key.at, key.n) == 0)
			break;
		else
			at = &i->next;
	}
	return at;
}

/* Store the value, which is A and B, in place of *AT. Returns false if there is no memory. */
static bool put(struct command *m, struct item **at, uint32_t flags, int64_t expires, struct word a,
		struct word b)
{
	char head[KEY_MAX + 64];
	size_t n = (size_t)snprintf(head, sizeof(head), "VALUE %.*s %u %zu\r\n", (int)m->key.n,
				    m->key.at, flags, a.n + b.n);
	size_t bytes = sizeof(struct item) + n + a.n + b.n + 2, freed = *at ? (*at)->bytes : 0;
	struct item *i = memory + bytes <= limit_of(m) + freed ? malloc(bytes) : NULL;
	if (!i)
		return false;
	*i = (struct item){NULL,  m->hash, ++n_values, m->now, expires,
			   bytes, n,	   a.n + b.n,  flags,  (uint32_t)m->key.n};
	memcpy(i->text, head, n);
	memcpy(i->text + n, a.at, a.n);
	memcpy(i->text + n + a.n, b.at, b.n);
	memcpy(i->text + n + i->size, "\r\n", 2);
	n_items++;
	memory += bytes;
	if (*at)
		remove_item(at);
	i->next = *at;
	*at = i;
	return true;
}

/* Lock the stripe of the key. If there is no memory for BYTES, remove its dead items. */
static struct item **lock_and_find(const struct command *m, size_t bytes)
{
	pthread_mutex_lock(&locks[m->hash % STRIPES]);
	if (bytes && memory + bytes > limit_of(m))
		for (uint64_t b = m->hash % STRIPES; b < BUCKETS; b += STRIPES)
			find(b, none, m->now); /* no item has an empty key */
	return find(m->hash, m->key, m->now);
}

static const char *unlock(const struct command *m, const char *answer)
{
	pthread_mutex_unlock(&locks[m->hash % STRIPES]);
	return answer;
}

/* Commands. */

static const char bad_line[] = "CLIENT_ERROR bad command line format\r\n";
static const char no_memory[] = "SERVER_ERROR out of memory storing object\r\n";

/* Variants of the functions run_*(). */
enum { GET, GETS, SET, ADD, REPLACE, CAS, APPEND, PREPEND };
enum { INCR, DECR, TOUCH, DELETE, STATS, VERSION, QUIT };

static void write_item(struct command *m, const struct item *i)
{
	struct connection *c = m->connection;
	if (m->variant == GET) {
		connection_write(c, i->text, i->head + i->size + 2);
		return;
	}
	connection_write(c, i->text, i->head - 2);
	snprintf(m->text, sizeof(m->text), " %llu\r\n", (unsigned long long)i->unique);
	connection_write(c, m->text, strlen(m->text));
	connection_write(c, i->text + i->head, i->size + 2);
}

/* get KEY..., gets KEY... */
static const char *run_get(struct command *m)
{
	if (!next_key(m))
		return m->key.n ? bad_line : "ERROR\r\n";
	do {
		const struct item *i = *lock_and_find(m, 0);
		if (i)
			write_item(m, i);
		worker_count(connection_worker(m->connection), i ? HITS : MISSES, 1);
		unlock(m, NULL);
	} while (next_key(m));
	return m->key.n ? bad_line : "END\r\n";
}

static const char *store(struct command *m, struct item **at, uint32_t flags, int64_t expires,
			 struct word value, uint64_t unique)
{
	struct item *old = *at;
	struct word old_value = old ? (struct word){old->text + old->head, old->size} : none;
	bool stored;
	if (m->variant == CAS && (!old || old->unique != unique))
		return old ? "EXISTS\r\n" : "NOT_FOUND\r\n";
	if (m->variant == ADD ? old != NULL : m->variant != SET && !old)
		return "NOT_STORED\r\n";
	if (m->variant == APPEND)
		stored = put(m, at, old->flags, old->expires, old_value, value);
	else if (m->variant == PREPEND)
		stored = put(m, at, old->flags, old->expires, value, old_value);
	else
		stored = put(m, at, flags, expires, value, none);
	if (!stored && m->variant == SET && *at) /* like memcached: the old value is outdated */
		remove_item(at);
	return stored ? "STORED\r\n" : no_memory;
}

/* set KEY FLAGS EXPTIME SIZE [UNIQUE] [noreply], and a line with the value */
static const char *run_store(struct command *m)
{
	uint64_t flags, size, unique = 0;
	int64_t expires;
	if (!next_key(m) || !next_number(m, UINT32_MAX, &flags) || !next_expiry(m, &expires) ||
	    !next_number(m, INT32_MAX, &size) ||
	    (m->variant == CAS && !next_number(m, UINT64_MAX, &unique)) || !line_ends(m))
		return bad_line;
	if (m->value.n < size + 2)
		return NULL;
	m->used = size + 2;
	m->value.n = size;
	if (memcmp(m->value.at + size, "\r\n", 2) != 0)
		return "CLIENT_ERROR bad data chunk\r\n";
	struct item **at = lock_and_find(m, sizeof(struct item) + KEY_MAX + size);
	return unlock(m, store(m, at, (uint32_t)flags, expires, m->value, unique));
}

static const char *change(struct command *m, struct item **at, uint64_t delta)
{
	const struct item *old = *at;
	uint64_t n;
	if (!parse_number((struct word){old->text + old->head, old->size}, UINT64_MAX, &n))
		return "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
	n = m->variant == INCR ? n + delta : n > delta ? n - delta : 0;
	size_t size = (size_t)sprintf(m->text, "%llu\r\n", (unsigned long long)n) - 2;
	struct word value = {m->text, size};
	return put(m, at, old->flags, old->expires, value, none) ? m->text : no_memory;
}

/* incr KEY DELTA, decr KEY DELTA, touch KEY EXPTIME, delete KEY [0]; all with [noreply] */
static const char *run_change(struct command *m)
{
	uint64_t delta = 0;
	int64_t expires = 0;
	if (!next_key(m))
		return bad_line;
	if (m->variant <= DECR && !next_number(m, UINT64_MAX, &delta))
		return "CLIENT_ERROR invalid numeric delta argument\r\n";
	if (m->variant == TOUCH && !next_expiry(m, &expires))
		return "CLIENT_ERROR invalid exptime argument\r\n";
	if (m->variant == DELETE && m->end - m->at >= 2 && memcmp(m->at, " 0", 2) == 0)
		m->at += 2; /* old clients send a time */
	if (!line_ends(m))
		return bad_line;
	struct item **at = lock_and_find(m, 0);
	if (!*at)
		return unlock(m, "NOT_FOUND\r\n");
	if (m->variant <= DECR)
		return unlock(m, change(m, at, delta));
	if (m->variant == TOUCH)
		(*at)->expires = expires;
	else
		remove_item(at);
	return unlock(m, m->variant == TOUCH ? "TOUCHED\r\n" : "DELETED\r\n");
}

/* flush_all [DELAY] [noreply] */
static const char *run_flush(struct command *m)
{
	const char *at = m->at;
	int64_t expires = 0;
	if (!next_expiry(m, &expires))
		m->at = at;
	if (!line_ends(m))
		return bad_line;
	flush_at = expires > 0 ? expires : INT64_MAX;
	if (expires <= 0)
		flushed = n_values;
	return "OK\r\n";
}

/* verbosity LEVEL [noreply]. Like memcached, it is silent without a level, too. */
static const char *run_verbosity(struct command *m)
{
	const char *at = m->at;
	uint64_t level;
	bool has_level = next_number(m, UINT32_MAX, &level);
	if (!has_level)
		m->at = at;
	return line_ends(m) && (has_level || m->noreply) ? "OK\r\n" : bad_line;
}

/* stats, version, quit */
static const char *run_plain(struct command *m)
{
	if (next_word(m).n)
		return "ERROR\r\n";
	if (m->variant == VERSION)
		return "VERSION 1.0.0\r\n";
	if (m->variant == QUIT)
		connection_close(m->connection);
	snprintf(m->text, sizeof(m->text),
		 "STAT curr_items %zu\r\nSTAT bytes %zu\r\nSTAT limit_maxbytes %zu\r\nEND\r\n",
		 n_items, memory, limit_of(m));
	return m->text;
}

static const struct {
	const char *name;
	const char *(*run)(struct command *m);
	int variant;
} commands[] = {{"get", run_get, GET},		 {"set", run_store, SET},
		{"gets", run_get, GETS},	 {"add", run_store, ADD},
		{"replace", run_store, REPLACE}, {"cas", run_store, CAS},
		{"append", run_store, APPEND},	 {"prepend", run_store, PREPEND},
		{"incr", run_change, INCR},	 {"decr", run_change, DECR},
		{"touch", run_change, TOUCH},	 {"delete", run_change, DELETE},
		{"flush_all", run_flush, 0},	 {"verbosity", run_verbosity, 0},
		{"stats", run_plain, STATS},	 {"version", run_plain, VERSION},
		{"quit", run_plain, QUIT}};

static const char *run(struct command *m)
{
	struct word name = next_word(m);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (name.n == strlen(commands[i].name) &&
		    memcmp(name.at, commands[i].name, name.n) == 0) {
			m->variant = commands[i].variant;
			return commands[i].run(m);
		}
	return "ERROR\r\n";
}

/*
 * Run all complete commands. Stop when connection_write() reports that the peer reads too slowly:
 * what is not consumed is offered again.
 */
static size_t kv_data(struct connection *c, const char *bytes, size_t n)
{
	struct command m = {.connection = c, .now = seconds()};
	const char *at = bytes, *end;
	int full = 0;
	while (!full && (end = memchr(at, '\n', n - (size_t)(at - bytes)))) {
		m.at = at;
		m.end = end > at && end[-1] == '\r' ? end - 1 : end;
		m.value = (struct word){end + 1, n - (size_t)(end + 1 - bytes)};
		m.used = 0;
		m.noreply = false;
		const char *answer = run(&m);
		if (!answer)
			break;
		at = end + 1 + m.used;
		worker_count(connection_worker(c), COMMANDS, 1);
		if (!m.noreply)
			full = connection_write(c, answer, strlen(answer));
	}
	return (size_t)(at - bytes);
}

const struct service service = {
	.name = "kv",
	.options = options,
	.config_size = sizeof(int64_t),
	.metrics = metrics,
	.protocol.data = kv_data,
	.probe = "get probe\r\n",
	.answer = "END\r\n",
};
