/*
 * Example: a subset of Redis, with strings only and without expiry. It speaks RESP2, the protocol
 * of Redis, and accepts inline commands without quotes.
 *
 * It shows a binary protocol that is parsed in place, and state that all workers share. The items
 * are in one hash table of a fixed size. Each lock protects every STRIPES-th bucket, so that
 * workers rarely wait for each other; a command with several keys is not atomic. An item holds its
 * answer to GET, so that nothing is formatted then.
 *
 * A request has to fit into limits.buffer. See kv.c for items that expire.
 */
#include "service.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { STRIPES = 256, BUCKETS = STRIPES * 1024, WORDS_MAX = 1024, BULK_MAX = 512 << 20 };

struct word {
	const char *at;
	size_t n;
};

struct item {
	struct item *next; /* in the bucket */
	uint64_t hash;
	size_t bytes, key, head, value; /* of all, and of the parts of `text` */
	char text[];			/* the key, "$SIZE\r\n", the value, "\r\n" */
};

static pthread_mutex_t locks[STRIPES] = {[0 ... STRIPES - 1] = PTHREAD_MUTEX_INITIALIZER};
static struct item *buckets[BUCKETS]; /* locks[i % STRIPES] protects buckets[i] */
static _Atomic size_t n_items, memory;

static const struct service_option options[] = {{.name = "memory",
						 .type = OPTION_NUMBER,
						 .default_value = "67108864",
						 .max = 1LL << 40,
						 .unit = "bytes",
						 .help = "Limit of all items together"},
						{0}};

enum { COMMANDS, HITS, MISSES };
static const struct service_metric metrics[] = {
	[COMMANDS] = {"skeld_resp_commands_total", METRIC_COUNTER, "Commands", "resp", "commands"},
	[HITS] = {"skeld_resp_hits_total", METRIC_COUNTER, "Keys that GET found", "resp", "hits"},
	[MISSES] = {"skeld_resp_misses_total", METRIC_COUNTER, "Keys not found", "resp", "misses"},
	{0}};

/* A request. A function run_*() answers it and returns the result of connection_write(). */
struct request {
	struct connection *connection;
	int variant; /* from the table of commands */
	size_t n;    /* words, the name included */
	struct word word[WORDS_MAX];
};

/* Parsing. */

enum { INCOMPLETE = 0, MALFORMED = -1 };

/* Skip TYPE, a number up to MAX and a line end at *AT. Returns 1, or INCOMPLETE or MALFORMED. */
static int parse_length(const char **at, const char *end, char type, size_t max, size_t *length)
{
	const char *p = *at;
	if (p < end && *p++ != type)
		return MALFORMED;
	for (*length = 0; p < end && *p >= '0' && *p <= '9' && *length <= max; p++)
		*length = *length * 10 + (size_t)(*p - '0');
	if (*length > max)
		return MALFORMED;
	if (end - p < 2)
		return INCOMPLETE;
	bool valid = p > *at + 1 && p[0] == '\r' && p[1] == '\n';
	*at = p + 2;
	return valid ? 1 : MALFORMED;
}

/* An array of bulk strings: "*2\r\n$3\r\nGET\r\n$1\r\na\r\n". Returns the length of the request, or
 * INCOMPLETE or MALFORMED. */
static ssize_t parse_array(struct request *r, const char *bytes, size_t n)
{
	const char *at = bytes, *end = bytes + n;
	int result = parse_length(&at, end, '*', WORDS_MAX, &r->n);
	for (struct word *w = r->word; result == 1 && w < r->word + r->n; w++) {
		result = parse_length(&at, end, '$', BULK_MAX, &w->n);
		if (result != 1)
			return result;
		if ((size_t)(end - at) < w->n + 2)
			return INCOMPLETE;
		w->at = at;
		at += w->n + 2;
		result = at[-2] == '\r' && at[-1] == '\n' ? 1 : MALFORMED;
	}
	return result == 1 ? at - bytes : result;
}

/* A line of words. */
static ssize_t parse_inline(struct request *r, const char *bytes, size_t n)
{
	const char *end = memchr(bytes, '\n', n), *at = bytes;
	if (!end)
		return INCOMPLETE;
	for (r->n = 0; at < end;) {
		size_t length = strcspn(at, " \r\n");
		if (length && r->n == WORDS_MAX)
			return MALFORMED;
		if (length)
			r->word[r->n++] = (struct word){at, length};
		at += length + 1;
	}
	return end + 1 - bytes;
}

/* A line end or a space follows each word, so that strtoll(3) needs no copy. */
static bool parse_integer(struct word w, int64_t *value)
{
	char *end;
	if (!w.n || *w.at == '+' || *w.at <= ' ')
		return false;
	errno = 0;
	*value = strtoll(w.at, &end, 10);
	return end == w.at + w.n && !errno;
}

static bool is(struct word w, const char *name)
{
	return w.n == strlen(name) && strncasecmp(w.at, name, w.n) == 0;
}

