/*
 * Drives the real binary: spawns it in a private directory with a NOTIFY_SOCKET of the test, whose
 * datagrams are the clock of the test. Nothing sleeps. Every wait has a deadline of 10 s times
 * $SKELD_TEST_SLOW; a wait that expires fails the test with the condition, the datagrams and the
 * log. SIGALRM ends a test that hangs. A failed check ends the test, so no function returns an
 * error, and the daemon ends with the test. $SKELD_TEST_WRAP ("valgrind -q") is put in front of
 * the binary.
 */
#ifndef SKELD_TESTS_HARNESS_H
#define SKELD_TESTS_HARNESS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Was the daemon built with this sanitizer, "address" or "thread"? */
#define SANITIZED(with) (strcmp(SKELD_SANITIZED, with) == 0)

enum { CLIENTS_MAX = 512 };

struct text { /* grows, always ends in NUL */
	char *bytes;
	size_t size, room;
};

struct fixture {
	char dir[32];			    /* private */
	char config[64];		    /* dir/skeld.conf */
	char runtime[64];		    /* dir/run */
	char binary[4096];		    /* the program of daemon_spawn() */
	uid_t uid;			    /* the user of the program */
	int stderr_fd;			    /* its standard error; -1: the log that log_*() read */
	void (*prepare)(struct fixture *f); /* called in the child, last before exec */
	pid_t pid;			    /* 0: not running */
	int pidfd;
	bool ended;	     /* the end of the process was noticed */
	pid_t janitor;	     /* removes dir at the end of the test, also after a crash */
	int alive;	     /* the janitor notices the end of the test by the end of this pipe */
	int notify;	     /* the other end of NOTIFY_SOCKET */
	struct text notices; /* every datagram, each followed by an empty line */
	size_t noticed;	     /* the part that notify_wait() has consumed */
	struct text log, scratch, out, err;
	int client[CLIENTS_MAX]; /* open ones, see client.h */
	size_t n_clients;
	char value[4096];
};

struct fixture *fixture_new(void);
void fixture_free(struct fixture *f);

/* A suite of tests; F is the fixture of each test. More statements of the setup may follow NAME. */
#define FIXTURE_SUITE(name, ...)                                                                   \
	static struct fixture *f;                                                                  \
	static void setup(void)                                                                    \
	{                                                                                          \
		f = fixture_new();                                                                 \
		__VA_ARGS__;                                                                       \
	}                                                                                          \
	static void teardown(void)                                                                 \
	{                                                                                          \
		fixture_free(f);                                                                   \
	}                                                                                          \
	TestSuite(name, .init = setup, .fini = teardown)

/* Spawn this binary instead of skeld. */
void fixture_use(struct fixture *f, const char *binary);

/* Run the daemon as UID, which owns the directory and a copy of the binary. Root only. */
void fixture_run_as(struct fixture *f, uid_t uid);

/* Wait until CONDITION holds. It is checked at every datagram and every 2 ms. */
#define await(f, condition)                                                                        \
	for (int64_t until_ = deadline(); !(condition);)                                           \
	await_turn(f, until_, #condition)

int64_t deadline(void);
bool is_past(int64_t until);
void await_turn(struct fixture *f, int64_t until, const char *what);
/* Wait until FD is ready for EVENTS (poll). */
void await_fd(struct fixture *f, int fd, short events, int64_t until, const char *what);
void read_notices(struct fixture *f); /* read all datagrams without waiting */
_Noreturn void fail_test(struct fixture *f, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
#define MUST(call)                                                                                 \
	do {                                                                                       \
		if (!(call))                                                                       \
			fail_test(f, "%s: %s", #call, strerror(errno));                            \
	} while (0)

/* A configuration of one worker and one listener on a free port. */
#define LISTEN_MAIN "listen \"main\" { address = \"127.0.0.1:0\" }\n"
#define BASE	    "workers = 1\nadmin { address = \"\" }\n" LISTEN_MAIN

void config_write(struct fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
void file_write(struct fixture *f, const char *path, const void *bytes, size_t n);
/* The path of NAME in the private directory. PATH is the caller's buffer. */
const char *path_in(struct fixture *f, const char *name, char path[static 64]);

void spawn(struct fixture *f, const char *const argv[]); /* any program, as f->pid */
void daemon_spawn(struct fixture *f);
void daemon_start(struct fixture *f, const char *config); /* and wait for READY=1 */
void daemon_signal(struct fixture *f, int signo);
/* Wait for a datagram with LINE in it, and skip others. Returns the datagram. */
const char *notify_wait(struct fixture *f, const char *line);
void daemon_reload_and_wait(struct fixture *f);
int daemon_wait_exit(struct fixture *f); /* exit code, or 128 + signal */
int daemon_stop(struct fixture *f, int signo);
/* The end of most tests: the clients leave, SIGINT, exit code 0. */
void daemon_finish(struct fixture *f);

/* Run the binary to its end with ARGS; its output is in f->out and f->err. */
int skeld_run(struct fixture *f, ...) __attribute__((sentinel));
/* Start a process that sends SIGNO N times in a tight loop. Returns its pid, for reap(). */
pid_t storm(struct fixture *f, int signo, long n);
void reap(struct fixture *f, pid_t pid);

#endif
