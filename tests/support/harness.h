/*
 * Drives the real binary: spawns it in the directory of the test with a NOTIFY_SOCKET, whose
 * datagrams are the clock of the test. A wait that expires fails the test with the condition, the
 * datagrams and the log. The daemon ends with the test. $SKELD_TEST_WRAP ("valgrind -q") is put in
 * front of the binary.
 */
#ifndef SKELD_TESTS_HARNESS_H
#define SKELD_TESTS_HARNESS_H

#include "fixture.h"

#include <signal.h>
#include <sys/types.h>

/* Was the daemon built with this sanitizer, "address" or "thread"? */
#define SANITIZED(with) (strcmp(SKELD_SANITIZED, with) == 0)

enum { CLIENTS_MAX = 512 };

/* One daemon at a time. */
extern char daemon_binary[4096];     /* the program of daemon_spawn() */
extern uid_t daemon_uid;	     /* the user of the program */
extern int daemon_stderr;	     /* its standard error; -1: the log that log_*() read */
extern void (*daemon_prepare)(void); /* called in the child, last before exec */
extern pid_t daemon_pid;	     /* 0: not running */
extern int daemon_pidfd;
extern bool daemon_ended;		     /* the end of the process was noticed */
extern char config_path[PATH_IN_MAX];	     /* test_dir/skeld.conf */
extern char runtime_dir[PATH_IN_MAX];	     /* test_dir/run */
extern int notify_fd;			     /* the other end of NOTIFY_SOCKET */
extern struct text notices;		     /* every datagram, each followed by an empty line */
extern size_t noticed;			     /* the part that notify_wait() has consumed */
extern struct text daemon_log;		     /* see log_text() */
extern struct text command_out, command_err; /* of the last skeld_run() */
extern int client_fds[CLIENTS_MAX];	     /* open ones, see client.h */
extern size_t n_clients;
extern char last_value[4096]; /* the last text that a function of observe.h returned */

void daemon_fixture_enter(void);
void daemon_fixture_leave(void);

/* A suite of tests with a daemon. More statements of the setup may follow NAME. */
#define DAEMON_SUITE(name, ...)                                                                    \
	static void setup(void)                                                                    \
	{                                                                                          \
		daemon_fixture_enter();                                                            \
		__VA_ARGS__;                                                                       \
	}                                                                                          \
	TestSuite(name, .init = setup, .fini = daemon_fixture_leave)

/* Spawn this binary instead of skeld. */
void daemon_use(const char *binary);

/* Wait until CONDITION holds. It is checked at every datagram and every 2 ms. */
#define AWAIT(condition)                                                                           \
	for (int64_t until_ = deadline(); !(condition);)                                           \
	await_turn(until_, #condition)
void await_turn(int64_t until, const char *what);
void read_notices(void); /* read all datagrams without waiting */

/* A configuration of one worker and one listener on a free port. */
#define LISTEN_MAIN "listen \"main\" { address = \"127.0.0.1:0\" }\n"
#define NO_LISTENER "workers = 1\nadmin { address = \"\" }\n"
#define BASE	    NO_LISTENER LISTEN_MAIN

/* Does the service of the daemon have connections, so that it may have a listener? */
bool service_listens(void);
/* A configuration for any service. MORE is a string literal. */
#define SERVICE_CONFIG(more) (service_listens() ? BASE more : NO_LISTENER more)

void config_write(const char *format, ...) __attribute__((format(printf, 1, 2)));

void spawn(const char *const argv[]); /* any program, as daemon_pid */
void daemon_spawn(void);
void daemon_start(const char *config); /* and wait for READY=1 */
void daemon_signal(int signo);
/* Wait for a datagram with LINE in it, and skip others. Returns the datagram. */
const char *notify_wait(const char *line);
void daemon_reload_and_wait(void);
int daemon_wait_exit(void); /* exit code, or 128 + signal */
int daemon_stop(int signo);
/* The end of most tests: the clients leave, SIGINT, exit code 0. */
void daemon_finish(void);

/*
 * Run the binary to its end with these arguments, NULL at the end; its output is in command_out and
 * command_err.
 */
int skeld_run(const char *argument, ...) __attribute__((sentinel));
/* The same for a shell command. */
int shell_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
