/*
 * Example: a key-value store that speaks memcached's text protocol, see protocol.txt of memcached.
 * It shows state that all workers share (items.h), and commands that are parsed in place.
 *
 * Unlike memcached, a value has to fit into limits.buffer, and no live item is discarded.
 */
#include "kv_parser.h"
#include "service.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MONTH = 30 * 24 * 3600 };

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
struct request {
	struct connection *connection;
	struct kv_command command;
	struct word received; /* behind the line: at first the value, then further commands */
	size_t used;	      /* bytes of the value and its line end */
	char text[128];	      /* room for an answer */
};

static size_t limit_of(const struct request *r)
{
	const int64_t *limit = worker_config(connection_worker(r->connection));
	return (size_t)*limit;
}

/* The time of items_now(). The command has seconds from now, or a UNIX time if they are more than a
 * month. */
static int64_t expires_of(const struct kv_command *m)
{
	int64_t left = m->expiry <= MONTH ? m->expiry : m->expiry - time(NULL);
	return !m->expiry ? 0 : left <= 0 ? -1 : items_now() + left;
}

/* get KEY..., gets KEY... */
static void write_item(struct request *r, const struct item *i)
{
	struct word answer = item_answer(i);
	if (r->command.verb == GETS) { /* insert the number into the first line */
		connection_write(r->connection, answer.at, i->head - 2);
		int n = snprintf(r->text, sizeof(r->text), " %llu", (unsigned long long)i->number);
		connection_write(r->connection, r->text, (size_t)n);
		answer = (struct word){answer.at + i->head - 2, i->value + 4};
	}
	connection_write(r->connection, answer.at, answer.n);
}

static const char *run_get(struct request *r)
{
	do {
		struct place p = items_lock(r->command.key);
		if (*p.at)
			write_item(r, *p.at);
		worker_count(connection_worker(r->connection), *p.at ? HITS : MISSES, 1);
		items_unlock(&p);
	} while (kv_next_key(&r->command));
	return r->command.key.n ? "CLIENT_ERROR bad command line format\r\n" : "END\r\n";
}

/* Store V, of which the head is missing. */
static const char *put(struct request *r, struct place *p, struct new_value *v, const char *answer)
{
	char head[KEY_MAX + 64], *end = mempcpy(head, "VALUE ", 6);
	end = mempcpy(end, p->key.at, p->key.n);
	end += sprintf(end, " %u %zu\r\n", v->flags, v->a.n + v->b.n);
	v->head = (struct word){head, (size_t)(end - head)};
	if (items_store(p, v, limit_of(r)))
		return answer;
	if (r->command.verb == SET && *p->at) /* like memcached: the old value is outdated */
		items_remove(p);
	return "SERVER_ERROR out of memory storing object\r\n";
}

/* set, add, replace, cas, append, prepend */
static const char *store(struct request *r, struct place *p, struct word value)
{
	const struct kv_command *m = &r->command;
	const struct item *old = *p->at;
	struct new_value v = {.a = value, .flags = (uint32_t)m->flags, .expires = expires_of(m)};
	if (m->verb == CAS && (!old || old->number != m->number))
		return old ? "EXISTS\r\n" : "NOT_FOUND\r\n";
	if (m->verb == ADD ? old != NULL : m->verb != SET && !old)
		return "NOT_STORED\r\n";
	if (m->verb == APPEND || m->verb == PREPEND) {
		v.flags = old->flags;
		v.expires = old->expires;
		v.a = m->verb == APPEND ? item_value(old) : value;
		v.b = m->verb == APPEND ? value : item_value(old);
	}
	return put(r, p, &v, "STORED\r\n");
}

static const char *run_store(struct request *r)
{
	size_t size = (size_t)r->command.size; /* below 2^31 */
	if (r->received.n < size + 2)
		return NULL;
	r->used = size + 2;
	if (memcmp(r->received.at + size, "\r\n", 2) != 0)
		return "CLIENT_ERROR bad data chunk\r\n";
	struct place p = items_lock(r->command.key);
	const char *answer = store(r, &p, (struct word){r->received.at, size});
	items_unlock(&p);
	return answer;
}

/* incr, decr */
static const char *count(struct request *r, struct place *p)
{
	const struct item *i = *p->at;
	uint64_t n, delta = r->command.number;
	if (!kv_number(item_value(i), UINT64_MAX, &n))
		return "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
	n = r->command.verb == INCR ? n + delta : n > delta ? n - delta : 0;
	size_t size = (size_t)sprintf(r->text, "%llu\r\n", (unsigned long long)n) - 2;
	struct new_value v = {.a = {r->text, size}, .flags = i->flags, .expires = i->expires};
	return put(r, p, &v, r->text);
}

/* incr, decr, touch, delete */
static const char *run_change(struct request *r)
{
	const char *answer = "NOT_FOUND\r\n";
	struct place p = items_lock(r->command.key);
	if (*p.at && r->command.verb == TOUCH) {
		(*p.at)->expires = expires_of(&r->command);
		answer = "TOUCHED\r\n";
	} else if (*p.at && r->command.verb == DELETE) {
		items_remove(&p);
		answer = "DELETED\r\n";
	} else if (*p.at) {
		answer = count(r, &p);
	}
	items_unlock(&p);
	return answer;
}

static const char *run_flush(struct request *r)
{
	items_flush(expires_of(&r->command));
	return "OK\r\n";
}

static const char *run_verbosity(struct request *r)
{
	(void)r;
	return "OK\r\n";
}

static const char *run_stats(struct request *r)
{
	snprintf(r->text, sizeof(r->text),
		 "STAT curr_items %zu\r\nSTAT bytes %zu\r\nSTAT limit_maxbytes %zu\r\nEND\r\n",
		 items_count(), items_bytes(), limit_of(r));
	return r->text;
}

static const char *run_version(struct request *r)
{
	(void)r;
	return "VERSION 1.0.0\r\n";
}

static const char *run_quit(struct request *r)
{
	connection_close(r->connection);
	return "";
}

static const char *(*const runs[N_VERBS])(struct request *r) = {
	[GET] = run_get,	 [GETS] = run_get,
	[SET] = run_store,	 [ADD] = run_store,
	[REPLACE] = run_store,	 [CAS] = run_store,
	[APPEND] = run_store,	 [PREPEND] = run_store,
	[INCR] = run_change,	 [DECR] = run_change,
	[TOUCH] = run_change,	 [DELETE] = run_change,
	[FLUSH_ALL] = run_flush, [VERBOSITY] = run_verbosity,
	[STATS] = run_stats,	 [VERSION] = run_version,
	[QUIT] = run_quit};

/*
 * Run all complete commands. Stop when connection_write() reports that the peer reads too slowly:
 * unconsumed bytes are offered again.
 */
static size_t kv_data(struct connection *c, const char *bytes, size_t n)
{
	struct request r = {.connection = c};
	const char *at = bytes, *end = bytes + n, *newline;
	int full = 0;
	while (!full && (newline = memchr(at, '\n', (size_t)(end - at)))) {
		r.received = (struct word){newline + 1, (size_t)(end - newline - 1)};
		r.used = 0;
		bool has_cr = newline > at && newline[-1] == '\r';
		const char *answer = kv_parse(&r.command, at, newline - has_cr);
		if (!answer)
			answer = runs[r.command.verb](&r);
		if (!answer)
			break;
		at = newline + 1 + r.used;
		worker_count(connection_worker(c), COMMANDS, 1);
		if (!r.command.noreply)
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