/* The table. */

/* Lock the stripe of the key. Returns the hash of the key, which is FNV-1a. */
static uint64_t lock(struct word key)
{
	uint64_t hash = 0xcbf29ce484222325;
	for (size_t i = 0; i < key.n; i++)
		hash = (hash ^ (unsigned char)key.at[i]) * 0x100000001b3;
	pthread_mutex_lock(&locks[hash % STRIPES]);
	return hash;
}

static void unlock(uint64_t hash)
{
	pthread_mutex_unlock(&locks[hash % STRIPES]);
}

/* The link to the item with this key, or the end of the bucket. The caller holds the lock. */
static struct item **find(uint64_t hash, struct word key)
{
	struct item **at = &buckets[hash % BUCKETS];
	for (const struct item *i; (i = *at); at = &(*at)->next)
		if (i->hash == hash && i->key == key.n && memcmp(i->text, key.at, key.n) == 0)
			break;
	return at;
}

static void remove_item(struct item **at)
{
	struct item *i = *at;
	*at = i->next;
	n_items--;
	memory -= i->bytes;
	free(i);
}

/* Store VALUE in place of *AT, which find() has returned. Returns false if there is no memory. */
static bool store(const struct request *r, struct item **at, uint64_t hash, struct word value)
{
	struct word key = r->word[1];
	char head[32];
	size_t n = (size_t)snprintf(head, sizeof(head), "$%zu\r\n", value.n);
	size_t bytes = sizeof(struct item) + key.n + n + value.n + 2,
	       freed = *at ? (*at)->bytes : 0;
	const int64_t *limit = worker_config(connection_worker(r->connection));
	struct item *i = memory + bytes <= (size_t)*limit + freed ? malloc(bytes) : NULL;
	if (!i)
		return false;
	*i = (struct item){NULL, hash, bytes, key.n, n, value.n};
	memcpy(i->text, key.at, key.n);
	memcpy(i->text + key.n, head, n);
	memcpy(i->text + key.n + n, value.at, value.n);
	memcpy(i->text + key.n + n + value.n, "\r\n", 2);
	n_items++;
	memory += bytes;
	if (*at)
		remove_item(at);
	i->next = *at;
	*at = i;
	return true;
}

/* Commands. */

static const char no_memory[] = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
static const char no_integer[] = "-ERR value is not an integer or out of range\r\n";
static const char syntax_error[] = "-ERR syntax error\r\n";

static int reply(struct request *r, const char *text)
{
	return connection_write(r->connection, text, strlen(text));
}

static int reply_integer(struct request *r, int64_t value)
{
	char text[32];
	snprintf(text, sizeof(text), ":%lld\r\n", (long long)value);
	return reply(r, text);
}

static int reply_bulk(struct request *r, struct word w)
{
	char head[32];
	snprintf(head, sizeof(head), "$%zu\r\n", w.n);
	reply(r, head);
	connection_write(r->connection, w.at, w.n);
	return reply(r, "\r\n");
}

static int run_get(struct request *r)
{
	uint64_t hash = lock(r->word[1]);
	const struct item *i = *find(hash, r->word[1]);
	int result = i ? connection_write(r->connection, i->text + i->key, i->head + i->value + 2)
		       : reply(r, "$-1\r\n");
	unlock(hash);
	worker_count(connection_worker(r->connection), i ? HITS : MISSES, 1);
	return result;
}

/* SET KEY VALUE [NX | XX] */
static int run_set(struct request *r)
{
	bool nx = r->n == 4 && is(r->word[3], "NX"), xx = r->n == 4 && is(r->word[3], "XX");
	if (r->n == 4 && !nx && !xx)
		return reply(r, syntax_error);
	uint64_t hash = lock(r->word[1]);
	struct item **at = find(hash, r->word[1]);
	const char *answer = "$-1\r\n";
	if (*at ? !nx : !xx)
		answer = store(r, at, hash, r->word[2]) ? "+OK\r\n" : no_memory;
	unlock(hash);
	return reply(r, answer);
}

/* DEL KEY..., EXISTS KEY... */
enum { DEL, EXISTS };
static int run_del(struct request *r)
{
	int64_t count = 0;
	for (size_t i = 1; i < r->n; i++) {
		uint64_t hash = lock(r->word[i]);
		struct item **at = find(hash, r->word[i]);
		count += *at != NULL;
		if (*at && r->variant == DEL)
			remove_item(at);
		unlock(hash);
	}
	return reply_integer(r, count);
}

