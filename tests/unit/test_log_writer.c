/* base/log with its writer thread: no destination blocks a thread that logs, and no line is lost
 * that fits into the queue. */
#include "base/log.h"
#include "base/log_queue.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* More lines than the queue and any destination hold. On a 32-bit processor, lines are smaller. */
enum { FLOOD = LOG_QUEUE_BYTES / sizeof(struct log_line) + 4000 };

static int stderr_before;

static void setup(void)
{
	fixture_enter();
	stderr_before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	MUST(stderr_before >= 0 && unsetenv("JOURNAL_STREAM") == 0);
	MUST(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	descriptors_before = open_descriptors();
}

TestSuite(log_writer, .init = setup, .fini = fixture_leave);

/* Make FD stderr, close it, and start the writer. */
static void start_on(int fd)
{
	MUST(fd >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO && close(fd) == 0);
	MUST(log_start() == 0);
}

static void end(void)
{
	log_stop();
	MUST(dup2(stderr_before, STDERR_FILENO) == STDERR_FILENO);
	EXPECT_NOTHING_LEFT();
}

static void use_file(const char *name)
{
	char why[256];
	struct log_target *t = log_open(LOG_TO_FILE, name, why, sizeof(why));
	cr_assert(t, "%s", why);
	log_switch(t);
}

/* A pipe as stderr. Returns the end that is read. */
static int start_on_pipe(void)
{
	int ends[2];
	MUST(pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[1], F_SETPIPE_SZ, 4096) == 4096);
	start_on(ends[1]);
	return ends[0];
}

static void log_flood(void)
{
	for (int i = 0; i < FLOOD; i++)
		log_info("line %d", i);
}

/* Read from FD until a line contains PART. The caller frees the text. */
static char *read_until(int fd, const char *part)
{
	char *text = calloc(1, 1);
	size_t n = 0;
	while (!strstr(text, part)) {
		await_fd(fd, POLLIN, deadline(), part);
		text = realloc(text, n + 4097);
		MUST(text);
		ssize_t k = read(fd, text + n, 4096);
		cr_assert(k > 0, "the end, before \"%s\": %s", part, text);
		n += (size_t)k;
		text[n] = '\0';
	}
	return text;
}

/* Read from FD until each line of a flood was read or reported as lost, in its place. */
static void expect_flood(int fd)
{
	unsigned long long n = 0, lost = 0;
	char *text = calloc(1, 1);
	while (n < FLOOD) {
		char *more = read_until(fd, "\n"), *all, *rest, *end;
		MUST(asprintf(&all, "%s%s", text, more) >= 0);
		free(more);
		free(text);
		for (rest = all; (end = strchr(rest, '\n')); rest = end + 1) {
			char expected[32];
			unsigned long long here = 0;
			*end = '\0';
			const char *report = strstr(rest, " warning log lines lost: ");
			snprintf(expected, sizeof(expected), " info    line %llu", n);
			if (report)
				sscanf(report, " warning log lines lost: count=%llu;", &here);
			cr_assert(report ? here > 0 : strstr(rest, expected) != NULL, "not%s: %s",
				  expected, rest);
			lost += here;
			n += report ? here : 1;
		}
		text = strdup(rest);
		free(all);
	}
	cr_assert_eq(n, FLOOD);
	cr_assert(lost > 0 && log_lost() == lost, "%llu lost", lost);
	free(text);
}

/* Linux before 6.5 cannot write to a pipe without waiting. */
static bool pipes_take_nowait(int pipe)
{
#ifdef RWF_NOWAIT
	const struct iovec nothing = {0};
	return pwritev2(pipe, &nothing, 1, -1, RWF_NOWAIT) == 0;
#else
	(void)pipe;
	return false;
#endif
}

static void expect_lines_at_once(int reader)
{
	for (int i = 0; i < 100; i++) {
		char expected[32];
		log_info("line %d", i);
		snprintf(expected, sizeof(expected), " info    line %d\n", i);
		char *text = fd_text(reader);
		cr_assert(strstr(text, expected), "not%s: %s", expected, text);
		free(text);
	}
	close(reader);
	end();
}

Test(log_writer, a_pipe_with_room_has_the_line_when_the_call_returns)
{
	int reader = start_on_pipe();
	if (!pipes_take_nowait(STDERR_FILENO))
		cr_skip_test("this kernel or C library cannot write to a pipe without waiting");
	expect_lines_at_once(reader);
}

