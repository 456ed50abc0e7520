/* What only tests of the skeleton need: floods of signals and their accounting, another user, a
 * client that does not read. A returned text is valid until the next call of the same function. */
#ifndef SKELD_TESTS_SKELETON_H
#define SKELD_TESTS_SKELETON_H

#include "harness.h"

/* Start a process that sends SIGNO N times in a tight loop. Returns its pid, for reap(). */
pid_t storm(int signo, long n);
void reap(pid_t pid);

/*
 * The value of WHAT (received, handled or coalesced) in the last "stats signals:" line of the log.
 */
long stats_logged(const char *what, const char *signal);
/* Expect received = handled + coalesced for each signal: in that line; in a new stats.prom. */
void expect_signals_logged(void);
void expect_signals_accounted(void);

/* The number of warnings, without those that a slow machine causes. */
size_t log_count_warnings(void);

/* The open descriptors of the daemon and their targets, one per line. */
const char *proc_fds(void);
pid_t loader_pid(void); /* the pid of the configuration loader, 0: none */

/* Run the daemon as UID, which owns the directory and a copy of the binary. Root only. */
void daemon_run_as(uid_t uid);

/* A client of the unix listener "busy" that does not read. It sends so much that the daemon must
 * queue a part of the echo. client_read_busy() reads all of it. */
#define LISTEN_BUSY "listen \"busy\" { address = \"unix:%s/busy\" }\n"
int client_connect_busy(void);
void client_read_busy(int fd);

#endif
