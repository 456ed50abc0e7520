/* Accesses that succeed at the start, as root, and fail later, as the user. Skipped unless run as
 * root. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
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
	MUST(rmdir(runtime_dir) == 0);
}

TestSuite(privilege_limits, .init = setup, .fini = daemon_fixture_leave);

#define AS_NOBODY "user = \"nobody\"\n"

static void start(void)
{
	daemon_spawn();
	notify_wait("READY=1");
}

static void make_directory(const char *name, uid_t uid)
{
	char path[64];
	MUST(mkdir(path_in(name, path), 0755) == 0);
	MUST(chown(path, uid, uid) == 0);
}

Test(privilege_limits, a_file_that_only_root_can_include_is_a_warning)
{
	file_write("secret.conf", "lame_duck = 0\n");
	MUST(chmod("secret.conf", 0600) == 0);
	config_write("%s", BASE AS_NOBODY "include(\"secret.conf\")\n");
	start();
	const char *line = log_line_with("configuration unreadable as user=\"nobody\"");
	cr_assert(line && strstr(line, "skeld.conf:5: cannot read") && strstr(line, "secret.conf"),
		  "%s", log_text());
	daemon_reload_and_wait();
	expect_rejected(1, "secret.conf");
	daemon_finish();
}

Test(privilege_limits, a_log_in_a_directory_of_root_is_a_warning)
{
	make_directory("logs", 0);
	config_write(BASE AS_NOBODY "log { target = \"file\" file = \"%s/logs/x.log\" }\n",
		     test_dir);
	start();
	char path[64];
	const char *text = file_text(path_in("logs/x.log", path));
	cr_assert(strstr(text, "log directory not writable as user=\"nobody\""), "%s", text);
	daemon_finish();
}

Test(privilege_limits, a_socket_in_a_directory_of_root_is_a_warning)
{
	make_directory("sockets", 0);
	config_write(BASE AS_NOBODY "listen \"u\" { address = \"unix:%s/sockets/u\" }\n", test_dir);
	start();
	cr_assert(log_contains("socket directory not writable as user=\"nobody\""), "%s",
		  log_text());
	daemon_finish();
}

Test(privilege_limits, directories_of_the_user_cause_no_warning)
{
	make_directory("logs", nobody->pw_uid);
	make_directory("sockets", nobody->pw_uid);
	config_write(BASE AS_NOBODY "log { target = \"file\" file = \"%s/logs/x.log\" }\n"
				    "listen \"u\" { address = \"unix:%s/sockets/u\" }\n",
		     test_dir, test_dir);
	start();
	char path[64], old[64];
	const char *text = file_text(path_in("logs/x.log", path));
	cr_assert_not(strstr(text, "warning"), "%s", text);
	MUST(rename(path, path_in("logs/x.log.1", old)) == 0);
	MUST(unlink(path_in("sockets/u", old)) == 0);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	cr_assert_eq(access(path_in("logs/x.log", path), F_OK), 0);
	client_echo(client_unix("sockets/u"), "anew\n");
	daemon_finish();
}

/* Expect that the daemon runs as USER and GROUP with these lines in its configuration. */
static void expect_identity(long user, long group, const char *lines)
{
	config_write(BASE "%s", lines);
	start();
	cr_assert_eq(proc_number("Uid"), user, "%s", lines);
	cr_assert_eq(proc_number("Gid"), group, "%s", lines);
	daemon_finish();
	rmdir(runtime_dir); /* its owner was the user */
}

Test(privilege_limits, numbers_of_users_and_groups_are_accepted)
{
	char number[64];
	snprintf(number, sizeof(number), "user = \"%u\"\n", (unsigned)nobody->pw_uid);
	expect_identity((long)nobody->pw_uid, (long)nobody->pw_gid, number);
	expect_identity(61234, 61235, "user = \"61234\"\ngroup = \"61235\"\n");
	expect_identity(61234, 61234, "user = \"61234\"\n");
}

static unsigned port_of(const char *title)
{
	return (unsigned)strtoul(strrchr(listener_address(title), ':') + 1, NULL, 10);
}

/* Before the change, the sockets belong to root; after it, to the user. */
Test(privilege_limits, a_listener_and_admin_move_between_all_addresses_and_one)
{
	static const char *const hosts[] = {"127.0.0.1", "0.0.0.0", "127.0.0.1"};
	daemon_start("workers = 2\n" AS_NOBODY "admin { address = \"0.0.0.0:0\" }\n"
		     "listen \"main\" { address = \"0.0.0.0:0\" }\n");
	unsigned port = port_of("main"), admin = port_of("admin");
	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		char address[64];
		config_write("workers = 2\n" AS_NOBODY "admin { address = \"%s:%u\" }\n"
			     "listen \"main\" { address = \"%s:%u\" }\n",
			     hosts[i], admin, hosts[i], port);
		daemon_reload_and_wait();
		expect_status("last_reload", "ok");
		snprintf(address, sizeof(address), "127.0.0.1:%u", port);
		int client;
		AWAIT((client = client_try(address)) >= 0);
		client_echo(client, "moved\n");
	}
	daemon_finish();
}
