/*
 * The running daemon reloads a configuration that is truncated at every byte, and with every byte
 * removed, doubled and replaced, by SIGHUP and by `-s reload`. It is rejected with file and line
 * and changes nothing, or it is complete. unit/test_config_bytes.c does the
 * same without a daemon. One byte in 24; the long form ($SKELD_LONG) tries each.
 */
/* build: SOURCES ../stress/fuzz/complete.c ../stress/fuzz/mutate.c */
/* test: LABELS all */
/* test: NAME long ENV SKELD_LONG=1 TIMEOUT 1800 LABELS long */
#include "../stress/fuzz/complete.h"
#include "../stress/fuzz/mutate.h"
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

DAEMON_SUITE(config_bytes);

/* Has all constructs. No mutation turns a whole section into a comment: its defaults are
 * well-known ports. */
static const char dense[] =
	"admin{\naddress=\"\"}listen \"main\"{\naddress=\"127.0.0.1:0\"backlog=7}\n"
	"# a { \" '\n// b\n/* c\n*/drain_timeout=3 workers = 1\n"
	"log\n{\n\tlevel = \"info\"\t# d\n"
	"file=\"/a\\\"b\\x41\\\\ ${HOME} \\\n\"}\nlisten n { address = '' }listen 'o' {\n"
	"address = \"\" backlog = 65535 }\nlimits{connections=100 /*x*/idle_timeout = 300 //y\n"
	"buffer=\"65536\"\n}\necho{banner=''} # {\"}\n";

/* A file that is cut before it has both sections would be complete, too. */
enum { SECTIONS_END = 65 };
enum { TEXT_MAX = sizeof(dense) + 1, COMMAND_EVERY = 16, CHECK_EVERY = 32 };

static const char *mutant;
static size_t length;

/*
 * Reload by SIGHUP, or now and then by -s reload, with the same result. Returns true if accepted.
 */
static bool reload(long *generation, bool command)
{
	int code = 0;
	file_write_bytes(config_path, mutant, length);
	if (command) {
		code = skeld_run("-r", runtime_dir, "-s", "reload", NULL);
		notify_wait("RELOADING=1");
		notify_wait("READY=1");
	} else {
		daemon_reload_and_wait();
	}
	bool good = strcmp(status_get("last_reload"), "ok") == 0;
	*generation += good;
	if (status_number("generation") != *generation)
		fail_test("generation %s, not %ld after:\n%.*s", last_value, *generation,
			  (int)length, mutant);
	expect_status("state", "running");
	if (good && !is_complete(mutant, length, NULL, NULL))
		fail_test("accepted, and not complete:\n%.*s", (int)length, mutant);
	if (!good &&
	    strncmp(status_get("last_reload_error"), config_path, strlen(config_path)) != 0)
		fail_test("%s, for:\n%.*s", last_value, (int)length, mutant);
	if (command &&
	    (code != (good ? 0 : 78) || (!good && !strstr(command_err.bytes, config_path))))
		fail_test("exit %d, %s, for:\n%.*s", code, command_err.bytes, (int)length, mutant);
	return good;
}

/* Load the first configuration: the rejected ones have left nothing. */
static void expect_unchanged(long *generation, bool reported)
{
	size_t before = strlen(log_text());
	mutant = dense;
	length = sizeof(dense) - 1;
	cr_assert(reload(generation, false));
	if (!reported && strstr(log_text() + before, " -> "))
		fail_test("a configuration that was refused has changed something");
}

static size_t count_descriptors(void)
{
	size_t n = 0;
	for (const char *p = proc_fds(); (p = strchr(p, '\n')); p++)
		n++;
	return n;
}

Test(config_bytes, mutations_of_the_file_do_not_harm_the_running_daemon)
{
	static char text[TEXT_MAX];
	const size_t step = getenv("SKELD_LONG") ? 1 : 24;
	long generation = 1;
	size_t tried = 0, accepted = 0, commands = 0;
	daemon_start(dense);
	int client = client_connect("main");
	client_echo(client, "before\n");
	size_t descriptors = count_descriptors();
	for (size_t at = 0; at < sizeof(dense) - 1; at += step)
		for (size_t which = 0; which < MUTATIONS; which++) {
			if (which == CUT && at < SECTIONS_END)
				continue;
			bool command = ++tried % COMMAND_EVERY == 0;
			length = mutate(text, dense, sizeof(dense) - 1, at, which);
			mutant = text;
			bool good = reload(&generation, command);
			accepted += good;
			commands += command;
			if (good || tried % CHECK_EVERY == 0)
				expect_unchanged(&generation, good);
		}
	cr_log_info("%zu mutants, %zu accepted, %zu by -s reload", tried, accepted, commands);
	cr_assert(accepted > 0 && accepted < tried / 2, "%zu of %zu accepted", accepted, tried);
	client_echo(client, "after\n");
	AWAIT(count_descriptors() == descriptors);
	daemon_finish();
}
