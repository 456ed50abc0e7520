/* No configuration file can harm the running daemon: special files, and truncated files. */
/* build: SOURCES ../stress/fuzz/complete.c */
#include "../stress/fuzz/complete.h"
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int client;

static void setup(void)
{
	daemon_fixture_enter();
}

TestSuite(config_files, .init = setup, .fini = daemon_fixture_leave);

static void start(void)
{
	daemon_start(BASE);
	client = client_connect("main");
	client_echo(client, "before\n");
	MUST(unlink(config_path) == 0);
}

/* SIGHUP with an unusable file: it is rejected with WHY, the daemon serves, and then a good file
 * is loaded. */
static void expect_survived(const char *why)
{
	long generation = status_number("generation");
	daemon_reload_and_wait();
	expect_rejected(generation, why);
	client_echo(client, "still served\n");
	remove(config_path);
	config_write("%s", BASE);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	client_echo(client, "after\n");
	daemon_finish();
}

Test(config_files, sighup_on_a_directory_keeps_running)
{
	start();
	MUST(mkdir(config_path, 0755) == 0);
	expect_survived("a directory");
}

Test(config_files, sighup_on_a_fifo_keeps_running)
{
	start();
	MUST(mkfifo(config_path, 0644) == 0);
	expect_survived("a FIFO");
}

Test(config_files, sighup_on_dev_zero_keeps_running)
{
	start();
	MUST(symlink("/dev/zero", config_path) == 0);
	expect_survived("a device");
}

Test(config_files, sighup_on_a_socket_keeps_running)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	start();
	memcpy(a.sun_path, config_path, sizeof(config_path));
	MUST(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	expect_survived("a socket");
	close(fd);
}

Test(config_files, sighup_on_a_missing_file_keeps_running)
{
	start();
	expect_survived("No such file");
}

Test(config_files, sighup_on_a_dangling_or_circular_link_keeps_running)
{
	start();
	MUST(symlink(config_path, config_path) == 0);
	expect_survived("skeld.conf");
}

Test(config_files, sighup_on_an_unreadable_file_keeps_running)
{
	if (getuid() == 0)
		daemon_run_as(65534); /* root can read every file */
	start();
	config_write("%s", BASE);
	MUST(chmod(config_path, 0) == 0);
	expect_survived("Permission denied");
}

Test(config_files, sighup_on_a_file_over_1_mib_keeps_running)
{
	enum { MIB = 1 << 20 };
	start();
	char *text = malloc(MIB + 1);
	MUST(text);
	memset(text, '#', MIB + 1);
	memcpy(text, BASE, strlen(BASE));
	text[MIB] = '\n';
	file_write_bytes(config_path, text, MIB + 1);
	long generation = status_number("generation");
	daemon_reload_and_wait();
	expect_rejected(generation, "too large");
	free(text);
	MUST(unlink(config_path) == 0);
	expect_survived("No such file");
}

Test(config_files, sighup_on_an_empty_file_keeps_running)
{
	start();
	config_write("%s", "");
	expect_survived("empty");
}

Test(config_files, a_nul_byte_and_text_after_it_are_rejected)
{
	static const char nul[] = BASE "limits { }\n\0limits { buffer = 1 }\n";
	start();
	file_write_bytes(config_path, nul, sizeof(nul) - 1);
	expect_survived("skeld.conf:5: control character 0x00");
}

/* A file that ends within a statement, a string, a section or a comment of several lines is
 * rejected.
 */
static const char *const items[] = {
	/* Never cut: without listen and admin sections the daemon would use well-known ports. */
	"admin { address = \"\" } listen \"main\" { address = \"127.0.0.1:0\" }\n",
	"\n",
	"workers = 1 # threads\n",
	"# a comment { with \"quotes\" and /* more\n",
	"drain_timeout\n=\n8\n",
	"/* a comment\n   of two lines */\n",
	("limits {\n\tconnections = 1000\n\t# inside }\n\tidle_timeout = 300\n\n"
	 "\tbuffer = 65536 }\n"),
	"listen 'unix' {\n\taddress = \"\" /* off */\n\tbacklog = 16\n}\n",
	"log\n{\n\tlevel = info\n\ttarget = \"stderr\"\n}\n",
	"echo { banner = \"} # not a comment\\n\" }\n",
	"   \t\n",
};

/* unit/test_config_bytes.c cuts at each byte. */
Test(config_files, a_truncated_file_is_rejected)
{
	enum { STEP = 7 };
	char whole[2048] = "";
	for (size_t i = 0; i < sizeof(items) / sizeof(*items); i++)
		strcat(whole, items[i]);
	daemon_start(BASE);
	client = client_connect("main");
	long generation = 1;
	size_t tried[2] = {0};
	for (size_t n = strlen(items[0]); n <= strlen(whole); n += STEP) {
		bool complete = is_complete(whole, n, NULL, NULL);
		tried[complete]++;
		file_write_bytes(config_path, whole, n);
		daemon_reload_and_wait();
		generation += complete;
		const char *outcome = complete ? "ok" : "rejected";
		if (status_number("generation") != generation ||
		    strcmp(status_get("last_reload"), outcome) != 0)
			fail_test("generation %ld and %s expected for the first %zu bytes:\n%.*s",
				  generation, outcome, n, (int)n, whole);
		if (!complete && !strstr(status_get("last_reload_error"), "skeld.conf"))
			fail_test("no file named in: %s", last_value);
	}
	cr_assert(tried[false] > 10 && tried[true] > 10, "%zu, %zu", tried[false], tried[true]);
	client_echo(client, "unharmed\n");
	daemon_finish();
}

Test(config_files, a_bad_file_at_the_start_exits_with_78)
{
	config_write(BASE "worker = 2\n");
	daemon_spawn();
	cr_assert_eq(daemon_wait_exit(), 78);
	cr_assert(log_contains("skeld.conf:4: "), "%s", log_text());
	cr_assert(!runtime_file_exists("skeld.pid"));
	cr_assert(!runtime_file_exists("status"));
}
