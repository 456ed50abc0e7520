#include "config/schema.h"

#include "config/option.h"

#include <stdlib.h>
#include <string.h>

#define AT(field)	 offsetof(struct config, field)
#define AT_LISTEN(field) offsetof(struct listen_config, field)
#define AT_TLS(field)	 offsetof(struct tls_config, field)
#define ADMIN_DEFAULT	 (SKELD_ADMIN ? "127.0.0.1:7008" : "")

static const struct service_option top[] = {
	{"workers", OPTION_NUMBER, AT(workers), "0", 0, WORKERS_MAX, "threads", NULL, true,
	 .help = "Worker threads, 0 = one per CPU that the affinity and the cgroup quota grant"},
	{"user", OPTION_USER, AT(user), "", 0, 0, NULL, NULL, true,
	 .help = "User to change to when started as root"},
	{"group", OPTION_GROUP, AT(group), "", 0, 0, NULL, NULL, true,
	 .help = "Group to change to when started as root, \"\" = the primary group of the user"},
	{"lame_duck", OPTION_NUMBER, AT(lame_duck), "0", 0, 3600, "seconds", NULL, false,
	 .help = "Time between a stop signal and the drain: the daemon still serves, but is not "
		 "ready"},
	{"drain_timeout", OPTION_NUMBER, AT(drain_timeout), "10", 0, 3600, "seconds", NULL, false,
	 .help = "Time that a drain waits for busy connections"},
	{0}};

static const struct service_option log_options[] = {
	{"level", OPTION_CHOICE, AT(log.level), "info", 0, 0, NULL,
	 "debug info notice warning error", false, .help = "Least severe lines to log"},
	{"target", OPTION_CHOICE, AT(log.target), "stderr", 0, 0, NULL, "stderr syslog file", false,
	 .help = "Destination of the log"},
	{"format", OPTION_CHOICE, AT(log.format), "text", 0, 0, NULL, "text json", false,
	 .help = "One line of text for each event, or one JSON object"},
	{"file", OPTION_PATH, AT(log.file), "", 0, 0, NULL, NULL, false,
	 .help = "Log file for target = \"file\"; each SIGHUP reopens it"},
	{0}};

static const struct service_option listen_options[] = {
	{"address", OPTION_ADDRESS, AT_LISTEN(address), "127.0.0.1:7007", 0, 0, NULL, "udp", false,
	 .help = "Address to accept connections on, or to receive datagrams on"},
	{"backlog", OPTION_NUMBER, AT_LISTEN(backlog), "1024", 1, 65535, "connections", NULL, false,
	 .help = "Connections that wait to be accepted, see listen(2)"},
	{"proxy", OPTION_FLAG, AT_LISTEN(proxy), "false", 0, 0, NULL, NULL, false,
	 .help = "Connections begin with a PROXY protocol version 2 header, which contains the "
		 "client's address; use it where only the balancer can reach the address"},
#if SKELD_TLS
	{"tls", OPTION_LIST, AT_LISTEN(tls), "", 0, 0, NULL, NULL, false,
	 .help = "Titles of tls sections: connections use TLS, and the server name that the client "
		 "sends selects a section; the first one is the default"},
#endif
	{"mode", OPTION_MODE, AT_LISTEN(mode), "", 0, 0, NULL, NULL, false,
	 .help = "Mode of the file of a unix socket, \"\" = as the umask permits"},
	{"group", OPTION_GROUP, AT_LISTEN(group), "", 0, 0, NULL, NULL, false,
	 .help = "Group of the file of a unix socket, \"\" = the group of the daemon"},
	{0}};

