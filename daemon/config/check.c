#include "config/check.h"

#include "base/account.h"
#include "base/address.h"
#include "base/log.h"
#include "base/text.h"
#include "config/option.h"
#include "config/schema.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Can only one socket have both addresses? With port 0 the kernel chooses different ports. */
static bool is_same_address(const char *one, const char *other)
{
	struct address a, b;
	return one && other && *one && *other && address_parse(one, &a) &&
	       address_parse(other, &b) && address_overlaps(&a, &b) &&
	       (address_port(&a) || a.sa.ss_family == AF_UNIX);
}

/* The file of L, or the main FILE if no file has the section. */
static const char *file_of(const struct location *l, const char *file)
{
	return l->file ? l->file : file;
}

/* Can a log never be opened there, because FILE is no file or its DIRECTORY is missing? */
static bool is_no_file(const char *file, const char *directory)
{
	struct stat st;
	if (stat(file, &st) == 0)
		return S_ISDIR(st.st_mode) || S_ISSOCK(st.st_mode);
	return errno == ENAMETOOLONG || errno == ENOTDIR ||
	       (errno == ENOENT && stat(directory, &st) < 0 && errno == ENOENT);
}

/* Another process opens the log later. Report a permanent error now. */
static void check_log_file(const struct config *c, const char *file, struct errors *e)
{
	char quoted[OPTION_QUOTED_MAX];
	const struct location *where = &c->log.location;
	int length = (int)(strrchr(c->log.file, '/') - c->log.file);
	char *directory = strndup(c->log.file, length ? (size_t)length : 1);
	if (!directory)
		errors_add_no_memory(e, file_of(where, file), where->line);
	else if (is_no_file(c->log.file, directory))
		errors_add(e, file_of(where, file), where->line,
			   "log.file = %s: expected a file in an existing directory",
			   option_quote(c->log.file, quoted));
	free(directory);
}

/* Does the service take what arrives at the address? A udp: address has no connections. */
static void check_kind(const struct config *c, const struct listen_config *l, struct errors *e)
{
	const struct location *where = &l->location;
	char quoted[OPTION_QUOTED_MAX];
	struct address a;
	if (!address_parse(l->address, &a))
		return;
	option_quote(l->address, quoted);
	if (!a.datagram && c->schema->no_connections)
		errors_add(e, where->file, where->line,
			   "listen.address = %s: expected udp:host:port, the service takes no "
			   "connections",
			   quoted);
	if (!a.datagram)
		return;
	if (!c->schema->datagrams)
		errors_add(e, where->file, where->line,
			   "listen.address = %s: expected an address without udp:, the service "
			   "takes no datagrams",
			   quoted);
	if (l->proxy)
		errors_add(e, where->file, where->line,
			   "listen.proxy = \"true\": expected \"false\" with a udp: address");
	if (l->backlog != CONFIG_BACKLOG)
		errors_add(e, where->file, where->line,
			   "listen.backlog = \"%lld\": expected the default, %d, with a udp: "
			   "address",
			   (long long)l->backlog, CONFIG_BACKLOG);
}

/* The file of a unix socket has a mode and a group. Looks up the group. */
static void check_access(struct listen_config *l, struct errors *e)
{
	const struct location *where = &l->location;
	const char *const values[] = {l->mode, l->group}, *const names[] = {"mode", "group"};
	char quoted[OPTION_QUOTED_MAX];
	struct address a;
	bool has_file = address_parse(l->address, &a) && a.sa.ss_family == AF_UNIX;
	gid_t gid = 0;
	for (size_t i = 0; i < 2; i++)
		if (*values[i] && *l->address && !has_file)
			errors_add(e, where->file, where->line,
				   "listen.%s = %s: expected \"\" with an address without unix: "
				   "(listen \"%s\")",
				   names[i], option_quote(values[i], quoted), l->title);
	int error = *l->group ? account_find_group(l->group, &gid) : 0;
	if (error) { /* it was found a moment ago */
		errors_add(e, where->file, where->line, "cannot look up listen.group = %s: %s",
			   option_quote(l->group, quoted), strerror(-error));
		e->transient = true;
	}
	l->gid = gid;
}

#if SKELD_TLS
/* Returns the section with this title, or NULL and the nearest title, which may be NULL. */
static const struct tls_config *find_tls(const struct config *c, const char *title,
					 const char **nearest)
{
	size_t best = 3;
	*nearest = NULL;
	for (size_t i = 0; i < c->n_tls; i++) {
		size_t distance = text_distance(title, c->tls[i].title);
		if (strcmp(title, c->tls[i].title) == 0)
			return &c->tls[i];
		if (distance < best && 2 * distance <= strlen(title)) {
			best = distance;
			*nearest = c->tls[i].title;
		}
	}
	return NULL;
}

/* A list of titles of tls sections, the option SECTION.tls. */
struct titles {
	char *const *title;
	const char *file, *section, *where;
	unsigned line;
};

/* Check the titles, and mark the tls sections as USED. */
static void check_titles(const struct config *c, const struct titles *t, bool used[],
			 struct errors *e)
{
	char quoted[OPTION_QUOTED_MAX], other[OPTION_QUOTED_MAX];
	const char *nearest;
	for (size_t i = 0; t->title[i]; i++) {
		const struct tls_config *found = find_tls(c, t->title[i], &nearest);
		size_t j = 0;
		while (strcmp(t->title[i], t->title[j]) != 0)
			j++;
		option_quote(t->title[i], quoted);
		if (j < i)
			errors_add(e, t->file, t->line,
				   "%s.tls = %s: expected each title only once%s", t->section,
				   quoted, t->where);
		else if (!found)
			errors_add(e, t->file, t->line,
				   "%s.tls = %s: expected the title of a tls section%s%s%s",
				   t->section, quoted, nearest ? "; did you mean " : "",
				   nearest ? option_quote(nearest, other) : "", t->where);
		else
			used[found - c->tls] = true;
	}
}

