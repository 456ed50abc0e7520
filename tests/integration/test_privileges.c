/* Started as root with a user to change to. Skipped unless run as root. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct passwd *nobody;

static void setup(void)
{
	daemon_fixture_enter();
	nobody = getpwnam("nobody");
	if (geteuid() != 0 || !nobody)
		cr_skip_test("only root can change the user");
	MUST(chmod(test_dir, 0755) == 0);
}

TestSuite(privileges, .init = setup, .fini = daemon_fixture_leave);

#define AS_NOBODY "user = \"nobody\"\n"

static void expect_owner(const char *name, uid_t uid)
{
	char path[64];
	struct stat st;
	MUST(stat(path_in(name, path), &st) == 0);
	cr_assert_eq(st.st_uid, uid, "%s", path);
}

/* Expect that the configuration loader runs as UID. */
static void expect_loader_of(uid_t uid)
{
	char path[32];
	struct stat st;
	snprintf(path, sizeof(path), "/proc/%d", (int)loader_pid());
	MUST(stat(path, &st) == 0);
	cr_assert_eq(st.st_uid, uid, "%s", path);
}

Test(privileges, root_is_dropped_and_needed_files_change_their_owner)
{
	char config[512];
	snprintf(config, sizeof(config),
		 BASE AS_NOBODY "listen \"unix\" { address = \"unix:%s/socket\" }\n"
				"log { target = \"file\" file = \"%s/its.log\" }\n",
		 test_dir, test_dir);
	MUST(rmdir(runtime_dir) == 0 || errno == ENOENT); /* the daemon creates it */
	daemon_start(config);
	cr_assert_eq(proc_number("Uid"), (long)nobody->pw_uid);
	cr_assert_eq(proc_number("Gid"), (long)nobody->pw_gid);
	expect_loader_of(nobody->pw_uid);
	expect_owner("run", nobody->pw_uid);
	expect_owner("run/skeld.pid", nobody->pw_uid);
	expect_owner("socket", nobody->pw_uid);
	expect_owner("its.log", nobody->pw_uid);
	client_echo(client_unix("socket"), "hello");
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	expect_loader_of(nobody->pw_uid);
	daemon_finish();
	cr_assert(!runtime_file_exists("skeld.pid"));
}

enum { GROUP_OF_ROOT = 424242 };

static void in_another_group(void)
{
	if (setgroups(1, (const gid_t[]){GROUP_OF_ROOT}) < 0)
		_exit(125);
}

Test(privileges, supplementary_groups_of_root_are_dropped)
{
	static const char *const users[] = {AS_NOBODY, "user = \"65000\"\ngroup = \"65001\"\n"};
	char config[256], path[32], group[32];
	snprintf(group, sizeof(group), "%d", GROUP_OF_ROOT);
	daemon_prepare = in_another_group;
	for (size_t i = 0; i < 2; i++) {
		MUST(rmdir(runtime_dir) == 0 || errno == ENOENT);
		snprintf(config, sizeof(config), BASE "%s", users[i]);
		daemon_start(config);
		snprintf(path, sizeof(path), "/proc/%d/status", (int)daemon_pid);
		const char *groups = strstr(file_text(path), "\nGroups:");
		cr_assert(groups && !strstr(groups, group), "%s", groups);
		daemon_finish();
	}
}

Test(privileges, a_configuration_that_the_user_cannot_read_is_a_warning)
{
	config_write("%s", BASE AS_NOBODY);
	MUST(rmdir(runtime_dir) == 0 || errno == ENOENT);
	MUST(chmod(config_path, 0600) == 0);
	daemon_spawn();
	notify_wait("READY=1");
	cr_assert(log_contains("configuration unreadable as user=\"nobody\" group="), "%s",
		  log_text());
	daemon_reload_and_wait();
	expect_rejected(1, "Permission denied");
	daemon_finish();
}

Test(privileges, a_group_without_user_is_set)
{
	daemon_start(BASE "group = \"nogroup\"\n");
	cr_assert_eq(proc_number("Uid"), 0);
	cr_assert_neq(proc_number("Gid"), 0);
	daemon_finish();
}

static void expect_not_started(const char *config, const char *why)
{
	config_write("%s", config);
	daemon_spawn();
	cr_assert_eq(daemon_wait_exit(), 1);
	cr_assert(log_line_with(why), "not logged: %s\n%s", why, log_text());
	cr_assert(!runtime_file_exists("status"));
}

Test(privileges, an_unwritable_runtime_directory_fails_the_start)
{
	MUST(mkdir(runtime_dir, 0755) == 0 || errno == EEXIST);
	expect_not_started(BASE AS_NOBODY, "user \"nobody\" cannot write to the runtime directory");
}

Test(privileges, only_root_can_change_the_user)
{
	daemon_run_as(nobody->pw_uid);
	expect_not_started(BASE AS_NOBODY, "only root can change user and group");
}
