/* A reload is all or nothing, and its outcome is reported. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

FIXTURE_SUITE(reload);

Test(reload, the_service_manager_is_notified_of_every_stage)
{
	daemon_start(f, BASE);
	for (int good = 0; good < 2; good++) {
		config_write(f, BASE "%s", good ? "drain_timeout = 9\n" : "nonsense = 1\n");
		daemon_signal(f, SIGHUP);
		const char *text = notify_wait(f, "RELOADING=1");
		cr_assert_not_null(strstr(text, "MONOTONIC_USEC="), "%s", text);
		notify_wait(f, "READY=1");
	}
	cr_assert_not_null(strstr(f->notices.bytes, "STATUS="));
	cr_assert_not_null(strstr(f->notices.bytes, "skeld.conf:4"), "%s", f->notices.bytes);
	daemon_signal(f, SIGTERM);
	notify_wait(f, "STOPPING=1");
	cr_assert_eq(daemon_wait_exit(f), 0);
}

Test(reload, a_rejected_reload_changes_nothing)
{
	char before[sizeof(f->value)];
	daemon_start(f, BASE);
	int client = client_connect(f, "main");
	client_echo(f, client, "before\n");
	daemon_reload_and_wait(f);
	strcpy(before, proc_fds(f));
	/* The mistake is at the end: no option of the file may be applied. */
	config_write(f,
		     "workers = 1\nadmin { address = \"\" }\nlimits { idle_timeout = 1 }\n"
		     "listen \"other\" { address = \"unix:%s/other\" }\nlog { level = \"nope\" }\n",
		     f->dir);
	daemon_reload_and_wait(f);
	expect_rejected(f, 2, "skeld.conf:5: ");
	expect_status(f, "reloads_ok", "1");
	expect_status(f, "reloads_rejected", "1");
	const char *after = proc_fds(f);
	cr_assert(strcmp(before, after) == 0, "before:\n%s\nafter:\n%s", before, after);
	cr_assert(!log_contains(f, "idle_timeout: "));
	client_echo(f, client, "served on\n");
	client_echo(f, client_connect(f, "main"), "and accepted on\n");
	daemon_finish(f);
}

/* systemd ignores a status that is not valid UTF-8, and this one is truncated. */
Test(reload, a_long_rejection_is_cut_at_a_whole_character)
{
	daemon_start(f, BASE);
	for (int odd = 0; odd < 2; odd++) {
		char name[600] = "odd";
		for (size_t i = 2 + (size_t)odd; i < 598; i += 2)
			memcpy(name + i, "\xc3\xa4", 3);
		config_write(f, BASE "%s = 1\n", name);
		daemon_signal(f, SIGHUP);
		notify_wait(f, "RELOADING=1");
		const char *text = strstr(notify_wait(f, "READY=1"), "rejected: ");
		cr_assert(text && strstr(text, "unknown option"), "%s", f->value);
		size_t n = strcspn(text, "\n");
		cr_assert(n > 400 && memcmp(text + n - 2, "\xc3\xa4", 2) == 0, "%s", text);
	}
	daemon_finish(f);
}

Test(reload, changed_options_are_logged)
{
	daemon_start(f, BASE "limits { idle_timeout = 300 }\n");
	config_write(f, BASE "limits { idle_timeout = 60 connections = 5000 }\n");
	daemon_reload_and_wait(f);
	expect_status(f, "generation", "2");
	cr_assert(log_contains(f, "limits.idle_timeout: 300 -> 60"), "%s", log_text(f));
	cr_assert(log_contains(f, "limits.connections: 10000 -> 5000"), "%s", log_text(f));
	cr_assert(!log_contains(f, "limits.buffer"));
	/* An option that is removed from the file returns to its default. */
	config_write(f, BASE "limits { idle_timeout = 60 }\n");
	daemon_reload_and_wait(f);
	cr_assert(log_contains(f, "limits.connections: 5000 -> 10000"), "%s", log_text(f));
	daemon_finish(f);
}

/* Reload with LISTENERS. Their titles begin with LETTER. */
static void reload_many(char letter, int listeners)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	MUST(out);
	for (int i = 0; i < listeners; i++)
		fprintf(out, "listen \"%c%d\" { address = \"unix:%s/l%d\" }\n", letter, i, f->dir,
			i);
	MUST(fclose(out) == 0);
	config_write(f, BASE "%s", text);
	free(text);
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "ok");
}

