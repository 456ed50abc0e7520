#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HTTP_REPLY_MAX = 65536 };

/* Appends to a text that has enough room. */
#define APPEND(at, ...) ((at) += sprintf((at), __VA_ARGS__))

/* Neighbouring bytes differ, so that lost or swapped bytes are detected. */
static void append_value(char **at, size_t size)
{
	for (size_t i = 0; i < size; i++)
		*(*at)++ = (char)('a' + i * 7 % 26);
}

/* Each appends one request and its reply. NUMBER selects the key. */

static void compose_echo(char **request, char **reply, unsigned number, size_t size)
{
	(void)number;
	append_value(request, size);
	append_value(reply, size);
}

static void compose_memcached_get(char **request, char **reply, unsigned number, size_t size)
{
	APPEND(*request, "get key:%06u\r\n", number);
	APPEND(*reply, "VALUE key:%06u 0 %zu\r\n", number, size);
	append_value(reply, size);
	APPEND(*reply, "\r\nEND\r\n");
}

static void compose_memcached_set(char **request, char **reply, unsigned number, size_t size)
{
	APPEND(*request, "set key:%06u 0 0 %zu\r\n", number, size);
	append_value(request, size);
	APPEND(*request, "\r\n");
	APPEND(*reply, "STORED\r\n");
}

static void compose_redis_get(char **request, char **reply, unsigned number, size_t size)
{
	APPEND(*request, "*2\r\n$3\r\nGET\r\n$10\r\nkey:%06u\r\n", number);
	APPEND(*reply, "$%zu\r\n", size);
	append_value(reply, size);
	APPEND(*reply, "\r\n");
}

static void compose_redis_set(char **request, char **reply, unsigned number, size_t size)
{
	APPEND(*request, "*3\r\n$3\r\nSET\r\n$10\r\nkey:%06u\r\n$%zu\r\n", number, size);
	append_value(request, size);
	APPEND(*request, "\r\n");
	APPEND(*reply, "+OK\r\n");
}

static void compose_http(char **request, char **reply, unsigned number, size_t size)
{
	(void)reply, (void)number, (void)size;
	APPEND(*request, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

typedef void compose(char **request, char **reply, unsigned number, size_t size);

static void compose_all(struct load *load, compose *compose_one, size_t size)
{
	size_t room = load->depth * (size + 128) + 1;
	char *request, *reply;

	free(load->request);
	free(load->reply);
	request = load->request = malloc(room);
	reply = load->reply = malloc(room);
	if (!request || !reply)
		die("cannot allocate %zu messages of %zu bytes", load->depth, size);
	for (unsigned i = 0; i < load->depth; i++)
		compose_one(&request, &reply, i, size);
	load->request_size = (size_t)(request - load->request);
	load->reply_size = (size_t)(reply - load->reply);
}

/* Receive exactly SIZE bytes. */
static bool receive_all(struct channel *c, char *bytes, size_t size)
{
	size_t received = 0;
	ssize_t n = 1;

	while (received < size && (n = channel_receive(c, bytes + received, size - received)) > 0)
		received += (size_t)n;
	return received == size;
}

static bool open_and_send(struct channel *c, const struct load *load, size_t size)
{
	*c = (struct channel){.fd = -1, .kind = load->kind};
	return channel_open(c, load->port, 0, true) &&
	       channel_send(c, load->request, size) == (ssize_t)size;
}

/* Send the request once and expect the reply: the keys have values then. */
static void exchange_once(const struct load *load, const char *protocol)
{
	char *reply = malloc(load->reply_size);
	struct channel c;

	if (!reply || !open_and_send(&c, load, load->request_size) ||
	    !receive_all(&c, reply, load->reply_size) ||
	    memcmp(reply, load->reply, load->reply_size) != 0)
		diex("%s on port %d: cannot set the values", protocol, load->port);
	free(reply);
	channel_free(&c);
}

/*
 * The header fields of a server are its own, so ask for the reply. The clients skip the date in it,
 * which changes.
 */
static void learn_http_reply(struct load *load)
{
	char *reply = calloc(1, HTTP_REPLY_MAX), *body = NULL, *date;
	size_t received = 0, size = HTTP_REPLY_MAX - 1;
	struct channel c;

	if (!reply || !open_and_send(&c, load, load->request_size / load->depth))
		die("no HTTP server on port %d", load->port);
	while (received < size && receive_all(&c, reply + received, 1)) {
		received++;
		body = body ? body : strstr(reply, "\r\n\r\n");
		if (body && size == HTTP_REPLY_MAX - 1) {
			const char *length = strcasestr(reply, "\r\nContent-Length:");

			size = received + (length ? strtoul(length + 17, NULL, 10) : 0);
		}
	}
	channel_free(&c);
	if (!body || received != size || strncmp(reply, "HTTP/1.1 200 ", 13) != 0)
		diex("no HTTP reply with status 200 on port %d", load->port);
	date = strcasestr(reply, "\r\nDate:");
	if (date) {
		load->skip_from = (size_t)(date + 7 - reply);
		load->skip_to = load->skip_from + strcspn(date + 7, "\r");
	}
	free(load->reply);
	load->reply_size = size * load->depth;
	load->reply = malloc(load->reply_size);
	if (!load->reply)
		die("cannot allocate %zu bytes", load->reply_size);
	for (size_t i = 0; i < load->depth; i++)
		memcpy(load->reply + i * size, reply, size);
	free(reply);
}

static const struct protocol {
	const char *name;
	compose *compose, *prepare;
} protocols[] = {
	{"echo", compose_echo, NULL},
	{"memcached-get", compose_memcached_get, compose_memcached_set},
	{"memcached-set", compose_memcached_set, NULL},
	{"redis-get", compose_redis_get, compose_redis_set},
	{"redis-set", compose_redis_set, NULL},
	{"http", compose_http, NULL},
};

void load_compose(struct load *load, const char *name, size_t size)
{
	const struct protocol *p = protocols;

	while (p < protocols + sizeof(protocols) / sizeof(*protocols) && strcmp(p->name, name) != 0)
		p++;
	if (p == protocols + sizeof(protocols) / sizeof(*protocols))
		diex("-k = \"%s\": unknown protocol", name);
	if (p->prepare) {
		compose_all(load, p->prepare, size);
		exchange_once(load, name);
	}
	compose_all(load, p->compose, size);
	if (p->compose == compose_http)
		learn_http_reply(load);
}
