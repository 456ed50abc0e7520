/* base/account: users and groups by name and by number. */
#include "base/account.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

TestSuite(account, .init = fixture_enter, .fini = fixture_leave);

Test(account, names_and_numbers_are_found)
{
	struct account a;
	gid_t gid = 1;
	cr_assert_eq(account_find_user("root", &a), 0);
	cr_assert(a.uid == 0 && a.gid == 0 && strcmp(a.login, "root") == 0);
	cr_assert_eq(account_find_user("0", &a), 0);
	cr_assert(a.uid == 0 && a.gid == 0 && strcmp(a.login, "root") == 0);
	cr_assert_eq(account_find_group("root", &gid), 0);
	cr_assert_eq(gid, 0);
}

Test(account, a_number_without_an_entry_has_the_group_of_the_same_number)
{
	struct account a;
	gid_t gid;
	cr_assert_eq(account_find_user("4000000000", &a), 0);
	cr_assert(a.uid == 4000000000u && a.gid == 4000000000u && !*a.login);
	cr_assert_eq(account_find_group("4000000001", &gid), 0);
	cr_assert_eq(gid, 4000000001u);
}

Test(account, text_that_is_neither_a_name_nor_a_number_is_not_found)
{
	static const char *const bad[] = {"no-such-account",
					  "",
					  "-1",
					  "+1",
					  "1x",
					  " 1",
					  "0x10",
					  "4294967295",
					  "4294967296",
					  "99999999999999999999"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct account a;
		cr_assert_eq(account_find_user(bad[i], &a), -ENOENT, "%s", bad[i]);
		cr_assert_eq(account_find_group(bad[i], &a.gid), -ENOENT, "%s", bad[i]);
	}
}
