/*
 * A configuration cut at every byte, and with every byte left out, doubled and replaced, reaches
 * the running daemon by SIGHUP and by `-s reload`: it is refused with its file and line and changes
 * nothing, or it is complete. STEP bytes apart; the long form takes each.
 */
#include "../fuzz/complete.h"
#include "../fuzz/mutate.h"
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

FIXTURE_SUITE(config_bytes);

/* All constructs. No byte of it makes a whole section a comment: its defaults are well-known ports.
 */
static const char dense[] =
	"admin{\naddress=\"\"}listen \"main\"{\naddress=\"127.0.0.1:0\"backlog=7}\n"
	"# a { \" '\n// b\n/* c\n*/drain_timeout=3 workers = 1\n"
	"log\n{\n\tlevel = \"info\"\t# d\n"
	"file=\"/a\\\"b\\x41\\\\ ${HOME} \\\n\"}\nlisten n { address = '' }listen 'o' {\n"
	"address = \"\" backlog = 65535 }\nlimits{connections=100 /*x*/idle_timeout = 300 //y\n"
	"buffer=\"65536\"\n}\necho{banner=''} # {\"}\n";

enum { TEXT_MAX = sizeof(dense) + 1, COMMAND_EVERY = 16, CHECK_EVERY = 32 };

static const char *mutant;
static size_t length;

/* By SIGHUP, or now and then by the command, which must say the same. Returns if it was accepted.
 */
static bool reload(long *generation, bool command)
{
	int code = 0;
	file_write(f, f->config, mutant, length);
	if (command) {
		code = skeld_run(f, "-r", f->runtime, "-s", "reload", NULL);
		notify_wait(f, "RELOADING=1");
		notify_wait(f, "READY=1");
	} else {
		daemon_reload_and_wait(f);
	}
	bool good = strcmp(status_get(f, "last_reload"), "ok") == 0;
	*generation += good;
	if (status_number(f, "generation") != *generation)
		give_up(f, "generation %s, not %ld after:\n%.*s", f->value, *generation,
			(int)length, mutant);
	expect_status(f, "state", "running");
	if (good && !is_complete(mutant, length, NULL, NULL))
		give_up(f, "accepted, and not complete:\n%.*s", (int)length, mutant);
	if (!good && strncmp(status_get(f, "last_reload_error"), f->config, strlen(f->config)) != 0)
		give_up(f, "%s, for:\n%.*s", f->value, (int)length, mutant);
	if (command && (code != (good ? 0 : 78) || (!good && !strstr(f->err.bytes, f->config))))
		give_up(f, "exit %d, %s, for:\n%.*s", code, f->err.bytes, (int)length, mutant);
	return good;
}

/* The first one is loaded: nothing of those that were refused has stayed. */
static void expect_unchanged(long *generation, bool told)
{
	size_t before = strlen(log_text(f));
	mutant = dense;
	length = sizeof(dense) - 1;
	cr_assert(reload(generation, false));
	if (!told && strstr(log_text(f) + before, " -> "))
		give_up(f, "a configuration that was refused has changed something");
}

static size_t count_descriptors(void)
{
	size_t n = 0;
	for (const char *p = proc_fds(f); (p = strchr(p, '\n')); p++)
		n++;
	return n;
}

Test(config_bytes, no_byte_of_a_file_hurts_the_running_daemon)
{
	static char text[TEXT_MAX];
	long generation = 1;
	size_t tried = 0, accepted = 0, commands = 0;
	daemon_start(f, dense);
	int client = client_connect(f, "main");
	client_echo(f, client, "before\n");
	size_t descriptors = count_descriptors();
	for (size_t at = 0; at < sizeof(dense) - 1; at += STEP)
		for (size_t which = 0; which < MUTATIONS; which++) {
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
	client_echo(f, client, "after\n");
	await(f, count_descriptors() == descriptors);
	daemon_finish(f);
}
