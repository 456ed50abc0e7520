/*
 * Example: a key-value store with get, set, delete and stats of memcached's text protocol
 * (protocol.txt of memcached). It shows state that all workers share: one table, under a lock that
 * is held for one command. Expiration times are rejected; a command line is shorter than 1 KiB, and
 * a value has to fit into limits.buffer.
 */
#include "service.h"

#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 1024, ANSWER_MAX_BYTES = 512 };

struct item {
	char key[251]; /* the first member, so that tfind(3) can search with a plain key */
	unsigned flags;
	size_t size;
	char value[]; /* followed by \r\n */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of everything below */
static void *items;					 /* tree of struct item, tsearch(3) */
static size_t count, memory;

static const struct service_option options[] = {{.name = "memory",
						 .type = OPTION_NUMBER,
						 .default_value = "67108864",
						 .max = 1LL << 40,
						 .unit = "bytes",
						 .help = "Limit of all values together"},
						{0}};
static const struct service_metric metrics[] = {
	{"skeld_kv_commands_total", METRIC_COUNTER, "Commands answered", "kv", "commands"}, {0}};

static int compare_keys(const void *a, const void *b)
{
	return strcmp(a, b);
}

static struct item *find_item(const char *key)
{
	struct item **found = tfind(key, &items, compare_keys);
	return found ? *found : NULL;
}

static bool delete_item(const char *key)
{
	struct item *old = find_item(key);
	if (!old)
		return false;
	tdelete(key, &items, compare_keys);
	count--;
	memory -= old->size;
	free(old);
	return true;
}

/* Store HEAD with its value. If it does not fit, the old value is deleted, as memcached does. */
static bool store_item(const struct item *head, const char *value, size_t limit)
{
	delete_item(head->key);
	if (head->size > limit || memory > limit - head->size)
		return false;
	struct item *i = malloc(sizeof(*i) + head->size + 2);
	if (!i)
		return false;
	memcpy(i, head, sizeof(*i));
	memcpy(i->value, value, head->size + 2);
	if (!tsearch(i, &items, compare_keys)) {
		free(i);
		return false;
	}
	count++;
	memory += i->size;
	return true;
}

/*
 * set KEY FLAGS EXPTIME SIZE [noreply], followed by SIZE bytes and \r\n. BYTES are the N bytes
 * behind the line. Returns how many of them belong to the command, -1 if it is incomplete.
 */
static ssize_t run_set(struct connection *c, const char *line, const char *bytes, size_t n,
		       char *answer)
{
	struct item head = {0};
	char noreply[8] = "";
	long expires;
	if (sscanf(line, "set %250s %u %ld %zu %7s", head.key, &head.flags, &expires, &head.size,
		   noreply) < 4) {
		strcpy(answer, "CLIENT_ERROR bad command line format\r\n");
		return 0;
	}
	if (n < 2 || head.size > n - 2)
		return -1;
	const int64_t *limit = worker_config(connection_worker(c));
	if (memcmp(bytes + head.size, "\r\n", 2) != 0)
		strcpy(answer, "CLIENT_ERROR bad data chunk\r\n");
	else if (expires || !store_item(&head, bytes, (size_t)*limit))
		strcpy(answer, "SERVER_ERROR not stored\r\n");
	else
		strcpy(answer, "STORED\r\n");
	if (*noreply)
		*answer = '\0';
	return (ssize_t)head.size + 2;
}

/* get KEY... */
static void run_get(struct connection *c, char **words, char *answer)
{
	for (const char *key; (key = strtok_r(NULL, " ", words));) {
		const struct item *i = find_item(key);
		if (!i)
			continue;
		snprintf(answer, ANSWER_MAX_BYTES, "VALUE %s %u %zu\r\n", key, i->flags, i->size);
		connection_write(c, answer, strlen(answer));
		connection_write(c, i->value, i->size + 2);
	}
	strcpy(answer, "END\r\n");
}

/* delete KEY [0] [noreply] */
static void run_delete(char **words, char *answer)
{
	const char *key = strtok_r(NULL, " ", words), *more = strtok_r(NULL, " ", words);
	if (more && strcmp(more, "0") == 0) /* old clients send an expiration time */
		more = strtok_r(NULL, " ", words);
	bool noreply = more && strcmp(more, "noreply") == 0;
	if (!key || (more && !noreply)) {
		strcpy(answer, "CLIENT_ERROR bad command line format\r\n");
		return;
	}
	bool deleted = delete_item(key);
	strcpy(answer, noreply ? "" : deleted ? "DELETED\r\n" : "NOT_FOUND\r\n");
}

/*
 * Run the command in LINE. BYTES are the N bytes behind it. Returns how many of them belong to the
 * command, -1 if it is incomplete.
 */
static ssize_t run(struct connection *c, char *line, const char *bytes, size_t n, char *answer)
{
	if (strncmp(line, "set ", 4) == 0)
		return run_set(c, line, bytes, n, answer);
	char *words = NULL;
	const char *name = strtok_r(line, " ", &words);
	if (name && strcmp(name, "get") == 0)
		run_get(c, &words, answer);
	else if (name && strcmp(name, "delete") == 0)
		run_delete(&words, answer);
	else if (name && strcmp(name, "stats") == 0)
		snprintf(answer, ANSWER_MAX_BYTES,
			 "STAT curr_items %zu\r\nSTAT bytes %zu\r\nEND\r\n", count, memory);
	else if (name && strcmp(name, "version") == 0) /* clients of memcached send it first */
		strcpy(answer, "VERSION 1.0.0\r\n");
	else
		strcpy(answer, "ERROR\r\n");
	return 0;
}

/*
 * Run all complete commands. Stop when connection_write() reports that the peer reads too slowly:
 * what is not consumed is offered again.
 */
static size_t kv_data(struct connection *c, const char *bytes, size_t n)
{
	char line[LINE_MAX_BYTES], answer[ANSWER_MAX_BYTES];
	size_t used = 0;
	const char *end;
	for (int full = 0; !full && (end = memchr(bytes + used, '\n', n - used));) {
		size_t length = (size_t)(end - bytes) - used, next = used + length + 1;
		snprintf(line, sizeof(line), "%.*s", length < sizeof(line) ? (int)length : 0,
			 bytes + used);
		line[strcspn(line, "\r")] = '\0';
		pthread_mutex_lock(&lock);
		ssize_t more = run(c, line, bytes + next, n - next, answer);
		pthread_mutex_unlock(&lock);
		if (more < 0)
			break;
		used = next + (size_t)more;
		worker_count(connection_worker(c), 0, 1);
		full = connection_write(c, answer, strlen(answer));
	}
	return used;
}

__attribute__((destructor)) static void free_items(void)
{
	tdestroy(items, free);
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
