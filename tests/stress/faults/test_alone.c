/*
 * Single cases: bare libconfuse exits without memory (therefore a separate process parses); a
 * daemon with a real memory limit; an event loop of libevent that fails; the admin server
 * without memory; messages to the journal that cannot be sent.
 */
/* build: SOURCES ../../support/sandbox.c */
/* test: LABELS all */
#include "judge.h"
#include "observe.h"
#include "sandbox.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

Test(alone, bare_libconfuse_exits_without_memory)
{
	struct trial *t = trial_new("libconfuse alone");
	const char *const argv[] = {LIBCONFUSE_ALONE, config_path, NULL};
	size_t died = 0;
	bool hit = true;
	config_write("port = 8080\n");
	for (long n = 1; hit; n++) {
		trial_arm(t, CALL_memory, ENOMEM, n);
		spawn(argv);
		int code = trial_end();
		hit = trial_hit(t);
		t->hits += hit;
		if (code == 0 || code == 1)
			continue;
		died++;
		if (!trial_caller(t, "libconfuse"))
			trial_wrong(t, "ended with %d, and libconfuse did not ask", code);
	}
	if (!died)
		trial_wrong(t, "libconfuse survives: no loader is needed for this");
	trial_free(t);
}

/* Limit the memory of PID to its present size plus MORE. Returns the old limit. */
static struct rlimit tighten(pid_t pid, rlim_t more)
{
	struct rlimit old, tight;
	char path[32];
	unsigned long pages;
	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	const char *statm = file_text(path);
	MUST(statm && sscanf(statm, "%lu", &pages) == 1);
	MUST(prlimit(pid, RLIMIT_AS, NULL, &old) == 0);
	tight = (struct rlimit){(rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + more, old.rlim_max};
	MUST(prlimit(pid, RLIMIT_AS, &tight, NULL) == 0);
	return old;
}

/* Limit the loader's memory, then the daemon's: a reload is rejected, and nothing else happens. */
Test(alone, a_reload_with_little_memory_is_rejected)
{
	enum { STEP = 64 << 10, MOST = 3 << 20 };
	struct trial *t = trial_new("little memory");
	start_clean(t);
	for (int whose = 0; whose < 2; whose++) {
		size_t before = t->as_if_nothing;
		for (rlim_t more = 0; more < MOST; more += STEP) {
			pid_t pid = whose ? daemon_pid : loader_pid();
			trial_forget();
			struct rlimit old = tighten(pid, more);
			t->runs++;
			trial_reload(t);
			if (!TRY(trial_has_reloaded(t))) {
				trial_wrong(t, "%llu bytes more: no outcome, %d",
					    (unsigned long long)more, trial_end());
				break;
			}
			MUST(prlimit(pid, RLIMIT_AS, &old, NULL) == 0);
			bool rejected = strcmp(trial_status("last_reload"), "rejected") == 0;
			t->rejected += rejected;
			t->as_if_nothing += !rejected;
			if (!trial_serves(t, 0))
				trial_wrong(t, "does not serve");
		}
		/* The daemon itself may need no more memory. */
		if ((whose == 0 && !t->rejected) || t->as_if_nothing == before)
			trial_wrong(t, "all or nothing: too much memory, or too little");
	}
	trial_free(t);
}

/* epoll_wait(2) fails with EBADF only if a descriptor is closed by mistake. The event loop cannot
 * continue: the daemon ends, logs the reason and leaves nothing behind. */
Test(alone, a_broken_event_loop_ends_the_daemon_with_a_reason)
{
	enum { LOOPS = 12 }; /* turns of the control plane and of each worker */
	struct trial *t = trial_new("broken loop");
	for (long n = 1; n <= LOOPS; n++) {
		start_clean(t);
		trial_forget();
		trial_arm(t, CALL_epoll_wait, EBADF, n);
		trial_dump(); /* wakes the control plane; a client wakes a worker */
		trial_talk(t, MAIN, 5);
		int code = trial_end();
		t->hits += trial_hit(t);
		if (code != 1 || !strstr(trial_log(), " error   "))
			trial_wrong(t, "ended with %d", code);
		else if (!leaves_nothing(t))
			trial_wrong(t, "left a file");
		else
			t->reported++;
	}
	trial_free(t);
}

/* Clients and constant answers need no memory; only printed answers do. */
Test(alone, admin_server_answers_while_all_memory_is_refused)
{
	static const struct {
		const char *path;
		int code;
	} rows[] = {{"/livez", 200}, {"/", 200}, {"/metrics", 503}, {"/nothing", 404}};
	struct trial *t = trial_new("admin without memory");
	int held[4];
	start_clean(t);
	keep_clean(t, 0);
	/* libevent keeps the memory for each descriptor number that it has watched once: use some.
	 */
	for (size_t i = 0; i < sizeof(held) / sizeof(*held); i++)
		MUST((held[i] = trial_dial(t, ADMIN)) >= 0);
	trial_get(t, "/livez");
	for (size_t i = 0; i < sizeof(held) / sizeof(*held); i++)
		close(held[i]);
	expect_no_leak(t, 0);
	trial_arm(t, CALL_memory, LASTING, 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int code = trial_get(t, rows[i].path);
		if (code != rows[i].code)
			trial_wrong(t, "%s: %d", rows[i].path, code);
	}
	t->hits += trial_hit(t);
	trial_disarm(t);
	if (!TRY(trial_get(t, "/metrics") == 200))
		trial_wrong(t, "does not answer any more");
	expect_no_leak(t, 0);
	trial_free(t);
}

/* More clients than ever before, while libevent gets no memory to watch them. */
Test(alone, admin_server_accepts_again_when_there_is_memory)
{
	enum { PLACES = 32 };
	struct trial *t = trial_new("admin clients without memory");
	int held[PLACES];
	start_clean(t);
	keep_clean(t, 0);
	trial_arm(t, CALL_memory, LASTING, 1);
	for (int i = 0; i < PLACES; i++)
		if ((held[i] = trial_dial(t, ADMIN)) < 0)
			trial_wrong(t, "refused");
	if (!TRY(strstr(trial_log(), "admin: cannot accept connections: Cannot allocate")))
		trial_wrong(t, "the log does not report that accepting pauses");
	t->hits += trial_hit(t);
	trial_disarm(t);
	if (!TRY(trial_get(t, "/livez") == 200))
		trial_wrong(t, "does not answer any more");
	for (int i = 0; i < PLACES; i++)
		close(held[i]);
	expect_no_leak(t, 0);
	trial_free(t);
}

static void (*inject)(void);

static void inject_and_log_to_journal(void)
{
	inject();
	sandbox_journal();
}

static struct trial *trial_with_journal(const char *phase, int *journal)
{
	if (!sandbox_can_mount())
		cr_skip_test("a mount namespace is not allowed here");
	struct trial *t = trial_new(phase);
	inject = daemon_prepare;
	daemon_prepare = inject_and_log_to_journal;
	*journal = sandbox_open_journal();
	config_write(
		"workers = 1\nadmin { address = \"\" }\nlisten \"main\" { address = \"%s\" }\n",
		t->address[MAIN]);
	return t;
}

/* Append the messages in the journal to ALL. Is a line with PART there, or on stderr? */
static bool has_line(int journal, struct text *all, const char *part)
{
	char message[16384];
	ssize_t n;
	while ((n = recv(journal, message, sizeof(message) - 1, MSG_DONTWAIT)) > 0) {
		message[n] = '\0';
		const char *text = strstr(message, "\nMESSAGE=") + 1;
		text_append(all, text, strcspn(text, "\n") + 1);
	}
	return (all->bytes && strstr(all->bytes, part)) || strstr(trial_log(), part);
}

static size_t count_lines(const char *text)
{
	size_t n = 0;
	while (text && (text = strchr(text, '\n')) && text++)
		n++;
	return n;
}

/* Dump the statistics, with the armed call. Returns the number of lines of the dump. */
static size_t lines_of_dump(struct trial *t, int journal)
{
	struct text all = {0};
	trial_dump();
	if (!TRY(has_line(journal, &all, "stats process: ")))
		trial_wrong(t, "the last line of a dump is lost");
	has_line(journal, &all, ""); /* the others, if that line is on stderr */
	trial_disarm(t);
	size_t n = count_lines(all.bytes) + count_lines(trial_log());
	t->hits += trial_hit(t);
	free(all.bytes);
	return n;
}

static void start_with_journal(struct trial *t, int journal)
{
	struct text all = {0};
	int code = 0;
	if (!trial_start(t, &code))
		t->not_started++;
	else if (!TRY(has_line(journal, &all, "ready: ")))
		trial_wrong(t, "a line of the start is lost");
	free(all.bytes);
}

Test(alone, a_message_that_the_journal_does_not_take_is_not_lost)
{
	static const int errors[] = {EAGAIN, ENOBUFS, ECONNREFUSED, EMSGSIZE, LASTING};
	int journal;
	struct trial *t = trial_with_journal("messages to the journal", &journal);
	start_with_journal(t, journal);
	trial_forget();
	size_t clean = lines_of_dump(t, journal);
	for (size_t e = 0; e < sizeof(errors) / sizeof(*errors); e++) {
		bool hit = true;
		for (long n = 1; hit; n++) {
			trial_forget();
			trial_arm(t, CALL_sendmsg, errors[e], n);
			size_t lines = lines_of_dump(t, journal);
			hit = trial_hit(t);
			if (lines != clean)
				trial_wrong(t, "%zu lines, not %zu", lines, clean);
			else if (*trial_log()) /* stderr */
				t->reported++;
			else
				t->as_if_nothing++;
		}
	}
	if (!t->reported)
		trial_wrong(t, "no line was on stderr");
	close(journal);
	trial_free(t);
}

Test(alone, a_start_without_a_socket_to_the_journal_loses_no_line)
{
	int journal;
	struct trial *t = trial_with_journal("socket to the journal", &journal);
	bool hit = true;
	for (long n = 1; hit; n++) {
		trial_forget();
		trial_arm(t, CALL_socket, EMFILE, n);
		start_with_journal(t, journal);
		hit = trial_hit(t);
		if (!daemon_pid)
			continue;
		lines_of_dump(t, journal);
		kill(daemon_pid, SIGTERM);
		if (trial_end() != 0)
			trial_wrong(t, "SIGTERM does not end it");
	}
	close(journal);
	trial_free(t);
}