Test(log_writer, a_socket_with_room_has_the_line_when_the_call_returns)
{
	int ends[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	start_on(ends[1]);
	expect_lines_at_once(ends[0]);
}

/* A socket takes a part of a line, unlike a pipe. */
Test(log_writer, lines_that_a_socket_takes_in_parts_stay_whole)
{
	enum { LINES = 200, LENGTH = 4000 };
	int ends[2], small = 4096;
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	MUST(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
	start_on(ends[1]);
	for (int i = 0; i < LINES; i++)
		log_info("%0*d", LENGTH, i);
	char last[LENGTH + 16];
	snprintf(last, sizeof(last), "%0*d\n", LENGTH, LINES - 1);
	char *text = read_until(ends[0], last), *rest = text, *line;
	for (int i = 0; (line = strsep(&rest, "\n")) && *line; i++) {
		cr_assert_eq(strlen(line), 38 + LENGTH, "line %d: %s", i, line);
		cr_assert_eq(atoi(strrchr(line, ' ') + 1), i, "line %d: %s", i, line);
	}
	free(text);
	cr_assert_eq(log_lost(), 0);
	close(ends[0]);
	end();
}

/* The writer lingers then: no line wakes it, and none is left behind. */
Test(log_writer, lines_that_follow_each_other_closely_are_written_without_another_event)
{
	enum { LINES = 500 };
	char last[32];
	MUST(log_start() == 0);
	use_file("log");
	for (int i = 0; i < LINES; i++) {
		struct timespec pause = {.tv_nsec = 100000};
		log_info("line %d", i);
		ppoll(NULL, 0, &pause, NULL);
	}
	snprintf(last, sizeof(last), " info    line %d\n", LINES - 1);
	for (int64_t until = deadline(); !strstr(file_text("log"), last); poll(NULL, 0, 1))
		cr_assert(!is_past(until), "%s", file_text("log"));
	end();
}

Test(log_writer, a_full_pipe_blocks_no_thread)
{
	int reader = start_on_pipe();
	log_flood();
	/* Without another line: the report does not wait for one. */
	expect_flood(reader);
	log_info("read again");
	free(read_until(reader, " info    read again\n"));
	close(reader);
	end();
}

/* Such as a terminal that is paused during the start: the last lines of the process still arrive.
 */
Test(log_writer, a_stop_waits_for_a_destination_that_has_recovered)
{
	int reader = start_on_pipe();
	log_flood();
	log_flush(); /* the writer does not finish */
	expect_flood(reader);
	close(reader);
	end(); /* with the writer */
}

Test(log_writer, a_pipe_that_another_process_made_non_blocking_loses_no_line)
{
	enum { LINES = 1000 };
	int reader = start_on_pipe();
	MUST(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK) == 0);
	for (int i = 0; i < LINES; i++)
		log_info("line %d", i);
	log_info("last");
	char *text = read_until(reader, " info    last\n");
	int lines = 0;
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	cr_assert_eq(lines, LINES + 1);
	cr_assert_eq(log_lost(), 0);
	free(text);
	close(reader);
	end();
}

Test(log_writer, a_pipe_without_reader_loses_counted_lines)
{
	close(start_on_pipe());
	log_info("lost");
	log_flush();
	cr_assert_eq(log_lost(), 1);
	end();
}

Test(log_writer, a_full_socket_blocks_no_thread)
{
	int ends[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	start_on(ends[1]);
	log_flood();
	expect_flood(ends[0]);
	close(ends[0]);
	log_info("lost");
	log_flush();
	end();
}

/* A terminal that is not read is full after some KiB; poll(2) reports room all the same. */
Test(log_writer, a_terminal_that_is_not_read_blocks_no_thread)
{
	int reader, terminal;
	struct termios raw = {0};
	cfmakeraw(&raw);
	MUST(openpty(&reader, &terminal, NULL, &raw, NULL) == 0);
	MUST(fcntl(reader, F_SETFD, FD_CLOEXEC) == 0 && fcntl(terminal, F_SETFD, FD_CLOEXEC) == 0);
	start_on(terminal);
	log_flood();
	cr_assert_gt(log_lost(), 0);
	expect_flood(reader);
	log_stop();
	MUST(dup2(stderr_before, STDERR_FILENO) == STDERR_FILENO);
	close(reader);
	EXPECT_NOTHING_LEFT();
}

Test(log_writer, a_fifo_with_a_slow_reader_blocks_no_thread)
{
	MUST(mkfifo("fifo", 0644) == 0 && log_start() == 0);
	int reader = open("fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	use_file("fifo");
	log_flood();
	expect_flood(reader);
	close(reader);
	end();
}

Test(log_writer, lines_wait_for_the_reader_in_the_order_of_their_targets)
{
	int reader = start_on_pipe();
	for (int i = 0; i < 500; i++) /* more than a pipe holds */
		log_info("to the pipe");
	use_file("one");
	log_info("to file one");
	use_file("two");
	log_info("to file two");
	cr_assert(!*file_text("one"), "the file overtook the pipe");
	free(read_until(reader, "to the pipe"));
	close(reader); /* frees the writer: the rest cannot be written */
	log_flush();
	cr_assert(strstr(file_text("one"), "log lines lost: ") &&
			  strstr(file_text("one"), " info    to file one\n"),
		  "%s", file_text("one"));
	cr_assert(strstr(file_text("two"), " info    to file two\n") &&
			  !strstr(file_text("two"), "lost"),
		  "%s", file_text("two"));
	end();
}

Test(log_writer, a_renamed_file_is_reopened_and_its_lines_stay_together)
{
	MUST(log_start() == 0);
	use_file("log");
	log_info("one");
	MUST(rename("log", "log.1") == 0);
	log_flush();
	log_reopen();
	log_info("two");
	log_flush();
	cr_assert(strstr(file_text("log.1"), " info    one\n") &&
			  !strstr(file_text("log.1"), "two"),
		  "%s", file_text("log.1"));
	cr_assert(strstr(file_text("log"), " info    two\n"), "%s", file_text("log"));
	end();
}

Test(log_writer, a_file_that_cannot_be_reopened_keeps_the_previous_one)
{
	MUST(log_start() == 0 && mkdir("directory", 0755) == 0);
	use_file("directory/log");
	log_info("one");
	log_flush();
	MUST(rename("directory", "moved") == 0);
	log_reopen();
	log_info("two");
	log_flush();
	const char *text = file_text("moved/log");
	cr_assert(
		strstr(text,
		       " warning cannot reopen the log directory/log: No such file or directory; "),
		"%s", text);
	cr_assert(strstr(text, " info    two\n"), "%s", text);
	end();
}

/* The limit has the effect of a full disk: a line is cut. */
static void limit_files(rlim_t bytes)
{
	MUST(setrlimit(RLIMIT_FSIZE, &(struct rlimit){bytes, RLIM_INFINITY}) == 0);
}

Test(log_writer, after_a_cut_line_a_reopened_file_continues_on_a_new_line)
{
	MUST(log_start() == 0 && signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	use_file("log");
	limit_files(10);
	log_info("one");
	log_flush();
	MUST(strlen(file_text("log")) == 10);
	log_reopen();
	limit_files(RLIM_INFINITY);
	log_info("two");
	log_flush();
	cr_assert(file_text("log")[10] == '\n' && strstr(file_text("log"), " info    two\n"), "%s",
		  file_text("log"));
	MUST(rename("log", "log.1") == 0);
	log_reopen();
	log_info("three");
	log_flush();
	cr_assert(file_text("log")[0] != '\n', "%s", file_text("log"));
	end();
}

static void set_time_zone(const char *name)
{
	MUST(setenv("TZ", name, 1) == 0);
}

Test(log_writer, a_reopened_log_has_the_new_time_zone)
{
	set_time_zone("AAA-1:30");
	MUST(log_start() == 0);
	use_file("log");
	log_info("one");
	log_flush();
	set_time_zone("BBB4");
	log_reopen();
	log_info("two");
	log_flush();
	const char *text = file_text("log");
	cr_assert(strstr(text, "+01:30 info    one\n") && strstr(text, "-04:00 info    two\n"),
		  "%s", text);
	end();
}

/* Criterion is a parent that would report the signal of the crash: crash in a child of our own. The
 * writer is started there, because a child has none. */
static pid_t in_child(int stderr_fd, void (*run)(void))
{
	const struct rlimit no_core = {0, 0};
	pid_t pid = fork();
	if (pid)
		return pid;
	setrlimit(RLIMIT_CORE, &no_core);
	start_on(stderr_fd);
	run();
	_exit(0);
}

static void log_and_abort(void)
{
	for (int i = 0; i < 1000; i++)
		log_info("line %d", i);
	abort();
}

static void log_and_fault(void)
{
	volatile int *volatile nothing = NULL;
	for (int i = 0; i < 1000; i++)
		log_info("line %d", i);
	*nothing = 1; // NOLINT: the point of the test
}

static void log_and_receive_signal(void)
{
	for (int i = 0; i < 1000; i++)
		log_info("line %d", i);
	kill(getpid(), SIGABRT); /* the watchdog of systemd */
	for (;;)
		pause();
}

static void log_and_exit(void)
{
	for (int i = 0; i < 1000; i++)
		log_info("line %d", i);
	exit(0);
}

/* Each run logs more than the pipe holds, and ends at once. */
static void expect_all_lines_from(void (*run)(void), int signal)
{
	int ends[2], status;
	MUST(pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[1], F_SETPIPE_SZ, 4096) == 4096);
	pid_t pid = in_child(ends[1], run);
	close(ends[1]);
	free(read_until(ends[0], " info    line 999\n"));
	MUST(waitpid(pid, &status, 0) == pid);
	cr_assert(signal ? WIFSIGNALED(status) && WTERMSIG(status) == signal
			 : WIFEXITED(status) && WEXITSTATUS(status) == 0,
		  "status %x", (unsigned)status);
	close(ends[0]);
	EXPECT_NOTHING_LEFT();
}

Test(log_writer, lines_logged_before_an_abort_are_written)
{
	expect_all_lines_from(log_and_abort, SIGABRT);
}

Test(log_writer, lines_logged_before_a_fault_are_written)
{
	if (ADDRESS_SANITIZED)
		cr_skip_test("the sanitizer handles the signal");
	expect_all_lines_from(log_and_fault, SIGSEGV);
}

Test(log_writer, lines_logged_before_the_abort_of_a_watchdog_are_written)
{
	expect_all_lines_from(log_and_receive_signal, SIGABRT);
}

Test(log_writer, lines_logged_before_an_exit_are_written)
{
	expect_all_lines_from(log_and_exit, 0);
}

static void flood_and_exit(void)
{
	log_flood();
	exit(0);
}

static void flood_and_abort(void)
{
	log_flood();
	abort();
}

/* Without a bound, the child would not end, because the pipe is not read. */
Test(log_writer, a_destination_that_blocks_does_not_keep_the_process_from_ending)
{
	void (*const runs[])(void) = {flood_and_exit, flood_and_abort};
	if (getenv("SKELD_EMULATED"))
		cr_skip_test("qemu-user(1) reports the abort, and waits for the blocked pipe");
	for (size_t i = 0; i < 2; i++) {
		int ends[2], status;
		MUST(pipe2(ends, O_CLOEXEC) == 0);
		pid_t pid = in_child(ends[1], runs[i]);
		MUST(waitpid(pid, &status, 0) == pid);
		cr_assert_eq(WIFSIGNALED(status), i == 1);
		close(ends[0]);
		close(ends[1]);
	}
	EXPECT_NOTHING_LEFT();
}

/* exit(3) in a forked child. The leak check of the address sanitizer takes locks there that a
 * thread of the parent may have held, and hangs: leave it out. */
static _Noreturn void exit_child(void)
{
	if (!ADDRESS_SANITIZED)
		exit(0);
	log_flush();
	_exit(0);
}

/* The writer holds lines and, most of the time, is between two system calls. */
Test(log_writer, a_forked_child_logs_nothing_and_does_not_hang)
{
	int reader = start_on_pipe(), status;
	for (int i = 0; i < 500; i++) /* more than the pipe holds */
		log_info("of the parent");
	pid_t pid = fork();
	if (pid == 0) {
		close(reader);
		log_error("of the child");
		log_flush();
		exit_child();
	}
	MUST(waitpid(pid, &status, 0) == pid);
	cr_assert_eq(status, 0);
	log_info("last");
	char *text = read_until(reader, " info    last\n");
	cr_assert(!strstr(text, "of the child"));
	int lines = 0;
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	cr_assert_eq(lines, 501);
	free(text);
	close(reader);
	end();
}

/* One thread keeps the lock busy while this one forks. */
static void *log_until(void *stop)
{
	while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED))
		log_info("busy");
	return NULL;
}

Test(log_writer, a_child_that_is_forked_while_a_thread_logs_does_not_hang)
{
	enum { CHILDREN = 200 };
	bool stop = false;
	pthread_t thread;
	int status;
	start_on(open("/dev/null", O_WRONLY | O_CLOEXEC));
	MUST(pthread_create(&thread, NULL, log_until, &stop) == 0);
	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			log_error("of the child");
			exit_child();
		}
		MUST(waitpid(pid, &status, 0) == pid);
		cr_assert_eq(status, 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	MUST(pthread_join(thread, NULL) == 0);
	end();
}

static void *log_lines(void *name)
{
	for (int i = 0; i < 5000; i++)
		log_info("%s %d", (const char *)name, i);
	return NULL;
}

Test(log_writer, lines_of_each_thread_keep_their_order)
{
	pthread_t thread[2];
	int next[2] = {0, 0}, n;
	char name;
	MUST(log_start() == 0);
	use_file("log");
	MUST(pthread_create(&thread[0], NULL, log_lines, "a") == 0);
	MUST(pthread_create(&thread[1], NULL, log_lines, "b") == 0);
	MUST(pthread_join(thread[0], NULL) == 0 && pthread_join(thread[1], NULL) == 0);
	log_flush();
	char *text = strdup(file_text("log")), *rest = text, *line, before[30] = "";
	while ((line = strsep(&rest, "\n")) && *line) {
		if (strstr(line, "log lines lost: "))
			continue;
		MUST(sscanf(line + 30, "info %c %d", &name, &n) == 2);
		cr_assert_geq(n, next[name - 'a'], "%s", line);
		next[name - 'a'] = n + 1;
		cr_assert_leq(strncmp(before, line, 23), 0, "the time went back: %s", line);
		memcpy(before, line, 23);
	}
	free(text);
	end();
}