static const struct service_option limits[] = {
	{"connections", OPTION_NUMBER, AT(limits.connections), "10000", 1, 10000000, "connections",
	 NULL, false, .help = "Open connections, over all workers"},
	{"idle_timeout", OPTION_NUMBER, AT(limits.idle_timeout), "300", 0, 31536000, "seconds",
	 NULL, false,
	 .help = "Time without a complete request or a sent byte after which a connection is "
		 "closed, 0 = never"},
	{"buffer", OPTION_NUMBER, AT(limits.buffer), "64K", 4096, 1073741824, "bytes", NULL, false,
	 .help = "Unsent bytes on one connection above which reading from it pauses"},
	{"memory", OPTION_NUMBER, AT(limits.memory), "256M", 1048576, 1LL << 40, "bytes", NULL,
	 false,
	 .help = "Unsent and unconsumed bytes of all connections, an equal part for each worker; "
		 "above it, the connection with the most bytes is closed"},
	{"outgoing", OPTION_NUMBER, AT(limits.outgoing), "1000", 0, 10000000, "connections", NULL,
	 false, .help = "Connections that the service makes to other servers, over all workers"},
	{0}};

static const struct service_option admin[] = {
	{"address", OPTION_ADDRESS, AT(admin.address), ADMIN_DEFAULT, 0, 0, NULL, NULL, false,
	 .help = "Address that serves metrics, health and status over HTTP, without "
		 "authentication"},
#if SKELD_TLS
	{"tls", OPTION_LIST, AT(admin.tls), "", 0, 0, NULL, NULL, false,
	 .help = "Titles of tls sections, as in a listen section: HTTPS in place of HTTP"},
#endif
	{0}};

#if SKELD_TLS
static const struct service_option tls[] = {
	{"certificate", OPTION_PATH, AT_TLS(certificate), "", 0, 0, NULL, NULL, false,
	 .help = "PEM file with the certificate, followed by the certificates of its issuers"},
	{"key", OPTION_PATH, AT_TLS(key), "", 0, 0, NULL, NULL, false,
	 .help = "PEM file with the private key of the certificate"},
	{"client_ca", OPTION_PATH, AT_TLS(client_ca), "", 0, 0, NULL, NULL, false,
	 .help = "PEM file with certificates of authorities: each client needs a certificate that "
		 "one of them has issued, \"\" = clients need no certificate"},
	{"min_version", OPTION_CHOICE, AT_TLS(min_version), "1.2", 0, 0, NULL, "1.2 1.3", false,
	 .help = "Oldest version of TLS that is accepted"},
	{0}};
#endif

static const struct service_option none[] = {{0}};

static const struct section sections[] = {
	{.name = "", .options = top},
	{.name = "log", .options = log_options, .help = "The log", .location = AT(log.location)},
	{.name = "listen",
	 .options = listen_options,
	 .help = "A listening address; up to 64 sections, each with a different title",
	 .max = CONFIG_LISTEN_MAX,
	 .n = AT(n_listen),
	 .first = AT(listen),
	 .size = sizeof(struct listen_config),
	 .title = AT_LISTEN(title)},
#if SKELD_TLS
	{.name = "tls",
	 .options = tls,
	 .help = "A certificate for TLS; up to 256 sections, each with a different title",
	 .max = CONFIG_TLS_MAX,
	 .n = AT(n_tls),
	 .first = AT(tls),
	 .size = sizeof(struct tls_config),
	 .title = AT_TLS(title)},
#endif
	{.name = "limits", .options = limits, .help = "Limits of the daemon"},
	{.name = "admin",
	 .options = admin,
	 .help = "The HTTP server for operators and monitoring",
	 .location = AT(admin.location)}};
enum { FIXED = sizeof(sections) / sizeof(*sections) };
_Static_assert(FIXED + 1 + SCHEMA_NESTED_MAX <= SCHEMA_SECTIONS, "too many sections");

/* Returns the row number I of type OPTION_SECTIONS, or NULL. */
static const struct service_option *find_nested(const struct service_option *o, size_t i)
{
	for (; o && o->name; o++)
		if (o->type == OPTION_SECTIONS && i-- == 0)
			return o;
	return NULL;
}