static void check_section(const struct tls_config *t, bool used, struct config *c, struct errors *e)
{
	const char *const paths[] = {t->certificate, t->key};
	static const char *const names[] = {"certificate", "key"};
	const char *file = t->location.file;
	unsigned line = t->location.line;
	for (size_t i = 0; i < 2; i++)
		if (!*paths[i])
			errors_add(e, file, line,
				   "tls.%s = \"\": expected the path of a PEM file (tls \"%s\")",
				   names[i], t->title);
	if (!used)
		errors_add(&c->warnings, file, line,
			   "tls \"%s\" is not used: expected its title in listen.tls or "
			   "admin.tls",
			   t->title);
}

static void check_tls(struct config *c, const char *file, struct errors *e)
{
	bool used[CONFIG_TLS_MAX] = {false};
	struct address a;
	char where[300], quoted[OPTION_QUOTED_MAX];
	for (size_t i = 0; i < c->n_listen; i++) {
		const struct listen_config *l = &c->listen[i];
		const struct titles t = {l->tls, file_of(&l->location, file), "listen", where,
					 l->location.line};
		snprintf(where, sizeof(where), " (listen \"%s\")", l->title);
		check_titles(c, &t, used, e);
		if (*l->tls && address_parse(l->address, &a) && a.datagram)
			errors_add(e, t.file, t.line,
				   "listen.tls = %s: expected \"\" with a udp: address%s",
				   option_quote(*l->tls, quoted), where);
	}
	check_titles(c,
		     &(struct titles){c->admin.tls, file_of(&c->admin.location, file), "admin", "",
				      c->admin.location.line},
		     used, e);
	for (size_t i = 0; i < c->n_tls; i++)
		check_section(&c->tls[i], used[i], c, e);
}
#else
static void check_tls(struct config *c, const char *file, struct errors *e)
{
	(void)c, (void)file, (void)e;
}
#endif

static void check_log_and_admin(struct config *c, const char *file, struct errors *e)
{
	char quoted[OPTION_QUOTED_MAX];
	const struct location *log_section = &c->log.location;
	if (c->log.target == LOG_TO_FILE && !*c->log.file)
		errors_add(e, file_of(log_section, file), log_section->line,
			   "log.target = \"file\": log.file is missing, expected an absolute path");
	else if (c->log.target == LOG_TO_FILE)
		check_log_file(c, file, e);
	else if (*c->log.file)
		errors_add(&c->warnings, file_of(log_section, file), log_section->line,
			   "log.file = %s has no effect: set log.target = \"file\" to use it",
			   option_quote(c->log.file, quoted));
	if (!SKELD_ADMIN && *c->admin.address)
		errors_add(e, file_of(&c->admin.location, file), c->admin.location.line,
			   "admin.address = %s: expected \"\", this build has no admin server",
			   option_quote(c->admin.address, quoted));
}

static void check_listen(struct config *c, size_t index, const char *file, struct errors *e)
{
	struct listen_config *l = &c->listen[index];
	const struct location *where = l->location.file ? &l->location : &c->admin.location;
	if (c->schema->no_connections && !c->schema->datagrams) {
		errors_add(e, l->location.file, l->location.line,
			   "listen \"%s\": expected no listen section, the service %s has no "
			   "connections",
			   l->title, c->schema->name);
		return;
	}
	check_kind(c, l, e);
	check_access(l, e);
	for (size_t i = 0; i < index; i++)
		if (is_same_address(l->address, c->listen[i].address))
			errors_add(e, l->location.file, l->location.line,
				   "listen \"%s\" and listen \"%s\" have the same address: %s",
				   l->title, c->listen[i].title, c->listen[i].address);
	if (is_same_address(l->address, c->admin.address))
		errors_add(e, file_of(where, file), where->line,
			   "listen \"%s\" and admin have the same address: %s", l->title,
			   c->admin.address);
}

void config_check(struct config *c, const char *file, struct errors *e)
{
	check_log_and_admin(c, file, e);
	for (size_t i = 0; i < c->n_listen; i++)
		check_listen(c, i, file, e);
	check_tls(c, file, e);
}

/* Returns what is wrong with section number INDEX, or NULL. */
static const char *check_table(const struct service_schema *service, const struct section *s)
{
	struct section other;
	size_t n = 0, nested = 0;
	if (!s->options || (*s->parent && s->size <= sizeof(char *)))
		return "options or size are missing";
	for (const struct service_option *o = s->options; o->name; o++, n++)
		nested += o->type == OPTION_SECTIONS;
	if (n > CONFIG_OPTIONS_MAX)
		return "more than 64 options in one section";
	if (nested > (*s->parent ? 0 : SCHEMA_NESTED_MAX))
		return "more than 8 kinds of sections, or sections inside of them";
	for (size_t i = 0; schema_section(service, i, &other); i++)
		if (i != s->index && strcmp(other.name, s->name) == 0)
			return "two sections have the same name";
	return NULL;
}

bool config_check_tables(const struct service_schema *service, const char *file, struct errors *e)
{
	struct section s;
	const char *wrong = NULL;
	for (size_t i = 0; !wrong && schema_section(service, i, &s); i++)
		wrong = check_table(service, &s);
	if (wrong)
		errors_add(e, file, 0, "the options of the service are wrong: section %s: %s",
			   s.name, wrong);
	return !wrong;
}
