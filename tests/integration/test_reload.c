/* A reload is all or nothing, and its outcome is reported. */
#include "client.h"
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

DAEMON_SUITE(reload);

Test(reload, the_service_manager_is_notified_of_every_stage)
{
	daemon_start(BASE);
	for (int good = 0; good < 2; good++) {
		config_write(BASE "%s", good ? "drain_timeout = 9\n" : "nonsense = 1\n");
		daemon_signal(SIGHUP);
		const char *text = notify_wait("RELOADING=1");
		cr_assert_not_null(strstr(text, "MONOTONIC_USEC="), "%s", text);
		notify_wait("READY=1");
	}
	cr_assert_not_null(strstr(notices.bytes, "STATUS="));
	cr_assert_not_null(strstr(notices.bytes, "skeld.conf:4"), "%s", notices.bytes);
	daemon_signal(SIGTERM);
	notify_wait("STOPPING=1");
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(reload, a_rejected_reload_changes_nothing)
{
	char before[sizeof(last_value)];
	daemon_start(BASE);
	int client = client_connect("main");
	client_echo(client, "before\n");
	daemon_reload_and_wait();
	strcpy(before, proc_fds());
	/* The mistake is at the end: no option of the file may be applied. */
	config_write("workers = 1\nadmin { address = \"\" }\nlimits { idle_timeout = 1 }\n"
		     "listen \"other\" { address = \"unix:%s/other\" }\nlog { level = \"nope\" }\n",
		     test_dir);
	daemon_reload_and_wait();
	expect_rejected(2, "skeld.conf:5: ");
	expect_status("reloads_ok", "1");
	expect_status("reloads_rejected", "1");
	const char *after = proc_fds();
	cr_assert(strcmp(before, after) == 0, "before:\n%s\nafter:\n%s", before, after);
	cr_assert(!log_contains("idle_timeout: "));
	client_echo(client, "served on\n");
	client_echo(client_connect("main"), "and accepted on\n");
	daemon_finish();
}

/* systemd ignores a status that is not valid UTF-8, and this one is truncated. */
Test(reload, a_long_rejection_is_cut_at_a_whole_character)
{
	daemon_start(BASE);
	for (int odd = 0; odd < 2; odd++) {
		char name[600] = "odd";
		for (size_t i = 2 + (size_t)odd; i < 598; i += 2)
			memcpy(name + i, "\xc3\xa4", 3);
		config_write(BASE "\"%s\" = 1\n", name);
		daemon_signal(SIGHUP);
		notify_wait("RELOADING=1");
		const char *text = strstr(notify_wait("READY=1"), "rejected: ");
		cr_assert(text && strstr(text, "unknown option"), "%s", last_value);
		size_t n = strcspn(text, "\n");
		cr_assert(n > 400 && memcmp(text + n - 2, "\xc3\xa4", 2) == 0, "%s", text);
	}
	daemon_finish();
}

Test(reload, changed_options_are_logged)
{
	daemon_start(BASE "limits { idle_timeout = 300 }\n");
	config_write(BASE "limits { idle_timeout = 60 connections = 5000 }\n");
	daemon_reload_and_wait();
	expect_status("generation", "2");
	cr_assert(log_contains("limits.idle_timeout: 300 -> 60"), "%s", log_text());
	cr_assert(log_contains("limits.connections: 10000 -> 5000"), "%s", log_text());
	cr_assert(!log_contains("limits.buffer"));
	/* An option that is removed from the file returns to its default. */
	config_write(BASE "limits { idle_timeout = 60 }\n");
	daemon_reload_and_wait();
	cr_assert(log_contains("limits.connections: 5000 -> 10000"), "%s", log_text());
	daemon_finish();
}

/* Reload with LISTENERS. Their titles begin with LETTER. */
static void reload_many(char letter, int listeners)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	MUST(out);
	for (int i = 0; i < listeners; i++)
		fprintf(out, "listen \"%c%d\" { address = \"unix:%s/l%d\" }\n", letter, i, test_dir,
			i);
	MUST(fclose(out) == 0);
	config_write(BASE "%s", text);
	free(text);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
}