/* INCR KEY, INCRBY KEY N */
static int run_incr(struct request *r)
{
	int64_t value = 0, delta = 1;
	char text[32];
	if (r->n == 3 && !parse_integer(r->word[2], &delta))
		return reply(r, no_integer);
	uint64_t hash = lock(r->word[1]);
	struct item **at = find(hash, r->word[1]), *i = *at;
	const char *error = NULL;
	if (i && !parse_integer((struct word){i->text + i->key + i->head, i->value}, &value))
		error = no_integer;
	else if (__builtin_add_overflow(value, delta, &value))
		error = "-ERR increment or decrement would overflow\r\n";
	size_t n = (size_t)snprintf(text, sizeof(text), "%lld", (long long)value);
	if (!error && !store(r, at, hash, (struct word){text, n}))
		error = no_memory;
	unlock(hash);
	return error ? reply(r, error) : reply_integer(r, value);
}

static int run_flush(struct request *r)
{
	for (size_t stripe = 0; stripe < STRIPES; stripe++) {
		pthread_mutex_lock(&locks[stripe]);
		for (size_t b = stripe; b < BUCKETS; b += STRIPES)
			while (buckets[b])
				remove_item(&buckets[b]);
		pthread_mutex_unlock(&locks[stripe]);
	}
	return reply(r, "+OK\r\n");
}

static int run_size(struct request *r)
{
	return reply_integer(r, (int64_t)n_items);
}

static int run_info(struct request *r)
{
	char text[128];
	int n = snprintf(text, sizeof(text),
			 "# Memory\r\nused_memory:%zu\r\n"
			 "# Keyspace\r\ndb0:keys=%zu,expires=0\r\n",
			 memory, n_items);
	return reply_bulk(r, (struct word){text, (size_t)n});
}

static int run_echo(struct request *r)
{
	return r->n == 1 ? reply(r, "+PONG\r\n") : reply_bulk(r, r->word[1]);
}

static int run_select(struct request *r)
{
	return reply(r, is(r->word[1], "0") ? "+OK\r\n" : "-ERR DB index is out of range\r\n");
}

/* CONFIG GET NAME, which clients use: each value is empty. */
static int run_config(struct request *r)
{
	if (!is(r->word[1], "GET"))
		return reply(r, syntax_error);
	reply(r, "*2\r\n");
	reply_bulk(r, r->word[2]);
	return reply_bulk(r, (struct word){"", 0});
}

static int run_command(struct request *r)
{
	return reply(r, "*0\r\n");
}

static int run_client(struct request *r)
{
	return reply(r, "+OK\r\n");
}

static int run_quit(struct request *r)
{
	reply(r, "+OK\r\n");
	connection_close(r->connection);
	return -1;
}

static const struct {
	const char *name;
	size_t min, max; /* words */
	int (*run)(struct request *r);
	int variant;
} commands[] = {{"GET", 2, 2, run_get, 0},	     {"SET", 3, 4, run_set, 0},
		{"DEL", 2, WORDS_MAX, run_del, DEL}, {"EXISTS", 2, WORDS_MAX, run_del, EXISTS},
		{"INCR", 2, 2, run_incr, 0},	     {"INCRBY", 3, 3, run_incr, 0},
		{"PING", 1, 2, run_echo, 0},	     {"ECHO", 2, 2, run_echo, 0},
		{"DBSIZE", 1, 1, run_size, 0},	     {"FLUSHALL", 1, 2, run_flush, 0},
		{"SELECT", 2, 2, run_select, 0},     {"CONFIG", 3, 3, run_config, 0},
		{"INFO", 1, 2, run_info, 0},	     {"COMMAND", 1, WORDS_MAX, run_command, 0},
		{"QUIT", 1, 1, run_quit, 0},	     {"CLIENT", 2, WORDS_MAX, run_client, 0}};

static int run(struct request *r)
{
	worker_count(connection_worker(r->connection), COMMANDS, 1);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (!is(r->word[0], commands[i].name))
			continue;
		if (r->n < commands[i].min || r->n > commands[i].max)
			return reply(r, "-ERR wrong number of arguments\r\n");
		r->variant = commands[i].variant;
		return commands[i].run(r);
	}
	return reply(r, "-ERR unknown command\r\n");
}

/*
 * Run all complete requests. Stop when connection_write() reports that the peer reads too slowly:
 * what is not consumed is offered again.
 */
static size_t resp_data(struct connection *c, const char *bytes, size_t n)
{
	struct request r;
	size_t used = 0;
	r.connection = c;
	for (int full = 0; !full && used < n;) {
		ssize_t length = bytes[used] == '*' ? parse_array(&r, bytes + used, n - used)
						    : parse_inline(&r, bytes + used, n - used);
		if (length == INCOMPLETE)
			break;
		if (length == MALFORMED) {
			reply(&r, "-ERR Protocol error\r\n");
			connection_close(c);
			break;
		}
		used += (size_t)length;
		if (r.n)
			full = run(&r);
	}
	return used;
}

const struct service service = {
	.name = "resp",
	.options = options,
	.config_size = sizeof(int64_t),
	.metrics = metrics,
	.protocol = {.data = resp_data},
	.probe = "PING\r\n",
	.answer = "+PONG\r\n",
};
