/* The worked example services/access.c: an access list that a reload replaces. */
#include "client.h"
#include "headers.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

DAEMON_SUITE(access, daemon_use(ACCESS_BINARY));

/* The clients send PROXY headers, so they have any address. */
static void configure(const char *file)
{
	config_write("workers = 1\nadmin { address = \"\" }\n"
		     "listen \"main\" { address = \"127.0.0.1:0\" proxy = true }\n"
		     "access { file = \"%s/%s\" }\n",
		     test_dir, file);
}

static void start(const char *list)
{
	file_write("list", list);
	configure("list");
	daemon_spawn();
	notify_wait("READY=1");
}

#define EXPECT_ALLOWED(header) expect_allowed(header, SIZE(header))
static void expect_allowed(const char *header, size_t n)
{
	int client = client_connect("main");
	client_send_bytes(client, header, n);
	client_echo(client, "hello\n");
	client_close(client);
}

#define EXPECT_DENIED(header) expect_denied(header, SIZE(header))
static void expect_denied(const char *header, size_t n)
{
	int client = client_connect("main");
	client_send_bytes(client, header, n);
	client_expect(client, "denied\n");
	client_expect_eof(client);
}

Test(access, only_clients_in_the_list_are_served)
{
	start("2001:DB8:0::1\n192.0.2.7\n127.0.0.1\n");
	EXPECT_ALLOWED(V4);
	EXPECT_DENIED(V6);
	EXPECT_ALLOWED(LOCAL_CHECK); /* the address is that of the connection */
	daemon_finish();
}

Test(access, an_empty_list_rejects_all_clients_and_no_list_accepts_all)
{
	start("");
	EXPECT_DENIED(V4);
	daemon_finish();
	daemon_start(BASE);
	client_echo(client_connect("main"), "hello\n");
	daemon_finish();
}

Test(access, a_reload_replaces_the_list_and_a_mistake_keeps_it)
{
	start("192.0.2.7\n");
	EXPECT_DENIED(V6);
	file_write("list", "192.0.2.1\n2001:db8::7\n");
	daemon_reload_and_wait();
	EXPECT_DENIED(V4);
	EXPECT_ALLOWED(V6);
	file_write("list", "192.0.2.7\n192.0.2.300\n");
	daemon_reload_and_wait();
	expect_rejected(2, "skeld.conf:4: section access: ");
	expect_rejected(2, "/list:2: \"192.0.2.300\"");
	EXPECT_DENIED(V4);
	EXPECT_ALLOWED(V6);
	cr_assert_eq(skeld_run("-c", config_path, "-t", NULL), 78);
	configure("missing");
	cr_assert_eq(skeld_run("-c", config_path, "-t", NULL), 78);
	cr_assert(strstr(command_err.bytes, "skeld.conf:4: section access: cannot open "), "%s",
		  command_err.bytes);
	daemon_finish();
}

/* A FIFO without a writer hangs the load. */
Test(access, clients_are_served_while_a_load_hangs)
{
	char path[PATH_IN_MAX];
	start("192.0.2.7\n");
	MUST(mkfifo(path_in("fifo", path), 0644) == 0);
	configure("fifo");
	daemon_signal(SIGHUP);
	notify_wait("RELOADING=1");
	for (int i = 0; i < 20; i++) {
		EXPECT_ALLOWED(V4);
		EXPECT_DENIED(V6);
	}
	expect_status("state", "reloading");
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
}

Test(access, the_self_test_passes)
{
	config_write("%s", BASE);
	cr_assert_eq(skeld_run("-c", config_path, "--self-test=order", NULL), 0, "%.2000s",
		     command_out.bytes);
}
