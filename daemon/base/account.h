/*
 * Users and groups of the system, by name or by number. The look-up may ask a network service, so
 * only the configuration loader and a start use it.
 */
#ifndef SKELD_ACCOUNT_H
#define SKELD_ACCOUNT_H

#include <sys/types.h>

enum { LOGIN_MAX = 256 };

struct account {
	uid_t uid;
	gid_t gid;	       /* the user's primary group */
	char login[LOGIN_MAX]; /* the user's name; "": a number without an entry in passwd(5) */
};

/*
 * A number is the user with this name, or else with this number. Without an entry in passwd(5), its
 * primary group has the same number. Returns 0, -ENOENT, or another negative errno.
 */
int account_find_user(const char *name, struct account *a);
int account_find_group(const char *name, gid_t *gid);

#endif
