/* No configuration file can harm the running daemon: special files, and truncated files. */
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

static struct fixture *f;
static int client;

static void setup(void)
{
	f = fixture_new();
}

static void teardown(void)
{
	fixture_free(f);
}

TestSuite(config_files, .init = setup, .fini = teardown);

static void start(void)
{
	daemon_start(f, BASE);
	client = client_connect(f, "main");
	client_echo(f, client, "before\n");
	MUST(unlink(f->config) == 0);
}

/* SIGHUP with an unusable file: it is rejected with WHY, the daemon serves, and then a good file
 * is loaded. */
static void expect_survived(const char *why)
{
	long generation = status_number(f, "generation");
	daemon_reload_and_wait(f);
	expect_rejected(f, generation, why);
	client_echo(f, client, "still served\n");
	remove(f->config);
	config_write(f, "%s", BASE);
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "ok");
	client_echo(f, client, "after\n");
	daemon_finish(f);
}

Test(config_files, sighup_on_a_directory_keeps_running)
{
	start();
	MUST(mkdir(f->config, 0755) == 0);
	expect_survived("a directory");
}

Test(config_files, sighup_on_a_fifo_keeps_running)
{
	start();
	MUST(mkfifo(f->config, 0644) == 0);
	expect_survived("a FIFO");
}

Test(config_files, sighup_on_dev_zero_keeps_running)
{
	start();
	MUST(symlink("/dev/zero", f->config) == 0);
	expect_survived("a device");
}

Test(config_files, sighup_on_a_socket_keeps_running)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	start();
	memcpy(a.sun_path, f->config, sizeof(f->config));
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
	MUST(symlink(f->config, f->config) == 0);
	expect_survived("skeld.conf");
}

Test(config_files, sighup_on_an_unreadable_file_keeps_running)
{
	if (getuid() == 0)
		fixture_run_as(f, 65534); /* root can read every file */
	start();
	config_write(f, "%s", BASE);
	MUST(chmod(f->config, 0) == 0);
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
	file_write(f, f->config, text, MIB + 1);
	long generation = status_number(f, "generation");
	daemon_reload_and_wait(f);
	expect_rejected(f, generation, "too large");

	text[MIB - 1] = '\n';
	file_write(f, f->config, text, MIB); /* an empty value is allowed */
	free(text);
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "ok");
	MUST(unlink(f->config) == 0);
	expect_survived("No such file");
}

Test(config_files, sighup_on_an_empty_file_keeps_running)
{
	start();
	config_write(f, "%s", "");
	expect_survived("empty");
}

Test(config_files, a_nul_byte_and_text_after_it_are_rejected)
{
	static const char nul[] = BASE "limits { }\n\0limits { buffer = 1 }\n";
	start();
	file_write(f, f->config, nul, sizeof(nul) - 1);
	expect_survived("skeld.conf:5: control character 0x00");
}

/* Each item is complete: a file that ends after it is good. A file with any other end is rejected:
 * inside a number, a comment, a string or a section, or before a newline. */
static const char *const items[] = {
	/* One line: without listen and admin sections the daemon would use well-known ports. */
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

Test(config_files, a_truncated_file_is_rejected_at_every_byte)
{
	char whole[2048] = "";
	bool complete[sizeof(whole)] = {0};
	for (size_t i = 0; i < sizeof(items) / sizeof(*items); i++) {
		strcat(whole, items[i]);
		complete[strlen(whole)] = true;
	}
	daemon_start(f, BASE);
	client = client_connect(f, "main");
	long generation = 1;
	for (size_t n = 0; n <= strlen(whole); n++) {
		file_write(f, f->config, whole, n);
		daemon_reload_and_wait(f);
		generation += complete[n];
		const char *outcome = complete[n] ? "ok" : "rejected";
		if (status_number(f, "generation") != generation ||
		    strcmp(status_get(f, "last_reload"), outcome) != 0)
			fail_test(f,
				  "generation %ld and %s expected for the first %zu bytes:\n%.*s",
				  generation, outcome, n, (int)n, whole);
		if (!complete[n] && !strstr(status_get(f, "last_reload_error"), "skeld.conf"))
			fail_test(f, "no file named in: %s", f->value);
	}
	client_echo(f, client, "unharmed\n");
	daemon_finish(f);
}

Test(config_files, a_bad_file_at_the_start_exits_with_78)
{
	config_write(f, BASE "worker = 2\n");
	daemon_spawn(f);
	cr_assert_eq(daemon_wait_exit(f), 78);
	cr_assert(log_contains(f, "skeld.conf:4: "), "%s", log_text(f));
	cr_assert(!runtime_file_exists(f, "skeld.pid"));
	cr_assert(!runtime_file_exists(f, "status"));
}
