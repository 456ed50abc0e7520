/* Clients of the echo service, on non-blocking sockets with a deadline for everything. */
#ifndef SKELD_TESTS_CLIENT_H
#define SKELD_TESTS_CLIENT_H

#include "harness.h"

/* Connect to ADDRESS, "host:port" or "unix:path". -1: refused. It is closed by client_close(),
 * at EOF, or by daemon_finish(). */
int client_try(struct fixture *f, const char *address);
/* Connect to the listener TITLE, where the log says it listens. */
int client_connect(struct fixture *f, const char *title);
/* Connect to the unix socket NAME in the private directory. */
int client_unix(struct fixture *f, const char *name);
/* Where the log last said that the listener TITLE listens. */
const char *listener_address(struct fixture *f, const char *title);

void client_send(struct fixture *f, int fd, const void *bytes, size_t n);
void client_expect(struct fixture *f, int fd, const void *bytes, size_t n);
void client_expect_eof(struct fixture *f, int fd); /* and close */
void client_close(struct fixture *f, int fd);
/* Send TEXT and wait for its echo. */
void client_echo(struct fixture *f, int fd, const char *text);

/*
 * A client of the unix listener "busy" who does not read: so much is sent that some of the echo
 * must be waiting in the daemon. client_relent() reads all of it.
 */
#define LISTEN_BUSY "listen \"busy\" { address = \"unix:%s/busy\" }\n"
int client_stubborn(struct fixture *f);
void client_relent(struct fixture *f, int fd);

#endif