/* The log shows a limited number of changes, and counts the others. */
Test(reload, surplus_changes_are_counted_in_the_log)
{
	daemon_start(f, BASE);
	reload_many('a', 60);
	cr_assert(!log_contains(f, "more changes"), "%s", log_text(f));
	reload_many('b', 60); /* each listener is replaced by another one */
	cr_assert(log_contains(f, "more changes: 20 not shown"), "%s", log_text(f));
	daemon_finish(f);
}

Test(reload, options_that_need_a_restart_are_logged)
{
	daemon_start(f, BASE);
	config_write(f, "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	for (size_t i = 0; i < 2;
	     i++) { /* repeated until the option is changed back or the daemon restarts */
		daemon_reload_and_wait(f);
		expect_status(f, "last_reload", "ok");
		cr_assert_eq(log_count(f, "workers: 1 -> 2 needs a restart, keeping 1"), i + 1);
	}
	client_echo(f, client_connect(f, "main"), "served\n");
	daemon_finish(f);
}

Test(reload, live_options_take_effect)
{
	daemon_start(f, "echo { banner = \"one\\n\" }\n" BASE);
	client_expect(f, client_connect(f, "main"), "one\n", 4);
	config_write(f, "echo { banner = \"two\\n\" }\n" BASE);
	daemon_reload_and_wait(f);
	/* READY=1 means that every worker has acknowledged. */
	client_expect(f, client_connect(f, "main"), "two\n", 4);
	config_write(f, "echo { banner = \"three\\n\" }\nnonsense\n" BASE);
	daemon_reload_and_wait(f);
	client_expect(f, client_connect(f, "main"), "two\n", 4);
	daemon_finish(f);
}

Test(reload, two_workers_both_have_the_new_configuration)
{
	daemon_start(f, "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN
			"echo { banner = \"one\\n\" }\n");
	config_write(f, "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN
			"echo { banner = \"two\\n\" }\n");
	daemon_reload_and_wait(f);
	for (int i = 0; i < 32; i++) { /* the kernel spreads them over both */
		int client = client_connect(f, "main");
		client_expect(f, client, "two\n", 4);
		client_echo(f, client, "hello\n");
		client_close(f, client);
	}
	daemon_finish(f);
}

static void reload_times(int times)
{
	for (int i = 0; i < times; i++) {
		config_write(f, BASE "%s", i % 2 ? "limits { idle_timeout = 60 }\n" : "limits {\n");
		daemon_reload_and_wait(f);
	}
}

static size_t lines(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += *text == '\n';
	return n;
}

Test(reload, a_thousand_reloads_leak_nothing)
{
	enum { TOLERATED_KIB = 512 };
	daemon_start(f, BASE);
	int client = client_connect(f, "main");
	reload_times(300);
	size_t fds = lines(proc_fds(f));
	long rss = proc_number(f, "VmRSS"), threads = proc_number(f, "Threads");
	reload_times(700);
	expect_status(f, "reloads_ok", "500");
	expect_status(f, "reloads_rejected", "500");
	expect_status(f, "generation", "501");
	cr_assert_eq(lines(proc_fds(f)), fds, "%zu descriptors before, now\n%s", fds, proc_fds(f));
	cr_assert_eq(proc_number(f, "Threads"), threads);
	long grown = proc_number(f, "VmRSS") - rss;
	if (!*SKELD_SANITIZED && !getenv("SKELD_TEST_WRAP")) /* the sanitizers keep freed memory */
		cr_assert_leq(grown, TOLERATED_KIB, "RSS grew by %ld KiB", grown);
	client_echo(f, client, "connected all the while\n");
	daemon_finish(f);
}

Test(reload, a_service_manager_that_does_not_read_never_blocks)
{
	daemon_start(f, BASE);
	for (int i = 0; i < 30; i++) /* the queue of a datagram socket holds about ten */
		cr_assert_eq(skeld_run(f, "-r", f->runtime, "-s", "reload", NULL), 0);
	expect_status(f, "generation", "31");
	client_echo(f, client_connect(f, "main"), "served\n");
	daemon_finish(f);
}
