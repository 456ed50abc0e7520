/*
 * The service's load, unload, begin and end: services/loads.c reports each call on the daemon's
 * standard error, which is the log of these tests. A FIFO without a writer hangs a load as a file
 * system would.
 */
/* test: TIMEOUT 180 */
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

DAEMON_SUITE(load, daemon_use(LOADS_BINARY));

static void configure(const char *file, const char *more)
{
	config_write("workers = 2\n"
		     "admin { address = \"\" }\n"
		     "loads { file = \"%s/%s\" %s }\n",
		     test_dir, file, more);
}

/* The file "good" has the text "one". */
static void start(const char *more)
{
	file_write("good", "one");
	configure("good", more);
	daemon_spawn();
	notify_wait("READY=1");
}

static void reload(const char *file)
{
	configure(file, "");
	daemon_reload_and_wait();
}

/* Request a reload that hangs. */
static void hang(void)
{
	char path[PATH_IN_MAX];
	if (!file_exists("fifo"))
		MUST(mkfifo(path_in("fifo", path), 0644) == 0);
	configure("fifo", "");
	size_t loads = log_count("calls load: ");
	daemon_signal(SIGHUP);
	notify_wait("RELOADING=1");
	AWAIT(log_count("calls load: ") == loads + 1);
}

/* Let the load that hangs return. */
static void release(const char *text)
{
	char path[PATH_IN_MAX];
	int fd = open(path_in("fifo", path), O_WRONLY | O_CLOEXEC); /* waits for the reader */
	MUST(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void expect_order(const char *const parts[], size_t n)
{
	log_expect_order(parts, n);
}
#define EXPECT_ORDER(...)                                                                          \
	expect_order((const char *const[]){__VA_ARGS__},                                           \
		     sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

/* Every object that was loaded is unloaded once, before the end. */
static void expect_all_unloaded(void)
{
	cr_assert_eq(log_count("calls unload: "), log_count("load gives "), "%s", log_text());
}

Test(load, begin_and_end_enclose_the_workers_and_the_load)
{
	start("");
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	EXPECT_ORDER("calls load: blocked=1 main_thread=0", "load gives one",
		     "calls begin: blocked=1 main_thread=1", "calls start: worker=0 one",
		     "calls stop: worker=0 one", "calls unload: one", "calls end: main_thread=1",
		     "stopped: seconds=");
	EXPECT_ORDER("calls begin: ", "calls start: worker=1 one", "calls stop: worker=1 one",
		     "calls unload: one");
	static const char *const once[] = {
		"calls load: ", "calls begin: ", "calls unload: ", "calls end: "};
	for (size_t i = 0; i < sizeof(once) / sizeof(*once); i++)
		cr_assert_eq(log_count(once[i]), 1, "%s\n%s", once[i], log_text());
}

Test(load, a_reload_replaces_the_object_and_unloads_the_old_one)
{
	start("");
	file_write("good", "two"); /* no option changes */
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	AWAIT(log_contains("calls unload: one"));
	EXPECT_ORDER("calls reloaded: worker=0 one -> two", "calls unload: one");
	EXPECT_ORDER("calls reloaded: worker=1 one -> two", "calls unload: one");
	cr_assert_eq(log_count("calls load: blocked=1 main_thread=0"), 2, "%s", log_text());
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	cr_assert_eq(log_count("calls begin: "), 1);
	expect_all_unloaded();
}

Test(load, children_of_load_and_begin_have_default_signal_handling)
{
	start("");
	reload("good");
	daemon_finish();
	cr_assert_eq(log_count("calls load: blocked=1 main_thread=0 child_blocked=0"), 2, "%s",
		     log_text());
	cr_assert(log_contains("calls begin: blocked=1 main_thread=1 child_blocked=0"), "%s",
		  log_text());
	cr_assert_eq(skeld_run("-c", config_path, "-t", NULL), 0, "%s", command_err.bytes);
	cr_assert(strstr(command_err.bytes, "main_thread=0 child_blocked=0"), "%s",
		  command_err.bytes);
}

Test(load, a_rejected_reload_keeps_the_object)
{
	start("");
	file_write("other", "bad text");
	reload("other");
	expect_rejected(1, "skeld.conf:3: section loads: expected a good text, not \"bad text\"");
	reload("missing");
	expect_rejected(1, "skeld.conf:3: section loads: cannot read ");
	cr_assert_not(log_contains("calls unload: "));
	cr_assert_not(log_contains("calls reloaded: "));
	file_write("other", "two");
	reload("other");
	cr_assert(log_contains("calls reloaded: worker=1 one -> two"), "%s", log_text());
	daemon_finish();
	expect_all_unloaded();
}

/* The load succeeds, and a later step of the reload does not. */
Test(load, an_object_of_a_reload_that_fails_later_is_unloaded)
{
	char fifo[PATH_IN_MAX];
	start("");
	file_write("other", "two");
	MUST(mkfifo(path_in("fifo", fifo), 0600) == 0); /* no process reads it: open(2) fails */
	config_write("workers = 2\nadmin { address = \"\" }\nloads { file = \"%s/other\" }\n"
		     "log { target = \"file\" file = \"%s\" }\n",
		     test_dir, fifo);
	daemon_reload_and_wait();
	expect_rejected(1, "skeld.conf:4: ");
	cr_assert_eq(log_count("calls unload: two"), 1, "%s", log_text());
	daemon_finish();
	expect_all_unloaded();
}

Test(load, a_start_is_rejected_with_78)
{
	file_write("bad", "bad text");
	configure("bad", "");
	daemon_spawn();
	cr_assert_eq(daemon_wait_exit(), 78);
	cr_assert(log_contains("skeld.conf:3: section loads: expected a good text"), "%s",
		  log_text());
	cr_assert_not(log_contains("calls begin: ") || log_contains("calls end: "), "%s",
		      log_text());
}

/* Not in the file "skeld.conf", but in one that it includes. */
Test(load, the_error_names_the_file_of_the_section)
{
	file_write("more.conf", "# a comment\nloads { file = \"/nonexistent/text\" }\n");
	config_write("admin { address = \"\" }\ninclude(\"more.conf\")\n");
	daemon_spawn();
	cr_assert_eq(daemon_wait_exit(), 78);
	cr_assert(log_contains("more.conf:2: section loads: cannot read /nonexistent/text"), "%s",
		  log_text());
}

Test(load, an_error_without_a_section_names_the_main_file)
{
	config_write("admin { address = \"\" }\n");
	daemon_spawn();
	cr_assert_eq(daemon_wait_exit(), 78);
	cr_assert(log_contains("skeld.conf: section loads: cannot read "), "%s", log_text());
}

Test(load, check_loads_and_dump_config_does_not)
{
	file_write("text", "bad text");
	configure("text", "");
	cr_assert_eq(skeld_run("-c", config_path, "-t", NULL), 78);
	cr_assert(strstr(command_err.bytes, "skeld.conf:3: section loads: expected a good text"),
		  "%s", command_err.bytes);
	cr_assert_eq(skeld_run("-c", config_path, "-T", NULL), 0, "%s", command_err.bytes);
	cr_assert_not(strstr(command_err.bytes, "calls load: "), "%s", command_err.bytes);
	file_write("text", "good text");
	cr_assert_eq(skeld_run("-c", config_path, "-t", NULL), 0, "%s", command_err.bytes);
	cr_assert(strstr(command_err.bytes, "calls unload: good text"), "%s", command_err.bytes);
	cr_assert_not(strstr(command_err.bytes, "calls begin: "), "%s", command_err.bytes);
}

Test(load, begin_may_refuse_the_start)
{
	file_write("good", "one");
	configure("good", "begins = false");
	daemon_spawn();
	cr_assert_eq(daemon_wait_exit(), 1);
	cr_assert(log_contains("service loads failed to begin"), "%s", log_text());
	cr_assert_not(log_contains("calls start: ") || log_contains("calls end: "), "%s",
		      log_text());
	expect_all_unloaded();
}

Test(load, a_stuck_worker_prevents_end)
{
	start("stops = false");
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
	cr_assert_not(log_contains("calls end: ") || log_contains("calls unload: "), "%s",
		      log_text());
}

/* Signals are handled while the load hangs; then the time is over. */
Test(load, a_load_that_hangs_is_rejected_and_unloaded_when_it_returns)
{
	start("");
	hang();
	daemon_signal(SIGUSR2);
	AWAIT(log_contains("debug logging on"));
	stats_dump();
	cr_assert_eq(stats_value("skeld_state{state=\"reloading\"}"), 1);
	notify_wait("READY=1");
	expect_rejected(1, "skeld.conf:3: section loads: not loaded within 5 s");
	/* The thread is still there: no other load starts. */
	reload("good");
	expect_rejected(1, "skeld.conf:3: section loads: the previous load has not returned");
	cr_assert_eq(log_count("calls load: "), 2);
	release("late");
	AWAIT(log_contains("calls unload: late"));
	do { /* until the thread has ended */
		reload("good");
	} while (strcmp(status_get("last_reload"), "ok") != 0);
	expect_signals_accounted();
	daemon_finish();
	cr_assert_eq(log_count("calls unload: late"), 1);
	expect_all_unloaded();
}

Test(load, a_stop_drops_a_load_that_hangs)
{
	static const int signals[] = {SIGTERM, SIGQUIT};
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		start("");
		hang();
		daemon_signal(SIGHUP);
		AWAIT(log_contains("queue one more reload"));
		daemon_signal(signals[i]);
		cr_assert_eq(daemon_wait_exit(), signals[i] == SIGQUIT);
		EXPECT_ORDER("reload dropped: ", "queued reload dropped: ", "load has not returned",
			     "stopped: seconds=");
		cr_assert_eq(log_count("calls unload: one"), 1, "%s", log_text());
		cr_assert_not(log_contains("calls end: "), "%s", log_text());
		expect_signals_logged();
	}
}

/* It returns while the daemon is a lame duck. */
Test(load, a_dropped_load_that_returns_is_unloaded_before_the_end)
{
	file_write("good", "one");
	config_write("lame_duck = 3600\nadmin { address = \"\" }\nloads { file = \"%s/good\" }\n",
		     test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	hang();
	daemon_signal(SIGTERM);
	AWAIT(strcmp(status_get("state"), "lame_duck") == 0);
	release("late");
	AWAIT(log_contains("calls unload: late"));
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
	EXPECT_ORDER("calls unload: late", "calls unload: one", "calls end: ");
	cr_assert(log_contains("reload dropped: "), "%s", log_text());
	expect_all_unloaded();
}

/* The same at a start and with -t: it is no error of the configuration. */
Test(load, a_start_and_a_check_that_hang_exit_with_1)
{
	char path[PATH_IN_MAX];
	MUST(mkfifo(path_in("fifo", path), 0644) == 0);
	configure("fifo", "");
	daemon_spawn();
	cr_assert_eq(skeld_run("-c", config_path, "-t", NULL), 1);
	cr_assert(strstr(command_err.bytes, "skeld.conf:3: section loads: not loaded within 5 s"),
		  "%s", command_err.bytes);
	cr_assert_eq(daemon_wait_exit(), 1);
	cr_assert(log_contains("skeld.conf:3: section loads: not loaded within 5 s"), "%s",
		  log_text());
}

Test(load, a_check_that_hangs_ends_with_sigint)
{
	char path[PATH_IN_MAX];
	int fd;
	MUST(mkfifo(path_in("fifo", path), 0644) == 0);
	configure("fifo", "");
	spawn((const char *const[]){daemon_binary, "-c", config_path, "-t", NULL});
	AWAIT((fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) >= 0); /* `load` reads it */
	daemon_signal(SIGINT);
	cr_assert_eq(daemon_wait_exit(), 128 + SIGINT);
	close(fd);
}

static size_t lines(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void reload_times(int times)
{
	for (int i = 0; i < times; i++)
		reload(i % 2 ? "good" : "bad");
}

Test(load, a_thousand_reloads_leak_nothing)
{
	enum { TOLERATED_KIB = 512 };
	const int times = *SKELD_SANITIZED ? 100 : 1000; /* a sanitizer makes each fork slow */
	file_write("bad", "bad text");
	start("");
	reload_times(100);
	size_t fds = lines(proc_fds());
	long rss = proc_number("VmRSS");
	reload_times(times);
	size_t good = 50 + (size_t)times / 2;
	cr_assert_eq(status_number("reloads_ok"), (long)good);
	cr_assert_eq(status_number("reloads_rejected"), (long)good);
	cr_assert_eq(lines(proc_fds()), fds, "%zu descriptors before, now\n%s", fds, proc_fds());
	long grown = proc_number("VmRSS") - rss;
	if (!*SKELD_SANITIZED && !getenv("SKELD_TEST_WRAP")) /* the sanitizers keep freed memory */
		cr_assert_leq(grown, TOLERATED_KIB, "RSS grew by %ld KiB", grown);
	AWAIT(log_count("calls unload: ") == good);
	daemon_finish();
	cr_assert_eq(log_count("calls unload: "), good + 1);
	expect_all_unloaded();
}

/* The start reads as root, a reload as the user. */
Test(load, a_file_that_only_root_can_read_is_rejected_by_a_reload)
{
	char path[PATH_IN_MAX];
	if (geteuid() != 0 || !getpwnam("nobody"))
		cr_skip_test("only root can change the user");
	MUST(chmod(test_dir, 0755) == 0);
	file_write("secret", "one");
	MUST(chmod(path_in("secret", path), 0600) == 0);
	config_write("user = \"nobody\"\nadmin { address = \"\" }\nloads { file = \"%s\" }\n",
		     path);
	MUST(rmdir(runtime_dir) == 0 || errno == ENOENT);
	daemon_spawn();
	notify_wait("READY=1");
	daemon_reload_and_wait();
	expect_rejected(1, "skeld.conf:3: section loads: cannot read ");
	daemon_finish();
}