bool schema_section(const struct service_schema *service, size_t i, struct section *s)
{
	const struct service_option *row;
	if (i >= SCHEMA_SECTIONS)
		return false;
	if (i < FIXED)
		*s = sections[i];
	else if (i == FIXED)
		*s = (struct section){.name = service->name,
				      .options = service->options ? service->options : none,
				      .help = "The service",
				      .location = AT(service_location)};
	else if ((row = find_nested(service->options, i - FIXED - 1)))
		*s = (struct section){.parent = service->name,
				      .name = row->name,
				      .options = row->options,
				      .help = row->help,
				      .max = CONFIG_NESTED_MAX,
				      .size = row->size,
				      .nested = row};
	else
		return false;
	s->index = i;
	if (!s->parent)
		s->parent = "";
	return true;
}

bool schema_find_section(const struct service_schema *service, const char *name, struct section *s)
{
	for (size_t i = 0; schema_section(service, i, s); i++)
		if (strcmp(s->name, name) == 0)
			return true;
	return false;
}

const char *schema_name(const struct section *s, const char *option,
			char out[static SCHEMA_NAME_MAX])
{
	snprintf(out, SCHEMA_NAME_MAX, "%s%s%s%s%s", s->parent, *s->parent ? "." : "", s->name,
		 option && *s->name ? "." : "", option ? option : "");
	return out;
}

const struct service_option *schema_find(const struct section *s, const char *name)
{
	for (const struct service_option *o = options_next(s->options); o; o = options_next(o + 1))
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

size_t schema_n_structs(const struct section *s, const struct config *c)
{
	if (s->nested)
		return option_sections(s->nested, c->service)->n;
	return s->max ? *(const size_t *)((uintptr_t)c + s->n) : 1;
}

/* As in strchr(3), the result is to be used as const if C is. */
void *schema_struct(const struct section *s, const struct config *c, size_t index)
{
	if (s->nested)
		return (char *)option_sections(s->nested, c->service)->item + index * s->size;
	if (s->max)
		return (void *)((uintptr_t)c + s->first + index * s->size);
	return s->index == FIXED ? c->service : (void *)(uintptr_t)c;
}

static char **title_at(const struct section *s, const struct config *c, size_t index)
{
	return (char **)((uintptr_t)schema_struct(s, c, index) + s->title);
}

const char *schema_title(const struct section *s, const struct config *c, size_t index)
{
	return s->max ? *title_at(s, c, index) : NULL;
}

struct location *schema_location(const struct section *s, const struct config *c, size_t index)
{
	if (s->max && !s->nested) /* the first member of the structure */
		return schema_struct(s, c, index);
	return s->location ? (struct location *)((uintptr_t)c + s->location) : NULL;
}

size_t schema_index(const struct section *s, const struct config *c, const char *title)
{
	size_t i = 0, n = schema_n_structs(s, c);
	while (i < n && strcmp(schema_title(s, c, i), title) != 0)
		i++;
	return i;
}

void *schema_add(const struct section *s, struct config *c, const char *title)
{
	if (s->nested)
		return option_add_section(s->nested, c->service, title);
	size_t *n = (size_t *)((uintptr_t)c + s->n);
	char **copy = title_at(s, c, *n);
	*copy = strdup(title);
	if (!*copy)
		return NULL;
	++*n;
	void *added = schema_struct(s, c, *n - 1);
	return options_init(s->options, added) ? added : NULL;
}

size_t schema_n_nested(const struct config *c)
{
	struct section s;
	size_t n = 0;
	for (size_t i = FIXED + 1; schema_section(c->schema, i, &s); i++)
		n += schema_n_structs(&s, c);
	return n;
}

void schema_clear(const struct section *s, struct config *c, size_t keep)
{
	for (size_t i = keep, n = s->nested ? 0 : schema_n_structs(s, c); i < n; i++) {
		struct location *l = schema_location(s, c, i);
		if (l)
			free(l->file);
		if (s->max)
			free(*title_at(s, c, i));
		options_clear(s->options, schema_struct(s, c, i));
		if (s->max)
			memset(schema_struct(s, c, i), 0, s->size);
	}
	if (s->max && !s->nested && keep < schema_n_structs(s, c))
		*(size_t *)((uintptr_t)c + s->n) = keep;
}
