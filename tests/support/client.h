/* Clients of the echo service, on non-blocking sockets with a deadline for everything. */
#ifndef SKELD_TESTS_CLIENT_H
#define SKELD_TESTS_CLIENT_H

#include "harness.h"

/* Connect to ADDRESS, "host:port" or "unix:path". Returns -1 if refused. The client is closed by
 * client_close(), at EOF, or by daemon_finish(). */
int client_try(struct fixture *f, const char *address);
/* Connect to the listener TITLE at its address in the log. */
int client_connect(struct fixture *f, const char *title);
/* Connect to the unix socket NAME in the private directory. */
int client_unix(struct fixture *f, const char *name);
/* The last address of the listener TITLE in the log. */
const char *listener_address(struct fixture *f, const char *title);

void client_send(struct fixture *f, int fd, const void *bytes, size_t n);
void client_expect(struct fixture *f, int fd, const void *bytes, size_t n);
void client_expect_eof(struct fixture *f, int fd); /* and close */
void client_close(struct fixture *f, int fd);
/* Send TEXT and wait for its echo. */
void client_echo(struct fixture *f, int fd, const char *text);

/* A client of the unix listener "busy" that does not read. It sends so much that the daemon must
 * queue a part of the echo. client_relent() reads all of it. */
#define LISTEN_BUSY "listen \"busy\" { address = \"unix:%s/busy\" }\n"
int client_stubborn(struct fixture *f);
void client_relent(struct fixture *f, int fd);

#endif
