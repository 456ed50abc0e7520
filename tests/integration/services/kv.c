/*
 * A key-value store: get, set, delete and stats of memcached's text protocol. All workers share
 * one table, under a lock that is held for one command. A command line is shorter than 1 KiB.
 * Expiration times are rejected.
 */
#include "service.h"

#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
	char key[251]; /* first, so that tfind(3) can search with a plain key */
	unsigned flags;
	size_t size;
	char value[]; /* with \r\n */
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *items; /* tsearch(3) */
static size_t count, memory;

static const struct service_option options[] = {{"memory", OPTION_NUMBER, 0, "67108864", 0,
						 1LL << 40, "bytes", NULL, false,
						 "All values together; beyond it nothing is set"},
						{0}};
static const struct service_metric metrics[] = {
	{"skeld_kv_commands_total", METRIC_COUNTER, "Commands answered", "kv", "commands"}, {0}};

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static bool drop(const char *key)
{
	struct item **at = tfind(key, &items, compare), *old = at ? *at : NULL;
	if (!old)
		return false;
	tdelete(key, &items, compare);
	count--, memory -= old->size;
	free(old);
	return true;
}

static bool set(const struct item *head, const char *value, const int64_t *most)
{
	drop(head->key); /* also if the new value is rejected, as memcached does */
	bool fits = memory + head->size <= (size_t)*most;
	struct item *i = fits ? malloc(sizeof(*i) + head->size + 2) : NULL;
	if (!i || !tsearch(memcpy(i, head, sizeof(*i)), &items, compare))
		return free(i), false;
	memcpy(i->value, value, i->size + 2);
	return count++, memory += i->size, true;
}

/* LINE and N bytes behind it. Returns the beginning of the next line, NULL: the value is
 * incomplete. */
static const char *command(struct connection *c, char *line, const char *at, size_t n, char *answer)
{
	struct item new = {0}, **i;
	char quiet[8] = "", *next = NULL;
	long until;
	if (sscanf(line, "set %250s %u %ld %zu %7s", new.key, &new.flags, &until, &new.size,
		   quiet) > 3) {
		if (new.size > SIZE_MAX / 2 || n < new.size + 2)
			return NULL;
		bool done = !until && set(&new, at, worker_config(connection_worker(c)));
		strcpy(answer, *quiet ? "" : done ? "STORED\r\n" : "SERVER_ERROR not stored\r\n");
		return at + new.size + 2;
	}
	const char *name = strtok_r(line, " ", &next), *key = strtok_r(NULL, " ", &next);
	bool version = name && strcmp(name, "version") == 0; /* memcached's clients send it first */
	strcpy(answer, version ? "VERSION 1.0.0\r\n" : "ERROR\r\n");
	if (key && strcmp(name, "delete") == 0)
		strcpy(answer, drop(key) ? "DELETED\r\n" : "NOT_FOUND\r\n");
	else if (name && strcmp(name, "stats") == 0)
		sprintf(answer, "STAT curr_items %zu\r\nSTAT bytes %zu\r\nEND\r\n", count, memory);
	for (; key && strcmp(name, "get") == 0; key = strtok_r(NULL, " ", &next)) {
		if ((i = tfind(key, &items, compare))) {
			sprintf(answer, "VALUE %s %u %zu\r\n", key, (*i)->flags, (*i)->size);
			connection_write(c, answer, strlen(answer));
			connection_write(c, (*i)->value, (*i)->size + 2);
		}
		strcpy(answer, "END\r\n");
	}
	return at;
}

static size_t kv_data(struct connection *c, const char *bytes, size_t n)
{
	char line[1024], answer[512];
	const char *at = bytes, *after = bytes + n, *end, *next;
	for (int full = 0; !full && (end = memchr(at, '\n', (size_t)(after - at))); at = next) {
		snprintf(line, sizeof(line), "%.*s", end - at < 1024 ? (int)(end - at) : 0, at);
		line[strcspn(line, "\r")] = '\0';
		pthread_mutex_lock(&lock);
		next = command(c, line, end + 1, (size_t)(after - end - 1), answer);
		pthread_mutex_unlock(&lock);
		if (!next)
			break;
		worker_count(connection_worker(c), 0, 1);
		full = connection_write(c, answer,
					strlen(answer)); /* return: the rest is offered again */
	}
	return (size_t)(at - bytes);
}

__attribute__((destructor)) static void forget(void)
{
	tdestroy(items, free);
}

const struct service service = {"kv",
				options,
				sizeof(int64_t),
				metrics,
				.data = kv_data,
				.probe = "get probe\r\n",
				.answer = "END\r\n"};
