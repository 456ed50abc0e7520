/*
 * Example: a subset of Redis, with strings only and without expiry. It speaks RESP2, the protocol
 * of Redis, and accepts inline commands without quotes.
 *
 * It shows a binary protocol that is parsed in place (resp_parser.h), and state that all workers
 * share (items.h). A command with several keys is not atomic. A request has to fit into
 * limits.buffer. See kv.c for items that expire.
 */
#include "resp_parser.h"
#include "service.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

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
	const struct command *command;
	struct resp_request words; /* the first one is the name of the command */
};

struct command {
	const char *name;
	size_t min, max; /* words */
	int (*run)(struct request *r);
	const char *text; /* the answer if `run` is NULL */
};

static bool is(struct word w, const char *name)
{
	return w.n == strlen(name) && strncasecmp(w.at, name, w.n) == 0;
}

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

/* Store VALUE, and give the item the answer to GET. */
static bool store(const struct request *r, struct place *p, struct word value)
{
	char head[32];
	const int64_t *limit = worker_config(connection_worker(r->connection));
	size_t n = (size_t)snprintf(head, sizeof(head), "$%zu\r\n", value.n);
	const struct new_value v = {.head = {head, n}, .a = value};
	return items_store(p, &v, (size_t)*limit);
}

static int run_get(struct request *r)
{
	struct place p = items_lock(r->words.word[1]);
	struct word answer = *p.at ? item_answer(*p.at) : (struct word){"$-1\r\n", 5};
	int result = connection_write(r->connection, answer.at, answer.n);
	worker_count(connection_worker(r->connection), *p.at ? HITS : MISSES, 1);
	items_unlock(&p);
	return result;
}

/* SET KEY VALUE [NX | XX] */
static int run_set(struct request *r)
{
	const struct word *word = r->words.word;
	bool nx = r->words.n == 4 && is(word[3], "NX"), xx = r->words.n == 4 && is(word[3], "XX");
	if (r->words.n == 4 && !nx && !xx)
		return reply(r, syntax_error);
	struct place p = items_lock(word[1]);
	const char *answer = "$-1\r\n";
	if (*p.at ? !nx : !xx)
		answer = store(r, &p, word[2]) ? "+OK\r\n" : no_memory;
	items_unlock(&p);
	return reply(r, answer);
}

/* DEL KEY..., EXISTS KEY... */
static int count_keys(struct request *r, bool remove)
{
	int64_t count = 0;
	for (size_t i = 1; i < r->words.n; i++) {
		struct place p = items_lock(r->words.word[i]);
		count += *p.at != NULL;
		if (*p.at && remove)
			items_remove(&p);
		items_unlock(&p);
	}
	return reply_integer(r, count);
}

static int run_del(struct request *r)
{
	return count_keys(r, true);
}

static int run_exists(struct request *r)
{
	return count_keys(r, false);
}

/* INCR KEY, INCRBY KEY N */
static int run_incr(struct request *r)
{
	int64_t value = 0, delta = 1;
	char text[32];
	if (r->words.n == 3 && !resp_integer(r->words.word[2], &delta))
		return reply(r, no_integer);
	struct place p = items_lock(r->words.word[1]);
	const char *error = NULL;
	if (*p.at && !resp_integer(item_value(*p.at), &value))
		error = no_integer;
	else if (__builtin_add_overflow(value, delta, &value))
		error = "-ERR increment or decrement would overflow\r\n";
	size_t n = (size_t)snprintf(text, sizeof(text), "%lld", (long long)value);
	if (!error && !store(r, &p, (struct word){text, n}))
		error = no_memory;
	items_unlock(&p);
	return error ? reply(r, error) : reply_integer(r, value);
}

static int run_flush(struct request *r)
{
	items_flush(0);
	items_clean(); /* at once: clients of Redis expect DBSIZE 0 */
	return reply(r, "+OK\r\n");
}

static int run_size(struct request *r)
{
	return reply_integer(r, (int64_t)items_count());
}

static int run_info(struct request *r)
{
	char text[128];
	int n = snprintf(text, sizeof(text),
			 "# Memory\r\nused_memory:%zu\r\n"
			 "# Keyspace\r\ndb0:keys=%zu,expires=0\r\n",
			 items_bytes(), items_count());
	return reply_bulk(r, (struct word){text, (size_t)n});
}

static int run_echo(struct request *r)
{
	return r->words.n == 1 ? reply(r, "+PONG\r\n") : reply_bulk(r, r->words.word[1]);
}

static int run_select(struct request *r)
{
	return reply(r,
		     is(r->words.word[1], "0") ? "+OK\r\n" : "-ERR DB index is out of range\r\n");
}

/* CONFIG GET NAME, which clients use: each value is empty. */
static int run_config(struct request *r)
{
	if (!is(r->words.word[1], "GET"))
		return reply(r, syntax_error);
	reply(r, "*2\r\n");
	reply_bulk(r, r->words.word[2]);
	return reply_bulk(r, (struct word){"", 0});
}

static int run_quit(struct request *r)
{
	reply(r, "+OK\r\n");
	connection_close(r->connection);
	return -1;
}

static const struct command commands[] = {
	{"GET", 2, 2, run_get, NULL},
	{"SET", 3, 4, run_set, NULL},
	{"DEL", 2, WORDS_MAX, run_del, NULL},
	{"EXISTS", 2, WORDS_MAX, run_exists, NULL},
	{"INCR", 2, 2, run_incr, NULL},
	{"INCRBY", 3, 3, run_incr, NULL},
	{"PING", 1, 2, run_echo, NULL},
	{"ECHO", 2, 2, run_echo, NULL},
	{"DBSIZE", 1, 1, run_size, NULL},
	{"FLUSHALL", 1, 2, run_flush, NULL},
	{"SELECT", 2, 2, run_select, NULL},
	{"CONFIG", 3, 3, run_config, NULL},
	{"INFO", 1, 2, run_info, NULL},
	{"COMMAND", 1, WORDS_MAX, NULL, "*0\r\n"},
	{"CLIENT", 2, WORDS_MAX, NULL, "+OK\r\n"},
	{"QUIT", 1, 1, run_quit, NULL},
};

static int run(struct request *r)
{
	worker_count(connection_worker(r->connection), COMMANDS, 1);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		r->command = &commands[i];
		if (!is(r->words.word[0], r->command->name))
			continue;
		if (r->words.n < r->command->min || r->words.n > r->command->max)
			return reply(r, "-ERR wrong number of arguments\r\n");
		return r->command->run ? r->command->run(r) : reply(r, r->command->text);
	}
	return reply(r, "-ERR unknown command\r\n");
}

/*
 * Run all complete requests. Stop when connection_write() reports that the peer reads too slowly:
 * unconsumed bytes are offered again.
 */
static size_t resp_data(struct connection *c, const char *bytes, size_t n)
{
	struct request r; /* large: not set to zero */
	size_t used = 0;
	r.connection = c;
	for (int full = 0; !full && used < n;) {
		ssize_t length = resp_parse(&r.words, bytes + used, n - used);
		if (length == INCOMPLETE)
			break;
		if (length == MALFORMED) {
			reply(&r, "-ERR Protocol error\r\n");
			connection_close(c);
			break;
		}
		used += (size_t)length;
		if (r.words.n)
			full = run(&r);
	}
	return used;
}

const struct service service = {
	.name = "resp",
	.options = options,
	.config_size = sizeof(int64_t),
	.metrics = metrics,
	.protocol.data = resp_data,
	.probe = "PING\r\n",
	.answer = "+PONG\r\n",
};