/* The log shows a limited number of changes, and counts the others. */
Test(reload, surplus_changes_are_counted_in_the_log)
{
	daemon_start(BASE);
	reload_many('a', 60);
	cr_assert(!log_contains("more changes"), "%s", log_text());
	reload_many('b', 60); /* each listener is replaced by another one */
	cr_assert(log_contains("more changes: 20 not shown"), "%s", log_text());
	daemon_finish();
}

Test(reload, options_that_need_a_restart_are_logged)
{
	daemon_start(BASE);
	config_write("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	for (size_t i = 0; i < 2;
	     i++) { /* repeated until the option is changed back or the daemon restarts */
		daemon_reload_and_wait();
		expect_status("last_reload", "ok");
		cr_assert_eq(log_count("workers: 1 -> 2 needs a restart, keeping 1"), i + 1);
	}
	client_echo(client_connect("main"), "served\n");
	daemon_finish();
}

Test(reload, live_options_take_effect)
{
	daemon_start("echo { banner = \"one\\n\" }\n" BASE);
	client_expect_bytes(client_connect("main"), "one\n", 4);
	config_write("echo { banner = \"two\\n\" }\n" BASE);
	daemon_reload_and_wait();
	/* READY=1 means that every worker has acknowledged. */
	client_expect_bytes(client_connect("main"), "two\n", 4);
	config_write("echo { banner = \"three\\n\" }\nnonsense\n" BASE);
	daemon_reload_and_wait();
	client_expect_bytes(client_connect("main"), "two\n", 4);
	daemon_finish();
}

Test(reload, two_workers_both_have_the_new_configuration)
{
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN
		     "echo { banner = \"one\\n\" }\n");
	config_write("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN
		     "echo { banner = \"two\\n\" }\n");
	daemon_reload_and_wait();
	for (int i = 0; i < 32; i++) { /* the kernel spreads them over both */
		int client = client_connect("main");
		client_expect_bytes(client, "two\n", 4);
		client_echo(client, "hello\n");
		client_close(client);
	}
	daemon_finish();
}

static void reload_times(int times)
{
	for (int i = 0; i < times; i++) {
		config_write(BASE "%s", i % 2 ? "limits { connections = 60 }\n" : "limits {\n");
		daemon_reload_and_wait();
	}
}

static size_t lines(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* stress/storm has thousands of reloads. */
Test(reload, hundreds_of_reloads_leak_nothing)
{
	enum { TOLERATED_KIB = 512 };
	daemon_start(BASE);
	int client = client_connect("main");
	reload_times(100);
	await_idle();
	size_t fds = lines(proc_fds());
	long rss = proc_number("VmRSS"), threads = proc_number("Threads");
	reload_times(300);
	await_idle();
	expect_status("reloads_ok", "200");
	expect_status("reloads_rejected", "200");
	expect_status("generation", "201");
	cr_assert_eq(lines(proc_fds()), fds, "%zu descriptors before, now\n%s", fds, proc_fds());
	cr_assert_eq(proc_number("Threads"), threads);
	long grown = proc_number("VmRSS") - rss;
	if (!*SKELD_SANITIZED && !getenv("SKELD_TEST_WRAP")) /* the sanitizers keep freed memory */
		cr_assert_leq(grown, TOLERATED_KIB, "RSS grew by %ld KiB", grown);
	client_echo(client, "connected all the while\n");
	daemon_finish();
}

Test(reload, a_service_manager_that_does_not_read_never_blocks)
{
	daemon_start(BASE);
	for (int i = 0; i < 30; i++) /* the queue of a datagram socket holds about ten */
		cr_assert_eq(skeld_run("-r", runtime_dir, "-s", "reload", NULL), 0);
	expect_status("generation", "31");
	client_echo(client_connect("main"), "served\n");
	daemon_finish();
}
