/* The self-test's second process, which sends signals to the daemon from outside. */
#ifndef SKELD_SELFTEST_SIGNALLER_H
#define SKELD_SELFTEST_SIGNALLER_H

#include <stdbool.h>
#include <sys/types.h>

struct signaller {
	pid_t pid; /* 0: none */
	int fd;
};

/* Start the process. Returns false and errno if that fails. */
bool signaller_start(struct signaller *s);

/*
 * Let it send TIMES signals, SIGNALLER_ROW of kind FIRST and of kind SECOND in turn.
 * signaller_wait() returns when they are sent: each that is not blocked has then been delivered.
 */
enum { SIGNALLER_ROW = 4 };
void signaller_send(const struct signaller *s, int first, int second, unsigned times);
void signaller_wait(const struct signaller *s);

/* Kill the process, if there is one. */
void signaller_stop(struct signaller *s);

#endif
