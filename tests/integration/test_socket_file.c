/* The file of a unix socket is removed while the daemon listens on it. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

DAEMON_SUITE(socket_file);

/* The datagrams of the watchdog count the ticks. */
static void with_watchdog(void)
{
	setenv("WATCHDOG_USEC", "400000", 1);
}

static void start_on_unix_sockets(void)
{
	daemon_prepare = with_watchdog;
	config_write(
		"workers = 2\nadmin { address = \"\" }\nlisten \"u\" { address = \"unix:%s/u\" }\n"
		"listen \"other\" { address = \"unix:%s/other\" }\n",
		test_dir, test_dir);
	daemon_spawn();
	notify_wait("READY=1");
}

static void remove_file(const char *name)
{
	char path[64];
	MUST(unlink(path_in(name, path)) == 0);
}

Test(socket_file, a_reload_creates_a_removed_socket_again)
{
	start_on_unix_sockets();
	int before = client_unix("u");
	client_echo(before, "before\n");
	remove_file("u");
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	client_echo(client_unix("u"), "after\n");
	client_echo(client_unix("other"), "other\n");
	client_echo(before, "still open\n");
	daemon_finish();
	char path[64];
	cr_assert_neq(access(path_in("u", path), F_OK), 0, "the new file was left");
}

Test(socket_file, a_moved_socket_with_a_link_in_its_place_is_kept)
{
	char from[64], to[64];
	start_on_unix_sockets();
	MUST(rename(path_in("u", from), path_in("moved", to)) == 0);
	MUST(symlink(to, from) == 0);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	client_echo(client_unix("u"), "the same socket\n");
	cr_assert_not(log_contains("no longer listening"), "%s", log_text());
	daemon_finish();
}

Test(socket_file, a_removed_socket_is_reported_once)
{
	start_on_unix_sockets();
	remove_file("u");
	AWAIT(log_contains("socket file missing: "));
	for (int i = 0; i < 4; i++)
		notify_wait("WATCHDOG=1");
	cr_assert_eq(log_count("socket file missing: "), 1, "%s", log_text());
	cr_assert(strstr(log_line_with("socket file missing: "), "/u (u)"), "%s", log_text());
	daemon_reload_and_wait();
	remove_file("u");
	AWAIT(log_count("socket file missing: ") == 2);
	daemon_finish();
}

static unsigned mode_of(const char *name)
{
	struct stat st;
	char path[64];
	MUST(lstat(path_in(name, path), &st) == 0);
	return st.st_mode & 07777;
}

static void write_mode(const char *mode)
{
	config_write("admin { address = \"\" }\nlisten \"u\" { address = \"unix:%s/u\" mode = "
		     "\"%s\" }\n",
		     test_dir, mode);
}

Test(socket_file, a_reload_changes_the_mode_of_a_socket_that_stays)
{
	write_mode("0640");
	daemon_spawn();
	notify_wait("READY=1");
	cr_assert_eq(mode_of("u"), 0640);
	int client = client_unix("u");
	write_mode("0666");
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	cr_assert_eq(mode_of("u"), 0666);
	cr_assert(log_contains("listen \"u\".mode: \"0640\" -> \"0666\""), "%s", log_text());
	client_echo(client, "still open\n");
	write_mode("0680");
	daemon_reload_and_wait();
	expect_status("last_reload", "rejected");
	cr_assert_eq(mode_of("u"), 0666);
	daemon_finish();
}
