#include "base/account.h"

#include "base/errors.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* UINT32_MAX is no id: chown(2) and setresuid(2) take it as "no change". */
static bool parse_id(const char *text, uint32_t *id)
{
	errno = 0;
	unsigned long long n = strtoull(text, NULL, 10);
	*id = (uint32_t)n;
	return *text && !text[strspn(text, "0123456789")] && !errno && n < UINT32_MAX;
}

/* getpwnam(3) and getgrnam(3) return different errors for "not found". */
static int lookup_error(int error)
{
	return errors_is_transient(error) ? -error : -ENOENT;
}

int account_find_user(const char *name, struct account *a)
{
	uint32_t id = 0;
	bool is_id = parse_id(name, &id);
	errno = 0;
	const struct passwd *user = getpwnam(name);
	if (!user && is_id && !errors_is_transient(errno)) {
		errno = 0;
		user = getpwuid(id);
	}
	int error = lookup_error(errno);
	if (!user && (!is_id || error != -ENOENT))
		return error;
	*a = user ? (struct account){user->pw_uid, user->pw_gid, ""} : (struct account){id, id, ""};
	if (user)
		snprintf(a->login, sizeof(a->login), "%s", user->pw_name);
	return 0;
}

int account_find_group(const char *name, gid_t *gid)
{
	uint32_t id = 0;
	bool is_id = parse_id(name, &id);
	errno = 0;
	const struct group *group = getgrnam(name);
	int error = lookup_error(errno);
	if (!group && (!is_id || error != -ENOENT))
		return error;
	*gid = group ? group->gr_gid : id;
	return 0;
}
